"""The demo collection: the standard library's own documentation, read from the running interpreter.

A document is the docstring of one public function, class, method or property of the modules in `modules.py`:
`doc_id` the qualified public name (`os.path.split`, `str.splitlines`), `title` that name with its signature
where Python knows one, `text` the cleaned docstring. Needs the standard library only.

The docstrings are read in a fresh interpreter: libraries loaded here may have patched `logging`, `inspect` or
`sys`, and their traces are nobody's documentation.

Invariant: the same Python gives the same documents in the same order, whatever is loaded; no id occurs twice.

    python -m relabel.demo FOLDER     writes the collection with its questions and grades as a BEIR folder
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from relabel.demo.modules import MODULES, OPTIONAL_MODULES

MIN_WORDS = 4
EVERYDAY_TYPES = ("dict", "float", "int", "list", "set", "str", "tuple")
SHADOWED = ("socket.SocketType",)  # the C base of socket.socket, whose methods belong under that name
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
PRINT_DOCUMENTS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from dataclasses import astuple
from relabel.demo.collection import documents_of_this_interpreter
for document in documents_of_this_interpreter():
    print(json.dumps(astuple(document)))
"""


@dataclass(frozen=True)
class Document:
    """One document of the collection."""

    doc_id: str
    title: str
    text: str


def build_collection() -> list[Document]:
    """The collection, read by a fresh interpreter of the same Python.

    Raises:
        subprocess.CalledProcessError: a module outside OPTIONAL_MODULES cannot be imported; stderr names it.
    """
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-I", "-S", "-c", PRINT_DOCUMENTS, root]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="ascii").stdout
    return [Document(*json.loads(line)) for line in printed.splitlines()]


def documents_of_this_interpreter() -> list[Document]:
    """Documents of every module in `modules.py`, in that order; within a module functions, then classes.

    An object reachable under several names becomes one document under the first name met; two documents with
    the same last name part and the same text become one too.

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
    """`(path, *, mode=...)`, or "" for properties and for C objects whose signature is not known."""
    if not callable(obj) and not isinstance(obj, (classmethod, staticmethod)):
        return ""
    try:
        signature = str(inspect.signature(getattr(obj, "__func__", obj)))
    except (TypeError, ValueError, AttributeError):
        return ""
    return ADDRESS.sub("", signature).replace(sys.executable, "python")
