"""LiveQA-Med as published: consumer health questions (XML), judged MedQuAD answers (csv) and their qrels (txt).

The three files lie in one folder: `*Test-Questions*.xml`, `All-2479-Answers*.csv`, `All-qrels*.txt`. A query's text is
the subject and the message as the consumer wrote them; `query_field: summary` or `paraphrase` takes the experts' short
versions instead. Published grades 1 to 4 become 0 to 3. 168 pairs were judged twice with different grades: state
`repeated: highest`, or they are faults.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree

from relabel.errors import ConfigError, InputError
from relabel.formats.faults import BadRow, Faults, shown
from relabel.formats.reader import GRADED, Reader, ReadOptions
from relabel.formats.records import Document, Label, Query, Record
from relabel.formats.safe_xml import element_text, parse_xml
from relabel.formats.source import Source

_FIELDS = {"summary": "NLM-Summary", "paraphrase": "NIST-PARAPHRASE"}
_ANSWER = re.compile(r"\s*Question:(?P<question>.*?)\s*URL:\s*\S*\s*Answer:(?P<answer>.*)", re.DOTALL)
_GRADE = re.compile(r"([1-4])-(Incorrect|Related|Incomplete|Excellent)")


def read(source: Source, options: ReadOptions, faults: Faults) -> Iterator[Record]:
    """The records of the published LiveQA-Med files.

    Raises:
        InputError: for a missing file; ConfigError: for a query field that the questions do not have.
    """
    if options.query_field not in ("text", *_FIELDS):
        raise ConfigError("query_field", repr(options.query_field), f"one of text, {', '.join(_FIELDS)}")
    yield from _read_questions(source, _only(source, "Test-Questions", ".xml"), options.query_field, faults)
    yield from _read_answers(source, _only(source, "Answers", ".csv"), faults)
    yield from _read_qrels(source, _only(source, "All-qrels", ".txt"), faults)


def _only(source: Source, part: str, suffix: str) -> str:
    names = [name for name in source.names(suffix=suffix) if part in name]
    if len(names) != 1:
        found = ", ".join(names) or f"no file *{part}*{suffix}"
        raise InputError(source.uri, found, f"exactly one file *{part}*{suffix}", "name the folder of the raw files")
    return names[0]


def _read_questions(source: Source, name: str, field: str, faults: Faults) -> Iterator[Record]:
    data = source.folder.read_bytes(name)
    try:
        root = parse_xml(data, ("LiveQA2017-Medical-Test-Set-Full",))
    except BadRow as bad:
        faults.add(bad, f"{name}:1", "queries", data)
        return
    for row, question in enumerate(root.iter("NLM-QUESTION"), start=1):
        text = _consumer_text(question) if field == "text" else element_text(question, _FIELDS[field])
        yield Query(f"{name}:{row}", question.get("qid", "").removeprefix("TQ"), text)


def _consumer_text(question: ElementTree.Element) -> str:
    """Subject and message; the subject alone or left out where the message repeats it at its start."""
    subject = element_text(question, "Original-Question/SUBJECT")
    message = element_text(question, "Original-Question/MESSAGE")
    return message if message.startswith(subject) else f"{subject} {message}".strip()


def _read_answers(source: Source, name: str, faults: Faults) -> Iterator[Record]:
    data = source.folder.read_bytes(name)
    try:
        rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    except UnicodeDecodeError as error:
        bad = BadRow("bad-encoding", f"the byte 0x{data[error.start]:02x} at {error.start}, which is no UTF-8", "UTF-8")
        faults.add(bad, f"{name}:{data.count(bytes([10]), 0, error.start) + 1}", "documents", data)
        return
    if next(rows, None) != ["AnswerID", "Answer"]:
        raise InputError(f"{name}:1", "another header", "the header AnswerID,Answer")
    for row, cells in enumerate(rows, start=2):
        where = f"{name}:{row}"
        match = _ANSWER.fullmatch(cells[1]) if len(cells) == 2 else None
        if match is None:
            wanted = "an id, and a text of the parts Question:, URL:, Answer:"
            faults.add(BadRow("bad-columns", shown(",".join(cells)), wanted), where, "documents", ",".join(cells))
            continue
        # Every published answer ends with one closing bracket that its text does not open.
        answer = " ".join(match["answer"].split()).removesuffix(")")
        title = " ".join(match["question"].split())
        yield Document(where, cells[0].removesuffix(".txt"), title, answer, repeats=True)


def _read_qrels(source: Source, name: str, faults: Faults) -> Iterator[Record]:
    for where, (query_id, grade, doc_id) in source.cell_rows(name, "labels", 3, faults, separator=None):
        match = _GRADE.fullmatch(grade)
        if match is None:
            bad = BadRow(
                "bad-grade", f"the grade {shown(grade)}", "1-Incorrect, 2-Related, 3-Incomplete or 4-Excellent"
            )
            faults.add(bad, where, "labels", f"{query_id} {grade} {doc_id}", query_id, doc_id)
            continue
        yield Label(where, query_id, doc_id.removesuffix(".txt"), int(match[1]) - 1)


READER = Reader("liveqa", read, GRADED)
