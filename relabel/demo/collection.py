"""The demo collection: the standard library's own documentation, read from the running interpreter.

A document is the docstring of one public function, class, method or property of the modules in `modules.py`:
`doc_id` the qualified public name (`os.path.split`, `str.splitlines`), `title` that name with its signature where
Python knows one, `text` the cleaned docstring. Questions and human grades are package data (`questions.tsv`,
`grades.tsv`; README.md says how they were made). Needs the standard library only.

Invariants: the same interpreter gives the same documents in the same order; no id occurs twice; every grade is
either written to the qrels of its question's split or listed in `BeirSummary.missing`.

    python -m relabel.demo.collection FOLDER
"""

from __future__ import annotations

import csv
import importlib
import inspect
import json
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import ModuleType

from relabel.demo.modules import MODULES, OPTIONAL_MODULES

SPLITS = ("judge", "train", "calibration", "test")
MIN_WORDS = 4
EVERYDAY_TYPES = ("dict", "float", "int", "list", "set", "str", "tuple")
SHADOWED = ("socket.SocketType",)  # the C base of socket.socket, whose methods belong under that name
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class Document:
    """One document of the collection."""

    doc_id: str
    title: str
    text: str


@dataclass(frozen=True)
class Question:
    """One query in plain words; `split` is one of SPLITS."""

    query_id: str
    split: str
    text: str


@dataclass(frozen=True)
class Grade:
    """One human-style judgement, 0–3, of a document for a query."""

    query_id: str
    doc_id: str
    grade: int


@dataclass(frozen=True)
class BeirSummary:
    """What `write_beir` wrote: counts, and the graded pairs whose document this Python does not have."""

    documents: int
    queries: dict[str, int]
    grades: dict[str, int]
    missing: tuple[Grade, ...]


def build_collection() -> list[Document]:
    """Documents of every module in `modules.py`, in that order; within a module functions, then classes.

    An object reachable under several names becomes one document under the first name met; two documents with the
    same last name part and the same text become one too.

    Raises:
        ImportError: a module outside OPTIONAL_MODULES cannot be imported.
    """
    documents: list[Document] = []
    seen_ids: set[str] = set()
    seen_objects: set[int] = set()
    seen_texts: set[tuple[str, str]] = set()
    for name, obj in _public_objects():
        key = id(_underlying(obj))
        text = _text_of(name, obj)
        last = name.rpartition(".")[2]
        if key in seen_objects or name in seen_ids or text is None or (last, text) in seen_texts:
            continue
        seen_objects.add(key)
        seen_ids.add(name)
        seen_texts.add((last, text))
        documents.append(Document(name, name + _signature_of(obj), text))
    return documents


def load_questions() -> list[Question]:
    """The checked-in questions, in file order."""
    return [Question(row["id"], row["split"], row["question"]) for row in _rows("questions.tsv")]


def load_grades() -> list[Grade]:
    """The checked-in grades, in file order."""
    return [Grade(row["query_id"], row["doc_id"], int(row["grade"])) for row in _rows("grades.tsv")]


def write_beir(folder: str | Path) -> BeirSummary:
    """Write corpus.jsonl, queries.jsonl and qrels/<split>.tsv for the four splits in the BEIR layout.

    A graded document that the running Python does not have is left out of the qrels and returned in `missing`.
    """
    folder = Path(folder)
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    documents, questions = build_collection(), load_questions()
    _write_jsonl(
        folder / "corpus.jsonl", ({"_id": d.doc_id, "title": d.title, "text": d.text} for d in documents)
    )
    _write_jsonl(
        folder / "queries.jsonl",
        ({"_id": q.query_id, "text": q.text, "metadata": {"split": q.split}} for q in questions),
    )
    known = {document.doc_id for document in documents}
    split_of = {question.query_id: question.split for question in questions}
    kept: dict[str, list[Grade]] = {split: [] for split in SPLITS}
    missing = []
    for grade in load_grades():
        (kept[split_of[grade.query_id]] if grade.doc_id in known else missing).append(grade)
    for split, grades in kept.items():
        lines = ["query-id\tcorpus-id\tscore", *(f"{g.query_id}\t{g.doc_id}\t{g.grade}" for g in grades)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return BeirSummary(
        documents=len(documents),
        queries={split: sum(q.split == split for q in questions) for split in SPLITS},
        grades={split: len(grades) for split, grades in kept.items()},
        missing=tuple(missing),
    )


def _public_objects() -> Iterator[tuple[str, object]]:
    for module_name in MODULES + OPTIONAL_MODULES:
        module = _import(module_name)
        if module is None:
            continue
        prefix = "" if module_name == "builtins" else module_name + "."
        members = [
            (prefix + name, getattr(module, name))
            for name in _public_names(module_name, module)
            if prefix + name not in SHADOWED
        ]
        yield from ((name, obj) for name, obj in members if inspect.isroutine(obj))
        classes = [(name, obj) for name, obj in members if inspect.isclass(obj)]
        for name, cls in sorted(classes, key=_precedence):
            yield name, cls
            yield from _class_members(name, cls)


def _precedence(named_class: tuple[str, type]) -> tuple[int, bool, str]:
    """Base classes before derived ones, the everyday types before their byte-wise twins, then by name."""
    name, cls = named_class
    return len(cls.__mro__), name not in EVERYDAY_TYPES, name


def _import(module_name: str) -> ModuleType | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(module_name)
        except ImportError:
            if module_name in OPTIONAL_MODULES:
                return None
            raise


def _public_names(module_name: str, module: ModuleType) -> list[str]:
    """`__all__` where the module has one, else the names of what the module defines itself."""
    names = getattr(module, "__all__", None)
    if names is None:
        homes = {module_name, "_" + module_name, module.__name__}
        names = [name for name in vars(module) if getattr(vars(module)[name], "__module__", None) in homes]
    public = {name for name in names if not name.startswith("_") and hasattr(module, name)}
    return sorted(name for name in public if _own_name(module, name) not in public - {name})


def _own_name(module: ModuleType, name: str) -> str:
    """The name under which an object was defined, where the module offers it so (`OSError` for `IOError`)."""
    obj = getattr(module, name)
    if not (inspect.isclass(obj) or inspect.isroutine(obj)):
        return name
    return obj.__name__ if getattr(module, obj.__name__, None) is obj else name


def _class_members(class_name: str, cls: type) -> Iterator[tuple[str, object]]:
    """Public methods and properties that `cls` defines, or inherits from a base whose name is private."""
    for name in sorted(name for name in dir(cls) if not name.startswith("_")):
        home = next((base for base in cls.__mro__ if name in vars(base)), None)
        if home is None or (home is not cls and not home.__name__.startswith("_") and not _is_hidden(home)):
            continue
        member = inspect.getattr_static(cls, name)
        if inspect.isroutine(member) or inspect.isdatadescriptor(member) or isinstance(member, staticmethod):
            yield f"{class_name}.{name}", member


def _is_hidden(cls: type) -> bool:
    return any(part.startswith("_") for part in cls.__module__.split("."))


def _underlying(obj: object) -> object:
    """The function behind a bound, static or class method or property, so that aliases are recognised."""
    for attribute in ("__func__", "fget"):
        inner = getattr(obj, attribute, None)
        if inner is not None:
            return inner
    return obj


def _text_of(name: str, obj: object) -> str | None:
    """The cleaned docstring, or None where there is none of its own worth reading."""
    doc = vars(obj).get("__doc__") if inspect.isclass(obj) else getattr(obj, "__doc__", None)
    if not isinstance(doc, str):
        return None
    text = inspect.cleandoc(ADDRESS.sub("", doc))
    generated = text.startswith(("Alias for field number", "Helper for @", "The type of the None singleton"))
    short_name = name.rpartition(".")[2]
    one_line_signature = text.startswith(short_name + "(") and "\n" not in text and text.endswith(")")
    inherited = inspect.isclass(obj) and any(text == inspect.cleandoc(b.__doc__ or "") for b in obj.__mro__[1:])
    if len(text.split()) < MIN_WORDS or generated or one_line_signature or inherited:
        return None
    return text


def _signature_of(obj: object) -> str:
    """`(path, *, mode=...)`, or "" for properties and for C objects whose signature Python cannot work out."""
    if not callable(obj) and not isinstance(obj, (classmethod, staticmethod)):
        return ""
    try:
        signature = str(inspect.signature(getattr(obj, "__func__", obj)))
    except (TypeError, ValueError, AttributeError):
        return ""
    return ADDRESS.sub("", signature)


def _rows(file_name: str) -> list[dict[str, str]]:
    text = resources.files("relabel.demo").joinpath(file_name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def _write_jsonl(path: Path, records: Iterator[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


if __name__ == "__main__":
    print(write_beir(sys.argv[1]))
