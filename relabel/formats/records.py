"""What a reader yields: queries, documents and labels, in any order, each with its place in the input.

`repeats` says that the same id may come again with the same text without being a mistake: in formats that carry the
texts in every row (pairs, groups, question-answer pairs) it must.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Query(NamedTuple):
    """A query as read: values unchecked, `where` is `file:row`, rows counted from 1."""

    where: str
    id: Any
    text: Any
    frequency: int | None = None
    repeats: bool = False


class Document(NamedTuple):
    """A document as read, values unchecked."""

    where: str
    id: Any
    title: Any
    text: Any
    repeats: bool = False


class Label(NamedTuple):
    """A label as read: `value` unchecked, None for a pair that nobody labelled; `source` None for the dataset's own."""

    where: str
    query_id: Any
    doc_id: Any
    value: Any
    source: str | None = None


Record = Query | Document | Label
