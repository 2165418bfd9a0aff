"""MedQuAD question-answer pairs: a folder of its XML files, or a jsonl dump of them (plain or gzip).

Each pair gives a query (the question), a document (the answer, with the topic as its title) and the label 1: the
known answer. Questions with the same text are one query with several known answers. Rows are counted from 1: the
pair within an XML file, the line of a dump. A dump line has `_id`, `title` (the question), `text` (the answer) and
perhaps `metadata.focus` (the topic). XML indentation is layout: runs of white space become one blank.

MedQuAD's publishers removed the answers of three of its collections; such pairs are `empty-text` faults, and counted.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from relabel.errors import InputError
from relabel.formats.checks import text_id
from relabel.formats.faults import BadRow, Faults
from relabel.formats.reader import BINARY, Reader, ReadOptions
from relabel.formats.records import Document, Label, Query, Record
from relabel.formats.safe_xml import element_text, parse_xml
from relabel.formats.source import Source

_ROOTS = ("Document", "DiseaseFile")


def read(source: Source, options: ReadOptions, faults: Faults) -> Iterator[Record]:
    """The records of a folder of XML files, of one XML file, or of one jsonl dump.

    Raises:
        InputError: where the dataset holds neither.
    """
    if source.single and source.single.removesuffix(".gz").endswith(".jsonl"):
        yield from _read_dump(source, source.single, faults)
        return
    names = [name for name in source.names(recursive=True) if name.endswith(".xml")]
    if not names:
        found = source.single or "a folder without XML files"
        raise InputError(source.uri, found, "a folder of MedQuAD XML files, or its dump as .jsonl or .jsonl.gz")
    for name in names:
        yield from _read_xml(source, name, faults)


def _read_dump(source: Source, name: str, faults: Faults) -> Iterator[Record]:
    for where, row in source.json_rows(name, "pairs", faults):
        metadata = row.get("metadata")
        topic = metadata.get("focus") if isinstance(metadata, dict) else None
        yield from _known_answer(where, row.get("title"), row.get("_id"), topic, row.get("text"), faults)


def _read_xml(source: Source, name: str, faults: Faults) -> Iterator[Record]:
    data = source.folder.read_bytes(name)
    try:
        root = parse_xml(data, _ROOTS)
    except BadRow as bad:
        faults.add(bad, f"{name}:1", "pairs", data)
        return
    collection, stem = root.get("source", ""), posixpath.basename(name).removesuffix(".xml")
    topic = element_text(root, "Focus")
    for row, pair in enumerate(root.iter("QAPair"), start=1):
        doc_id = f"{collection}_{stem}-{pair.get('pid', row)}"
        question, answer = element_text(pair, "Question"), element_text(pair, "Answer")
        yield from _known_answer(f"{name}:{row}", question, doc_id, topic, answer, faults)


def _known_answer(
    where: str, question: object, doc_id: object, topic: object, answer: object, faults: Faults
) -> Iterator[Record]:
    row = {"doc_id": doc_id, "question": question, "focus": topic, "answer": answer}
    for name, text in (("question", question), ("answer", answer)):
        if text is None or (isinstance(text, str) and not text.strip()):
            faults.add(
                BadRow("empty-text", f"an empty {name}", f"a pair with {name}"), where, "pairs", row, None, doc_id
            )
            return
        if not isinstance(text, str):
            bad = BadRow("wrong-type", f"{name} of type {type(text).__name__}", "a string")
            faults.add(bad, where, "pairs", row, None, doc_id)
            return
    query_id = text_id("q", question)
    yield Query(where, query_id, question, repeats=True)
    yield Document(where, doc_id, topic, answer)
    yield Label(where, query_id, doc_id, 1)


READER = Reader("medquad", read, BINARY)
