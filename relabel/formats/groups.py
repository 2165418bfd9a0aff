"""Grouped jsonl: one query a line with its positives and negatives, as training sets for re-rankers are published.

    {"query": "…", "positives": ["…"], "negatives": ["…", {"doc_id": "d7", "title": "…", "text": "…"}]}

Accepted besides: `query_id`; `positive`, `pos` for positives; `negative`, `neg`, and the columns `negative_1`,
`negative_2`, … for negatives; one text instead of a list. A document is a text or an object with `text` and perhaps
`doc_id` (or `_id`, `id`) and `title`. Ids that are missing are made from the texts, so that equal texts share an id.
Positives get the label 1, negatives 0. A line with one bad document is set aside whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from relabel.errors import InputError
from relabel.formats.checks import check_keys, encodable, text_id
from relabel.formats.export_rows import Row, by_query
from relabel.formats.faults import BadRow, Faults, shown
from relabel.formats.reader import BINARY, Reader, ReadOptions
from relabel.formats.records import Document, Label, Query, Record
from relabel.formats.source import Source
from relabel.formats.text_file import text_file
from relabel.records import Scale
from relabel.storage import Folder

#: Keys by their full names, for slips.
KEYS = ("query", "query_id", "positives", "negatives")
_POSITIVES = re.compile(r"positives?|pos")
_NEGATIVES = re.compile(r"negatives?|neg|negative_\d+")


def read(source: Source, options: ReadOptions, faults: Faults) -> Iterator[Record]:
    """The records of one grouped jsonl file, or of all such files of a folder in the order of their names.

    Raises:
        InputError: where the folder has no jsonl file.
    """
    names = [name for name in source.names() if name.removesuffix(".gz").endswith(".jsonl")]
    if not names:
        raise InputError(source.uri, "no .jsonl or .jsonl.gz file", "a grouped jsonl file, or a folder of them")
    for name in names:
        for where, row in source.json_rows(name, "groups", faults):
            try:
                records = list(_group(where, row))
            except BadRow as bad:
                faults.add(bad, where, "groups", row, row.get("query_id"))
            else:
                yield from records


def _group(where: str, row: dict[str, Any]) -> Iterator[Record]:
    check_keys({key: row[key] for key in row if not (_POSITIVES.fullmatch(key) or _NEGATIVES.fullmatch(key))}, KEYS)
    text = row.get("query")
    if not isinstance(text, str) or not text.strip():
        reason = "empty-text" if text is None or isinstance(text, str) else "wrong-type"
        raise BadRow(reason, f"query {shown(text)}", "a query with text")
    query_id = row.get("query_id")
    if query_id is None:
        query_id = text_id("q", encodable(text, "query"))
    yield Query(where, query_id, text, repeats=True)
    documents = [(document, 1) for document in _listed(row, _POSITIVES)]
    documents += [(document, 0) for document in _listed(row, _NEGATIVES)]
    if not documents:
        raise BadRow("empty-text", f"no document among {', '.join(sorted(row))}", "positives or negatives")
    for document, label in documents:
        doc_id, title, body = _document(document)
        yield Document(where, doc_id, title, body, repeats=True)
        yield Label(where, query_id, doc_id, label)


def _listed(row: dict[str, Any], names: re.Pattern[str]) -> Iterator[Any]:
    for name, value in row.items():
        if not names.fullmatch(name) or value is None:
            continue
        if not isinstance(value, list | str | dict):
            raise BadRow("wrong-type", f"{name} {shown(value)} ({type(value).__name__})", "a list of documents")
        yield from value if isinstance(value, list) else [value]


def _document(document: Any) -> tuple[Any, str, str]:
    if isinstance(document, str):
        document = {"text": document}
    if not isinstance(document, dict):
        raise BadRow("wrong-type", f"a document {shown(document)} ({type(document).__name__})", "a text or an object")
    title, text = document.get("title") or "", document.get("text") or ""
    if not isinstance(title, str) or not isinstance(text, str):
        raise BadRow("wrong-type", f"a document {shown(document)}", "title and text as strings")
    if not (title.strip() or text.strip()):
        raise BadRow("empty-text", f"a document {shown(document)}", "a document with text")
    doc_id = next((document[name] for name in ("doc_id", "_id", "id") if document.get(name) is not None), None)
    if doc_id is None:
        doc_id = text_id("d", encodable(title, "title"), encodable(text, "text"))
    return doc_id, title, text


def write(rows: Iterable[Row], out: Folder, counts: Counter[str], scale: Scale) -> None:
    """Write `groups.jsonl` with ids, one query a line: relevant documents as positives, the others as negatives."""
    with text_file(out, "groups.jsonl") as file:
        for group in by_query(rows):
            sides: dict[str, list[dict[str, str]]] = {"positives": [], "negatives": []}
            for row in group:
                side = "positives" if row.grade >= scale.relevant_from else "negatives"
                sides[side].append({"doc_id": row.doc_id, "title": row.title, "text": row.text})
            file.json({"query_id": group[0].query_id, "query": group[0].query} | sides)
    counts["groups.jsonl"] = file.lines


READER = Reader("groups", read, BINARY)
