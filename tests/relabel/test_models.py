"""Model folders are not trusted: pickled weights and code that comes with a model are refused wherever one is loaded,
and several processes on one machine fetch a model from storage once.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from relabel.errors import InputError
from relabel.models import local_model
from relabel.storage import Folder
from tests.relabel.classifiers import tiny_classifier
from tests.relabel.language_models import tiny_model
from tests.train.encoders import tiny_encoder


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory) -> Path:
    return tiny_model("llama", tmp_path_factory.mktemp("llama"))


def _judge(engine: str, folder: Path) -> None:
    from relabel.judges import JudgeConfig, load_judge

    load_judge(JudgeConfig(engine=engine, model=str(folder), prompt="terse-0-3"))


def _reranker(architecture: str, folder: Path) -> None:
    from train.encoders import ARCHITECTURES

    ARCHITECTURES[architecture](folder, 0.0)


def _trained_judge(folder: Path) -> None:
    from train.grade_model import load_causal_lm

    load_causal_lm(folder)


def _scored(folder: Path) -> None:
    from relabel.scoring import TextScorer

    TextScorer(folder, 8, "float32", "cpu", {})


#: Whatever loads a model: by its name for a person, through `local_model`, or right from a folder.
LOADERS: dict[str, Callable[[Path], object]] = {
    "local_model": local_model,
    "judge in transformers": lambda folder: _judge("transformers", folder),
    "judge in vLLM": lambda folder: _judge("vllm", folder),
    "classifier": lambda folder: _judge("classifier", folder),
    "encoder judge": lambda folder: _judge("encoder", folder),
    "training of the judge": _trained_judge,
    "training of a bi-encoder": lambda folder: _reranker("bi-encoder", folder),
    "training of a cross-encoder": lambda folder: _reranker("cross-encoder", folder),
    "scoring": _scored,
}


def _folder(loader: str, language_model: Path, out: Path) -> Path:
    if "judge in" in loader or loader in ("local_model", "training of the judge"):
        shutil.copytree(language_model, out)
    elif loader == "classifier":
        tiny_classifier("bert", out)
    else:
        tiny_encoder(out, "mean")
    return out


@pytest.mark.parametrize("loader", LOADERS)
def test_pickled_weights_are_never_unpickled(loader, language_model, tmp_path):
    """A folder whose weights are a pickle alone is refused by everything that loads one, and nothing in it runs."""
    import torch

    folder, ran = _folder(loader, language_model, tmp_path / "model"), tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Bomb(ran)}, folder / "pytorch_model.bin")
    with pytest.raises((InputError, OSError), match=r"safetensors"):
        LOADERS[loader](folder)
    assert not ran.exists()


@pytest.mark.parametrize("loader", LOADERS)
def test_code_that_comes_with_a_model_is_never_run(loader, language_model, tmp_path):
    """A folder whose architecture is Python code beside it is refused by everything, and the code is not run."""
    folder, ran = _folder(loader, language_model, tmp_path / "model"), tmp_path / "ran"
    (folder / "modeling_own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: pass\nclass OwnConfig: pass\n")
    config = json.loads((folder / "config.json").read_text())
    classes = ("AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "modeling_own.OwnConfig"}}
    config["auto_map"] |= dict.fromkeys(classes, "modeling_own.Own")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises((InputError, ValueError), match=r"code of its own \(auto_map\)|custom code|trust_remote_code"):
        LOADERS[loader](folder)
    assert not ran.exists()


def test_unneeded_code_is_left_alone(language_model, tmp_path):
    """A model that carries code for an architecture which transformers has is taken, without that code."""
    folder = shutil.copytree(language_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling_own.Own"}}))
    assert local_model(str(folder)) == folder


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([{"type": "os.path.Own", "path": ""}], "the class 'os.path.Own'"),
        ([{"type": ["sentence_transformers.models.Transformer"], "path": ""}], "no other code is run"),
        ([{"type": "sentence_transformers.models.Transformer", "path": "../../elsewhere"}], "inside its folder"),
        ({"type": "sentence_transformers.models.Transformer"}, "found a dict; wanted a list"),
        (["sentence_transformers.models.Transformer"], "the class None"),
    ],
)
def test_the_modules_of_an_encoder_are_its_own(modules, message, tmp_path):
    """A sentence-transformers folder may name neither other packages' classes nor folders outside of it."""
    folder = tiny_encoder(tmp_path / "model", "mean")
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(InputError, match=message):
        local_model(str(folder))


def test_pickled_weights_in_a_part_of_a_model_are_refused(tmp_path):
    """Safetensors in one folder of a model do not hide a pickle in another."""
    folder = tiny_encoder(tmp_path / "model", "mean")
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(InputError, match=r"2_Dense: found pytorch_model.bin; wanted weights as .safetensors"):
        local_model(str(folder))


def _fetch(address: str, opened: multiprocessing.Queue, start: multiprocessing.Barrier) -> None:
    """In a process of its own: get the model, and tell of every file of it that was read from storage."""
    read = Folder.open

    def counted(folder: Folder, name: str):
        opened.put(name)
        return read(folder, name)

    Folder.open = counted
    start.wait()
    local_model(address)


@pytest.mark.integration
def test_actors_of_a_node_fetch_a_model_once(s3, tmp_path, monkeypatch):
    """Four processes that ask for a model on S3 at the same moment read each of its files from storage once, and what
    an interrupted fetch left is no model."""
    monkeypatch.setenv("RELABEL_CACHE", str(tmp_path / "cache"))
    folder, model = tiny_encoder(tmp_path / "model", "mean"), Folder(f"{s3}/model")
    (folder / "extra.safetensors").write_bytes(np.random.default_rng(0).bytes(4_000_000))
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    for name in names:
        model.write_bytes(name, (folder / name).read_bytes())
    context = multiprocessing.get_context("fork")
    opened, start = context.Queue(), context.Barrier(4)
    workers = [context.Process(target=_fetch, args=(model.uri, opened, start)) for _ in range(4)]
    for worker in workers:
        worker.start()
    read = [opened.get(timeout=120) for _ in names]
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert opened.empty()
    assert sorted(read) == names
    fetched = local_model(model.uri)
    assert {name: (fetched / name).read_bytes() for name in names} == {n: (folder / n).read_bytes() for n in names}
    shutil.rmtree(fetched)
    left = fetched.parent / f".{fetched.name}.building"
    left.mkdir()
    (left / "half").write_bytes(b"of a file")
    assert local_model(model.uri) == fetched
    assert not (fetched / "half").exists()
    assert not left.exists()


def test_a_fetched_model_stays_in_its_folder(tmp_path, monkeypatch):
    """A store that lists names which lead elsewhere gets nothing written there."""
    monkeypatch.setenv("RELABEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Folder, "names", lambda *given, **options: ["config.json", "../../../outside.json"])
    monkeypatch.setattr(Folder, "stat", lambda *given: None)
    with pytest.raises(InputError, match=r"outside.json', which is none of a file inside its folder"):
        local_model("s3://bucket/model")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
