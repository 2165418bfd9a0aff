"""Secrets are refused in recipes and addresses before anything is written, and never repeated in a message."""

from __future__ import annotations

import json

import pytest

from jobs.cli import main
from jobs.recipe import load_recipe
from relabel.errors import ConfigError, InputError
from relabel.secrets import redacted
from relabel.storage import Folder

CANARY = "canary/7fd1c0ffee+42secret"
SECRET_VARIABLES = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "RAY_AUTH_TOKEN", "MY_PASSWORD", "WANDB_API_KEY"]


@pytest.mark.parametrize("variable", SECRET_VARIABLES)
@pytest.mark.parametrize("key", ["prepare.dataset", "judge.model", "name", "reranker.model"])
def test_a_recipe_with_a_secret_is_refused(variable, key, monkeypatch):
    """The value of a secret variable in any key, also inside a longer text: refused, and not repeated."""
    monkeypatch.setenv(variable, CANARY)
    with pytest.raises(ConfigError, match="a secret") as refused:
        load_recipe("demo", [f"{key}=a {CANARY} b"])
    assert key in str(refused.value)
    assert CANARY not in str(refused.value)


def test_a_secret_that_a_recipe_takes_from_the_environment_is_refused(tmp_path, monkeypatch):
    """`${AWS_SECRET_ACCESS_KEY}` would be saved with the recipe: refused when it is read."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    path = tmp_path / "recipe.yaml"
    path.write_text("name: ${AWS_SECRET_ACCESS_KEY}\n")
    with pytest.raises(ConfigError, match="a secret") as refused:
        load_recipe(str(path))
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        f"s3://KEYID:{CANARY}@bucket/pairs",
        f"s3://{CANARY.replace('/', '')}@bucket/pairs",
        f"https://user:{CANARY}@host/x",
        f"https://user:p@{CANARY}@host/x",
    ],
)
def test_an_address_with_credentials_is_refused(address, capsys, tmp_path):
    """In a folder, a recipe and on the command line; no message repeats them."""
    secret = CANARY.partition("/")[2]
    with pytest.raises(InputError, match="credentials in it") as refused:
        Folder(address)
    assert secret not in str(refused.value)
    with pytest.raises(ConfigError, match="credentials in it") as refused:
        load_recipe("demo", [f"judge.model={address}"])
    assert secret not in str(refused.value)
    assert main(["prepare", "--dataset", address, "--format", "beir", "--out", str(tmp_path / "out")]) in (2, 3)
    assert main(["report", address]) == 2
    said = capsys.readouterr()
    assert "credentials in it" in said.err
    assert secret not in said.out + said.err


def test_an_endpoint_with_credentials_is_refused(monkeypatch):
    """AWS_ENDPOINT_URL may end in a message of the client's: no credentials in it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:canary7fd1c0ffee@127.0.0.1:9")
    with pytest.raises(InputError, match="credentials in it") as refused:
        Folder("s3://bucket/x").exists("y")
    assert "canary7fd1c0ffee" not in str(refused.value)


def test_messages_are_blacked_out(monkeypatch):
    """Secrets of the environment and credentials in addresses; other text and short values stay."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("SHORT_TOKEN", "short")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/me/.ray/auth_token")
    text = f"short {CANARY} at s3://id:pass@bucket and https://host/x?a=1&X-Amz-Signature=abc /home/me/.ray/auth_token"
    assert redacted(text) == (
        "short *** at s3://***@bucket and https://host/x?a=1&X-Amz-Signature=*** /home/me/.ray/auth_token"
    )


def test_a_recipe_that_merely_looks_odd_is_taken(monkeypatch):
    """Addresses with @ in the path and variables that are no secrets are fine."""
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "all-minilm-l6-v2")
    recipe = load_recipe("demo", ["judge.model=s3://bucket/models/judge@v2"])
    assert recipe.judge.model == "s3://bucket/models/judge@v2"
    assert json.loads(recipe.model_dump_json())["name"]
    assert redacted("http://localhost:9000/judge@v2 or http://localhost:9000") == (
        "http://localhost:9000/judge@v2 or http://localhost:9000"
    )
