"""A dataset joined on disk: queries, documents and labels by id, so that a corpus larger than memory can be prepared.

One SQLite file in a temporary directory (TMPDIR) holds what the readers yield; it needs about the size of the texts.
Memory stays bounded by SQLite's cache and by one query's pairs. Every record is checked as it comes; the join
(`resolve`) finds labels without texts, repeated keys and conflicting labels. Invariant: records seen = kept + repeated
+ set aside.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from relabel.errors import InputError, LedgerError
from relabel.formats.checks import clean_grade, clean_id, clean_text
from relabel.formats.faults import BadRow, Faults, shown
from relabel.formats.records import Document, Label, Query, Record
from relabel.formats.repeated import repeated_rows
from relabel.records import Scale

_TABLES = """
CREATE TABLE queries (n INTEGER PRIMARY KEY, id TEXT UNIQUE, text TEXT, frequency INTEGER, place TEXT,
                      refused INTEGER DEFAULT 0);
CREATE TABLE documents (n INTEGER PRIMARY KEY, id TEXT UNIQUE, title TEXT, text TEXT, place TEXT,
                        refused INTEGER DEFAULT 0);
CREATE TABLE labels (n INTEGER PRIMARY KEY, query_id TEXT, doc_id TEXT, value REAL, source TEXT, place TEXT,
                     refused INTEGER DEFAULT 0);
"""


class Judged(NamedTuple):
    """One labelled pair of a query, with its document's number in the collection."""

    document: int
    doc_id: str
    value: float | None
    source: str | None


class Collection:
    """Queries, documents and labels of one dataset in a temporary SQLite file; a context manager.

    Args:
        faults: takes what is wrong.
        scale: the grades that labels may have.
        max_text_chars: the longest text that is accepted.
        whole_grades: labels must be grades of the scale, not numbers between them.
    """

    def __init__(self, faults: Faults, scale: Scale, max_text_chars: int, whole_grades: bool):
        self.faults, self.scale, self.max_text_chars, self.whole_grades = faults, scale, max_text_chars, whole_grades
        self.seen: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()

    def __enter__(self) -> Collection:
        self._directory = tempfile.TemporaryDirectory(prefix="relabel-prepare-")
        self._sql = sqlite3.connect(str(Path(self._directory.name) / "collection.sqlite"), isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", "cache_size=-65536"):
            self._sql.execute(f"PRAGMA {pragma}")
        self._sql.executescript(_TABLES)
        self._sql.execute("BEGIN")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sql.close()
        self._directory.cleanup()
        if isinstance(error, sqlite3.OperationalError):
            room = "room on disk for the texts of the dataset"
            raise InputError(self._directory.name, str(error), room, "set TMPDIR to a larger disk") from error

    def load(self, records: Iterable[Record]) -> Iterator[int]:
        """Take in all records, checked; yields the number of records so far, for progress."""
        takers = {Query: self._take_query, Document: self._take_document, Label: self._take_label}
        for count, record in enumerate(records, start=1):
            takers[type(record)](record)
            yield count

    def resolve(self, repeated: str) -> None:
        """Join labels with texts: what cannot be joined, and keys that come twice, are faults.

        Args:
            repeated: `bad` makes every second label of a key a fault; `highest` keeps the highest label.
        """
        self._sql.execute("CREATE INDEX by_key ON labels (query_id, doc_id)")
        self._refuse_unknown("queries", "query_id", "missing-query")
        self._refuse_unknown("documents", "doc_id", "missing-document")
        self._refuse_repeated_keys(repeated)
        for kind in ("queries", "documents", "labels"):
            self._reconcile(kind)

    def count(self, kind: str) -> int:
        """Queries, documents or labels that are usable."""
        return self._sql.execute(f"SELECT count(*) FROM {kind} WHERE NOT refused").fetchone()[0]

    def queries(self) -> Iterator[tuple[str, str, int | None]]:
        """(id, text, frequency) of all queries in the order of the input."""
        yield from self._sql.execute("SELECT id, text, frequency FROM queries WHERE NOT refused ORDER BY n")

    def labelled_query_ids(self, least: float | None = None) -> Iterator[str]:
        """Ids, in the order of the input, of queries with a label; with one of at least `least` where that is given."""
        condition = "" if least is None else "AND l.value >= ?"
        yield from (
            row[0]
            for row in self._sql.execute(
                "SELECT id FROM queries q WHERE NOT refused AND EXISTS (SELECT 1 FROM labels l WHERE l.query_id = q.id "
                f"AND NOT l.refused {condition}) ORDER BY n",
                () if least is None else (least,),
            )
        )

    def judged(self, query_id: str) -> list[Judged]:
        """The labelled pairs of a query by document id."""
        rows = self._sql.execute(
            "SELECT d.n, l.doc_id, l.value, l.source FROM labels l CROSS JOIN documents d ON d.id = l.doc_id "
            "WHERE l.query_id = ? AND NOT l.refused ORDER BY l.doc_id",
            (query_id,),
        )
        return [Judged(*row) for row in rows]

    def documents(self) -> Iterator[tuple[str, str, str]]:
        """(id, title, text) of all documents in the order of the input."""
        yield from self._sql.cursor().execute("SELECT id, title, text FROM documents WHERE NOT refused ORDER BY n")

    def document_numbers(self) -> Iterator[int]:
        """The numbers of all documents, ascending: the order of `documents`."""
        yield from (
            row[0] for row in self._sql.cursor().execute("SELECT n FROM documents WHERE NOT refused ORDER BY n")
        )

    def document(self, number: int) -> tuple[str, str, str]:
        """(id, title, text) of one document."""
        return self._sql.execute("SELECT id, title, text FROM documents WHERE n = ?", (number,)).fetchone()

    def _take_query(self, query: Query) -> None:
        self.seen["queries"] += 1
        row = {"query_id": query.id, "query": query.text}
        try:
            query_id = clean_id(query.id, "query id")
            text = clean_text(query.text, "query", self.max_text_chars)
            if query.frequency is not None and (not isinstance(query.frequency, int) or query.frequency < 0):
                raise BadRow("wrong-type", f"query_frequency {shown(query.frequency)}", "a whole number, 0 or more")
        except BadRow as bad:
            self._reject(bad, query.where, "queries", row, query_id=query.id)
            return
        done = self._sql.execute(
            "INSERT OR IGNORE INTO queries (id, text, frequency, place) VALUES (?, ?, ?, ?)",
            (query_id, text, query.frequency, query.where),
        )
        if not done.rowcount:
            self._came_before("queries", "query", query_id, (text,), query.where, row, query.repeats)

    def _take_document(self, document: Document) -> None:
        self.seen["documents"] += 1
        row = {"doc_id": document.id, "title": document.title, "text": document.text}
        try:
            doc_id = clean_id(document.id, "document id")
            title = clean_text(document.title, "title", self.max_text_chars, may_be_empty=True)
            text = clean_text(document.text, "text", self.max_text_chars, may_be_empty=bool(title.strip()))
        except BadRow as bad:
            self._reject(bad, document.where, "documents", row, doc_id=document.id)
            return
        done = self._sql.execute(
            "INSERT OR IGNORE INTO documents (id, title, text, place) VALUES (?, ?, ?, ?)",
            (doc_id, title, text, document.where),
        )
        if not done.rowcount:
            self._came_before("documents", "document", doc_id, (title, text), document.where, row, document.repeats)

    def _came_before(
        self, kind: str, noun: str, identity: str, texts: tuple, where: str, row: dict[str, Any], repeats: bool
    ) -> None:
        columns = "text" if kind == "queries" else "title, text"
        *before, place, refused = self._sql.execute(
            f"SELECT {columns}, place, refused FROM {kind} WHERE id = ?", (identity,)
        ).fetchone()
        ids = {"query_id": identity} if kind == "queries" else {"doc_id": identity}
        if tuple(before) == texts and not refused:
            if repeats:
                self.repeated[kind] += 1
                return
            bad = BadRow("duplicate-id", f"the {noun} id {identity!r} again, as in {place}", f"one row a {noun}")
            self._reject(bad, where, kind, row, **ids)
            return
        bad = BadRow(
            "two-texts", f"the {noun} id {identity!r} with another text than in {place}", f"one text a {noun} id"
        )
        self._reject(bad, where, kind, row, **ids)
        if not refused:
            names = ("query",) if kind == "queries" else ("title", "text")
            self.faults.add(bad, place, kind, ids | dict(zip(names, before, strict=True)), **ids)
            self._sql.execute(f"UPDATE {kind} SET refused = 1 WHERE id = ?", (identity,))

    def _take_label(self, label: Label) -> None:
        self.seen["labels"] += 1
        try:
            query_id = clean_id(label.query_id, "query id")
            doc_id = clean_id(label.doc_id, "document id")
            value = None if label.value is None else clean_grade(label.value, self.scale, self.whole_grades)
        except BadRow as bad:
            row = {"query_id": label.query_id, "doc_id": label.doc_id, "label": label.value}
            self._reject(bad, label.where, "labels", row, label.query_id, label.doc_id)
            return
        self._sql.execute(
            "INSERT INTO labels (query_id, doc_id, value, source, place) VALUES (?, ?, ?, ?, ?)",
            (query_id, doc_id, value, label.source, label.where),
        )

    def _refuse_unknown(self, kind: str, column: str, reason: str) -> None:
        unknown = (
            f"FROM labels l LEFT JOIN {kind} t ON t.id = l.{column} WHERE NOT l.refused AND (t.id IS NULL OR t.refused)"
        )
        noun = column.removesuffix("_id").replace("doc", "document")
        rows = self._sql.cursor().execute(
            f"SELECT l.query_id, l.doc_id, l.value, l.place, t.place {unknown} ORDER BY l.n"
        )
        for query_id, doc_id, value, place, refused_at in rows:
            name = query_id if column == "query_id" else doc_id
            why = f"whose row {refused_at} was set aside" if refused_at else f"which the dataset's {kind} do not hold"
            bad = BadRow(reason, f"a label for the {noun} {shown(name)}, {why}", f"a {noun} with text for every label")
            self._label_fault(bad, place, query_id, doc_id, value)
        self._sql.execute(f"UPDATE labels SET refused = 1 WHERE n IN (SELECT l.n {unknown})")

    def _refuse_repeated_keys(self, repeated: str) -> None:
        keys = (
            self._sql.cursor()
            .execute(
                "SELECT query_id, doc_id FROM labels WHERE NOT refused GROUP BY query_id, doc_id HAVING count(*) > 1 "
                "ORDER BY min(n)"
            )
            .fetchall()
        )
        for query_id, doc_id in keys:
            rows = self._sql.execute(
                "SELECT n, value, place FROM labels WHERE query_id = ? AND doc_id = ? AND NOT refused ORDER BY n",
                (query_id, doc_id),
            ).fetchall()
            for number, value, place, bad, chosen in repeated_rows(query_id, doc_id, rows, repeated):
                self._label_fault(bad, place, query_id, doc_id, value, chosen)
                self._sql.execute("UPDATE labels SET refused = 1 WHERE n = ?", (number,))

    def _label_fault(
        self, bad: BadRow, place: str, query_id: str, doc_id: str, value: float | None, chosen: bool = False
    ) -> None:
        report = self.faults.set_aside if chosen else self.faults.add
        report(bad, place, "labels", {"query_id": query_id, "doc_id": doc_id, "label": value}, query_id, doc_id)

    def _reject(self, bad: BadRow, where: str, kind: str, row: dict[str, Any], *ids: Any, **named_ids: Any) -> None:
        self._rejected[kind] += 1
        self.faults.add(bad, where, kind, row, *ids, **named_ids)

    def _reconcile(self, kind: str) -> None:
        stored, refused = self._sql.execute(f"SELECT count(*), coalesce(sum(refused), 0) FROM {kind}").fetchone()
        rejected = self._rejected[kind]
        if self.seen[kind] != stored + self.repeated[kind] + rejected or self.faults.by_kind[kind] < rejected + refused:
            found = f"{self.seen[kind]} {kind} read, {stored} stored, {rejected} set aside, {refused} refused later"
            raise LedgerError("prepare", found, "counts that add up", "report this as a bug")
