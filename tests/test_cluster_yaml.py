"""cluster.yaml is one that Ray's launcher accepts, describes hardware only, and holds nothing secret or unfinished."""

from __future__ import annotations

import copy
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())


@pytest.fixture
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_it_has_the_schema_of_this_ray(cluster):
    """Every key is one that the installed Ray knows, with a value of its type."""
    jsonschema.validate(cluster, SCHEMA)


def test_the_launcher_accepts_it_with_its_defaults(cluster):
    """What `ray up` itself checks after filling in its defaults passes, node counts and docker images included."""
    validate_config(prepare_config(copy.deepcopy(cluster)))


def test_the_schema_refuses_a_misspelt_key(cluster):
    """The check can fail: an unknown key of a node type, or of the file, is refused."""
    cluster["available_node_types"]["judging"]["min_worker"] = 1
    with pytest.raises(jsonschema.ValidationError, match="min_worker"):
        jsonschema.validate(cluster, SCHEMA)


def test_the_head_has_no_gpu_training_is_on_demand_and_judging_is_spot(cluster):
    """Only what can be lost at any moment, judging, runs on spot nodes; the head costs no GPU."""
    nodes = cluster["available_node_types"]
    market = {
        name: node["node_config"].get("InstanceMarketOptions", {}).get("MarketType", "on demand")
        for name, node in nodes.items()
    }
    assert market == {"head": "on demand", "training": "on demand", "judging": "spot"}
    families = {name: node["node_config"]["InstanceType"][0] for name, node in nodes.items()}
    assert families == {"head": "m", "training": "g", "judging": "g"}
    assert cluster["head_node_type"] == "head"


def test_nodes_run_the_ray_and_a_python_of_this_project(cluster):
    """Head and workers run one version of Ray, the one that pyproject.toml pins, on a Python that it allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = next(wanted for wanted in project["dependencies"] if wanted.startswith("ray["))
    tags = {name: cluster["docker"][name].split(":")[1] for name in ("head_image", "worker_image")}
    versions = {tag.split("-")[0] for tag in tags.values()}
    pythons = {tag.split("-")[1] for tag in tags.values()}
    assert versions == {pinned.split("==")[1]}
    assert pythons <= {"py311", "py312", "py313"}
    assert len(pythons) == 1
    assert tags["head_image"].endswith("-cpu")
    assert tags["worker_image"].endswith("-gpu")


def test_nodes_install_files_that_are_in_the_repository(cluster):
    """The commands of a new node name files that exist where the repository is mounted, and install the GPU extra."""
    (mounted,) = (there for there, here in cluster["file_mounts"].items() if here == ".")
    commands = [*cluster["head_setup_commands"], *cluster["worker_setup_commands"]]
    words = [word for command in commands for word in shlex.split(command) if word.startswith(mounted)]
    assert words
    for word in words:
        assert (ROOT / word.removeprefix(mounted).lstrip("/").partition("[")[0]).exists(), word
    assert any(word.endswith("[gpu]") for word in words)


def test_every_node_has_room_for_the_object_store_it_starts(cluster):
    """Containers get more shared memory than Ray's object store takes of it, on the head and on workers."""
    sizes = [re.search(r"--shm-size=(\d+)g$", option) for option in cluster["docker"]["run_options"]]
    (shared,) = (int(size[1]) * 2**30 for size in sizes if size)
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        words = shlex.split(" ".join(cluster[commands]))
        (store,) = (int(word.partition("=")[2]) for word in words if word.startswith("--object-store-memory="))
        assert store <= shared / 2


@pytest.mark.filterwarnings("ignore")
def test_start_commands_have_options_that_this_ray_knows(cluster):
    """Each `ray start` has options that the installed Ray accepts; head and workers meet at one port."""
    from ray.scripts.scripts import start

    known = {name for option in start.params for name in option.opts}
    ports = []
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        line = cluster[commands][-1].partition("ray start ")[2]
        options = dict(word.partition("=")[::2] for word in shlex.split(line))
        assert set(options) <= known
        ports.append(options.get("--port") or options["--address"].rpartition(":")[2])
    assert ports[0] == ports[1]


def test_nobody_reaches_it_without_the_token(cluster):
    """Token authentication is on in every container, the token comes from the home folder and is not in the file, and
    the job server listens inside the head alone."""
    assert "--env RAY_AUTH_MODE=token" in cluster["docker"]["run_options"]
    assert cluster["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]
    assert "provider" in cluster
    assert "security_group" not in cluster["provider"]  # Ray's own opens ssh alone


def test_it_holds_no_secret_and_no_placeholder(cluster):
    """No access key, key file, account number or image number of one account, and nothing left to be filled in."""
    text = (ROOT / "cluster.yaml").read_text()
    forbidden = {
        "access key": r"A(KIA|SIA)[A-Z0-9]{16}",
        "secret": r"(?i)(secret|password|access_?key|auth_?token)\w*\s*[:=]\s*(?!~/\.ray/auth_token)\S",
        "key file": r"\.pem\b|ssh_private_key",
        "account number": r"\b\d{12}\b",
        "image number": r"\bami-[0-9a-f]{8,}",
        "placeholder": r"(?i)<[a-z][^>]*>|\b(todo|fixme|xxx|changeme|your-[a-z]+|example\.(com|org))\b",
    }
    found = {name: re.findall(pattern, text) for name, pattern in forbidden.items()}
    assert not {name: hits for name, hits in found.items() if hits}


def test_it_says_nothing_about_jobs(cluster):
    """Hardware only: no recipe, model, dataset or command of ours is in it, and only documented sections are used."""
    assert set(cluster) == {
        "cluster_name", "max_workers", "idle_timeout_minutes", "provider", "auth", "head_node_type",
        "available_node_types", "docker", "file_mounts", "rsync_exclude", "rsync_filter", "setup_commands",
        "head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
    }  # fmt: skip
    commands = " ".join(cluster["setup_commands"] + cluster["head_setup_commands"] + cluster["worker_setup_commands"])
    assert not re.search(r"relabel (run|judge|demo|train)|python -m|\.yaml", commands)
