"""Malformed datasets: each gives one error that names file and row, or one quarantined row each, and counts add up."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel.errors import ConfigError, InputError
from relabel.formats.faults import REASONS
from relabel.prepare import PrepareConfig, prepare
from relabel.storage import Folder
from relabel.tables import read_whole


def jsonl(*rows: dict | str) -> bytes:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()


def parquet(**columns) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def document(doc_id, text="some text", **more) -> dict:
    return {"_id": doc_id, "text": text} | more


def query(query_id, text="a question") -> dict:
    return {"_id": query_id, "text": text}


def pair(query_id="q1", doc_id="d9", query="first question", text="another text", **more) -> dict:
    return {"query_id": query_id, "doc_id": doc_id, "query": query, "text": text} | more


HEADER = "query-id\tcorpus-id\tscore\n"
BEIR = {
    "queries.jsonl": jsonl(query("q1"), query("q2")),
    "corpus.jsonl": jsonl(document("d1"), document("d2", "other text")),
    "qrels/test.tsv": f"{HEADER}q1\td1\t1\nq1\td2\t0\nq2\td1\t1\n".encode(),
}
TREC = {
    "queries.tsv": b"q1\ta question\n",
    "documents.tsv": b"d1\tsome text\nd2\ta title\tother text\n",
    "qrels.txt": b"q1 0 d1 3\nq1 0 d2 0\n",
}
GOOD_PAIRS = (pair(doc_id="d1", label=1), pair(doc_id="d2", label=0))
GOOD_COLUMNS = {
    "query_id": ["q1", "q1"],
    "doc_id": ["d1", "d2"],
    "query": ["first question"] * 2,
    "text": ["some text", "other text"],
    "label": [1.0, 0.0],
}
MEDQUAD = (
    '<?xml version="1.0" encoding="UTF-8"?><Document id="1" source="X" url="u"><Focus>a topic</Focus><QAPairs>'
    '<QAPair pid="1"><Question qid="1-1">What is it ?</Question><Answer>It is this.</Answer></QAPair>{}'
    "</QAPairs></Document>"
)
QUESTIONS = (
    '<?xml version="1.0" encoding="UTF-8"?><LiveQA2017-Medical-Test-Set-Full><NLM-QUESTION qid="TQ1">'
    "<Original-Question><SUBJECT>a topic</SUBJECT><MESSAGE>a question</MESSAGE></Original-Question></NLM-QUESTION>"
    "</LiveQA2017-Medical-Test-Set-Full>"
)
LIVEQA = {
    "TREC-Test-Questions.xml": QUESTIONS.encode(),
    "All-Answers.csv": b'AnswerID,Answer\nA1.txt,"Question: q\nURL: u\nAnswer: it is this.)"\n',
    "All-qrels.txt": b"1 4-Excellent A1.txt\n",
}


@dataclass(frozen=True)
class Case:
    """One malformed dataset.

    Attributes:
        files: the dataset's files.
        error: what the message says: place, finding.
        reasons: the reason of each quarantined row; empty: an error in both modes.
        rows: pairs that still come out in quarantine mode.
        single: the dataset is this one file.
    """

    about: str
    format: str
    files: dict[str, bytes]
    error: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    rows: int = 0
    single: str | None = None
    config: dict = field(default_factory=dict)


def beir(about: str, name: str, data: bytes, error: tuple, reasons: tuple = (), rows: int = 0, **config) -> Case:
    return Case(about, "beir", BEIR | {name: data}, error, reasons, rows, config=config)


def qrels(about: str, row: str, error: tuple, reasons: tuple, rows: int = 3, **config) -> Case:
    data = BEIR["qrels/test.tsv"] + row.encode() + b"\n"
    return beir(about, "qrels/test.tsv", data, error, reasons, rows, **config)


def pairs(about: str, rows: tuple, error: tuple, reasons: tuple, left: int = 2, **config) -> Case:
    return Case(about, "pairs", {"p.jsonl": jsonl(*GOOD_PAIRS, *rows)}, error, reasons, left, config=config)


def columns(about: str, change: dict, error: tuple, reasons: tuple = (), left: int = 0, **config) -> Case:
    data = parquet(**{name: value for name, value in (GOOD_COLUMNS | change).items() if value is not None})
    return Case(about, "pairs", {"p.parquet": data}, error, reasons, left, config=config)


def groups(about: str, row: dict | str, error: tuple, reasons: tuple, left: int = 2) -> Case:
    good = {"query": "a question", "positives": ["yes"], "negatives": ["no"]}
    return Case(about, "groups", {"g.jsonl": jsonl(good, row)}, error, reasons, left)


def medquad(about: str, xml: str | bytes, error: tuple, reasons: tuple, left: int) -> Case:
    data = xml if isinstance(xml, bytes) else xml.encode()
    return Case(about, "medquad", {"a/0000001.xml": data}, error, reasons, left)


def liveqa(about: str, name: str, data: bytes, error: tuple, reasons: tuple = (), left: int = 0, **config) -> Case:
    return Case(about, "liveqa", LIVEQA | {name: data}, error, reasons, left, config=config)


def no_utf8() -> pa.Array:
    offsets, data = pa.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), pa.py_buffer(b"ab\xff\xfe")
    return pa.Array.from_buffers(pa.string(), 2, [None, offsets, data])


CORPUS, QUERIES = BEIR["corpus.jsonl"], BEIR["queries.jsonl"]
CASES = [
    beir(
        "a document that is no JSON",
        "corpus.jsonl",
        CORPUS + b'{"_id": "d3", \n',
        ("corpus.jsonl:3: found no JSON", "wanted one JSON object a line"),
        ("bad-json",),
        3,
    ),
    beir(
        "a document row that is a JSON list",
        "corpus.jsonl",
        CORPUS + b'["d3"]\n',
        ("corpus.jsonl:3: found ['d3']",),
        ("bad-json",),
        3,
    ),
    beir(
        "Latin-1 bytes in a document",
        "corpus.jsonl",
        CORPUS + b'{"_id": "d3", "text": "caf\xe9"}\n',
        ("corpus.jsonl:3: found the byte 0xe9 at 26, which is no UTF-8",),
        ("bad-encoding",),
        3,
    ),
    beir(
        "half a surrogate pair in a query",
        "queries.jsonl",
        QUERIES + b'{"_id": "q3", "text": "a \\ud83d b"}\n',
        ("queries.jsonl:3: found half a surrogate pair in query, at 2",),
        ("bad-encoding",),
        3,
    ),
    beir(
        "a document without an id",
        "corpus.jsonl",
        CORPUS + jsonl({"text": "x"}),
        ("corpus.jsonl:3: found no document id",),
        ("missing-id",),
        3,
    ),
    beir(
        "a document whose id is blank",
        "corpus.jsonl",
        CORPUS + jsonl(document(" ")),
        ("corpus.jsonl:3: found the empty document id ' '",),
        ("missing-id",),
        3,
    ),
    beir(
        "an empty document that a label needs",
        "corpus.jsonl",
        jsonl(document("d1"), document("d2", " \n")),
        ("corpus.jsonl:2: found an empty text", "on_bad: quarantine"),
        ("empty-text", "missing-document"),
        2,
    ),
    beir(
        "a text that is a number",
        "corpus.jsonl",
        CORPUS + jsonl(document("d3", 7)),
        ("corpus.jsonl:3: found text 7 (int); wanted a string",),
        ("wrong-type",),
        3,
    ),
    beir(
        "a NUL character in a text",
        "corpus.jsonl",
        CORPUS + jsonl(document("d3", "a\0b")),
        ("corpus.jsonl:3: found a NUL character in text, at 1",),
        ("nul-character",),
        3,
    ),
    beir(
        "a text beyond max_text_chars",
        "corpus.jsonl",
        CORPUS + jsonl(document("d3", "x" * 101)),
        ("corpus.jsonl:3: found text of 101 characters; wanted at most 100 (max_text_chars)",),
        ("text-too-long",),
        3,
        max_text_chars=100,
    ),
    beir(
        "a document id twice with the same text",
        "corpus.jsonl",
        CORPUS + jsonl(document("d1")),
        ("corpus.jsonl:3: found the document id 'd1' again, as in corpus.jsonl:1",),
        ("duplicate-id",),
        3,
    ),
    beir(
        "a document id with two texts: both rows and their labels go aside",
        "corpus.jsonl",
        CORPUS + jsonl(document("d2", "contradiction")),
        ("corpus.jsonl:3: found the document id 'd2' with another text than in corpus.jsonl:2",),
        ("two-texts", "two-texts", "missing-document"),
        2,
    ),
    beir(
        "a query id with two texts",
        "queries.jsonl",
        QUERIES + jsonl(query("q2", "another question")),
        ("queries.jsonl:3: found the query id 'q2' with another text than in queries.jsonl:2",),
        ("two-texts", "two-texts", "missing-query"),
        2,
    ),
    beir(
        "a query without text",
        "queries.jsonl",
        QUERIES + jsonl({"_id": "q3"}),
        ("queries.jsonl:3: found an empty query",),
        ("empty-text",),
        3,
    ),
    beir(
        "qrels without a header",
        "qrels/test.tsv",
        b"q1\td1\t1\n",
        ("qrels/test.tsv:1: found 'q1", "the header query-id corpus-id score", "add this header"),
    ),
    beir("qrels that are empty", "qrels/test.tsv", b"", ("qrels/test.tsv:1: found ''", "the header")),
    qrels(
        "a label for an unknown document",
        "q1\td7\t1",
        ("qrels/test.tsv:5: found a label for the document 'd7', which the dataset's documents do not hold",),
        ("missing-document",),
    ),
    qrels(
        "a label for an unknown query",
        "q7\td1\t1",
        ("qrels/test.tsv:5: found a label for the query 'q7', which the dataset's queries do not hold",),
        ("missing-query",),
    ),
    qrels(
        "a grade that is a word",
        "q2\td2\tyes",
        ("qrels/test.tsv:5: found the grade 'yes'; wanted a number",),
        ("bad-grade",),
    ),
    qrels("a grade that is NaN", "q2\td2\tnan", ("qrels/test.tsv:5: found the grade 'nan'",), ("bad-grade",)),
    qrels("a grade that is infinite", "q2\td2\t1e999", ("qrels/test.tsv:5: found the grade '1e999'",), ("bad-grade",)),
    qrels(
        "a grade above the scale",
        "q2\td2\t3",
        ("qrels/test.tsv:5: found the grade 3; wanted 0 to 1, or another scale.grades",),
        ("out-of-scale",),
    ),
    qrels(
        "a human grade between two grades",
        "q2\td2\t0.5",
        ("qrels/test.tsv:5: found the human grade 0.5; wanted one of [0, 1]",),
        ("out-of-scale",),
        label_source="human",
    ),
    qrels(
        "a qrels row with two columns",
        "q2 d2\t1",
        ("qrels/test.tsv:5: found 2 columns; wanted 3 columns separated by tabs",),
        ("bad-columns",),
    ),
    qrels(
        "a label twice",
        "q2\td1\t1.0",
        ("qrels/test.tsv:5: found the pair ('q2', 'd1') again with the same label, as in qrels/test.tsv:4",),
        ("duplicate-key",),
    ),
    qrels(
        "one key with two labels: both rows go aside",
        "q2\td1\t0",
        (
            "qrels/test.tsv:5: found the pair ('q2', 'd1') with the label 0, but 1 in qrels/test.tsv:4",
            "repeated: highest",
        ),
        ("conflicting-labels", "conflicting-labels"),
        2,
    ),
    Case(
        "a folder without a corpus",
        "beir",
        {name: data for name, data in BEIR.items() if name != "corpus.jsonl"},
        ("found qrels/test.tsv, queries.jsonl; wanted the file corpus.jsonl (or .gz)",),
    ),
    Case("a split that is not there", "beir", BEIR, ("wanted the file qrels/dev.tsv",), config={"split": "dev"}),
    Case(
        "a gzip file that is cut off",
        "beir",
        {"queries.jsonl": QUERIES, "corpus.jsonl.gz": gzip.compress(CORPUS * 50)[:40]}
        | {"qrels/test.tsv": BEIR["qrels/test.tsv"]},
        ("corpus.jsonl.gz:", "damaged gzip", "wanted a whole gzip file"),
    ),
    Case(
        "a .gz file that is no gzip",
        "beir",
        {"queries.jsonl": QUERIES, "corpus.jsonl.gz": CORPUS, "qrels/test.tsv": BEIR["qrels/test.tsv"]},
        ("corpus.jsonl.gz:1: found damaged gzip (Not a gzipped file",),
    ),
    Case(
        "TREC qrels with three columns",
        "trec",
        TREC | {"qrels.txt": TREC["qrels.txt"] + b"q1 d1 2\n"},
        ("qrels.txt:3: found 3 columns; wanted 4 columns separated by blanks",),
        ("bad-columns",),
        2,
    ),
    Case(
        "a TREC junk grade below the scale",
        "trec",
        TREC | {"qrels.txt": b"q1 0 d1 -2\nq1 0 d2 0\n"},
        ("qrels.txt:1: found the grade -2; wanted 0 to 3",),
        ("out-of-scale",),
        1,
    ),
    Case(
        "a TREC query without a text",
        "trec",
        TREC | {"queries.tsv": TREC["queries.tsv"] + b"q2\t\n"},
        ("queries.tsv:2: found an empty query",),
        ("empty-text",),
        2,
    ),
    Case(
        "a TREC document row with too many tabs",
        "trec",
        TREC | {"documents.tsv": TREC["documents.tsv"] + b"d3\ta\tb\tc\td\n"},
        ("documents.tsv:3: found 5 columns; wanted 2 to 3 columns",),
        ("bad-columns",),
        2,
    ),
    Case(
        "UTF-16 queries",
        "trec",
        TREC | {"queries.tsv": "q1\ta question".encode("utf-16-le") + b"\xff"},
        ("queries.tsv:1: found the byte 0xff",),
        ("bad-encoding", "missing-query", "missing-query"),
        0,
    ),
    pairs("a pair without a document id", (pair(doc_id=None),), ("p.jsonl:3: found no document id",), ("missing-id",)),
    pairs("a pair without a query", (pair(query=" "),), ("p.jsonl:3: found an empty query",), ("empty-text",)),
    pairs("a pair without a text", (pair(text=""),), ("p.jsonl:3: found an empty text",), ("empty-text",)),
    pairs(
        "a label that is a word",
        (pair(label="high"),),
        ("p.jsonl:3: found label 'high' (str); wanted a number",),
        ("bad-grade",),
    ),
    pairs("a NaN label in jsonl", (pair(label=float("nan")),), ("p.jsonl:3: found the grade nan",), ("bad-grade",)),
    pairs(
        "a label out of the scale",
        (pair(label=2),),
        ("p.jsonl:3: found the grade 2; wanted 0 to 1",),
        ("out-of-scale",),
    ),
    pairs("a text that is a list", (pair(text=["a"]),), ("p.jsonl:3: found text ['a'] (list)",), ("wrong-type",)),
    pairs(
        "a NUL character in a query id",
        (pair(query_id="q\0"),),
        ("p.jsonl:3: found a NUL character in query_id, at 1",),
        ("nul-character",),
    ),
    pairs(
        "a query beyond max_text_chars",
        (pair(query="x" * 51, query_id="q2"),),
        ("p.jsonl:3: found query of 51 characters; wanted at most 50",),
        ("text-too-long",),
        max_text_chars=50,
    ),
    pairs(
        "a pair twice",
        (pair(doc_id="d2", label=0),),
        ("p.jsonl:3: found the pair ('q1', 'd2') again with the same label, as in p.jsonl:2",),
        ("duplicate-key",),
    ),
    pairs(
        "a pair with two labels",
        (pair(doc_id="d2", label=1),),
        ("p.jsonl:3: found the pair ('q1', 'd2') with the label 1, but 0 in p.jsonl:2",),
        ("conflicting-labels", "conflicting-labels"),
        1,
    ),
    pairs(
        "a query id with two texts in pairs: all its rows go aside",
        (pair(query="another question"), pair(query_id="q2")),
        ("p.jsonl:3: found the query id 'q1' with another text than in p.jsonl:1",),
        ("two-texts", "two-texts", "two-texts"),
        1,
    ),
    pairs(
        "a frequency below zero",
        (pair(query_frequency=-4),),
        ("p.jsonl:3: found query_frequency -4; wanted a whole number, 0 or more",),
        ("wrong-type",),
    ),
    columns(
        "Parquet without a text column",
        {"text": None},
        ("p.parquet: found the columns query_id, doc_id, query, label; wanted a column 'text'",),
    ),
    columns(
        "a Parquet label column of strings",
        {"label": ["1", "0"]},
        ("p.parquet: column 'label': found the type string; wanted numbers",),
    ),
    columns(
        "a Parquet text column of numbers",
        {"text": [1.5, 2.5]},
        ("p.parquet: column 'text': found the type double; wanted strings",),
    ),
    columns(
        "a NaN label in Parquet",
        {"label": [1.0, float("nan")]},
        ("p.parquet:2: found the grade nan; wanted a number out of [0, 1]",),
        ("bad-grade",),
        1,
    ),
    columns(
        "bytes that are no UTF-8 in a Parquet string",
        {"text": no_utf8()},
        ("p.parquet:2: found the byte 0xff at 0, which is no UTF-8",),
        ("bad-encoding",),
        1,
    ),
    columns(
        "bytes that are no UTF-8 in a Parquet binary",
        {"text": pa.array([b"good", b"caf\xe9"])},
        ("p.parquet:2: found the byte 0xe9 at 3, which is no UTF-8",),
        ("bad-encoding",),
        1,
    ),
    columns(
        "a null query id in Parquet",
        {"query_id": ["q1", None]},
        ("p.parquet:2: found no query id",),
        ("missing-id",),
        1,
    ),
    Case(
        "a Parquet file that is cut off",
        "pairs",
        {"p.parquet": parquet(**GOOD_COLUMNS)[:-30]},
        ("p.parquet: found damaged Parquet (", "wanted a whole Parquet file"),
    ),
    Case(
        "a Parquet file with a damaged page",
        "pairs",
        {"p.parquet": parquet(**GOOD_COLUMNS).replace(b"some text", b"\xff" * 14, 1)},
        ("p.parquet: found damaged Parquet (", "wanted a whole Parquet file"),
    ),
    Case("a pairs folder without data files", "pairs", {"readme.txt": b"x"}, ("wanted pairs as Parquet or jsonl",)),
    groups("a group without a query", {"positives": ["a"]}, ("g.jsonl:2: found query None",), ("empty-text",)),
    groups(
        "a group without documents",
        {"query": "another", "pos_scores": [1]},
        ("g.jsonl:2: found no document among pos_scores, query; wanted positives or negatives",),
        ("empty-text",),
    ),
    groups(
        "a group whose positives are a number",
        {"query": "another", "positives": 3},
        ("g.jsonl:2: found positives 3 (int); wanted a list of documents",),
        ("wrong-type",),
    ),
    groups(
        "an empty document in a group",
        {"query": "another", "pos": [""]},
        ("g.jsonl:2: found a document {'text': ''}; wanted a document with text",),
        ("empty-text",),
    ),
    groups(
        "a document that is positive and negative",
        {"query": "another", "pos": ["yes"], "neg": ["yes"]},
        ("g.jsonl:2: found the pair", "with the label 0, but 1 in g.jsonl:2"),
        ("conflicting-labels", "conflicting-labels"),
    ),
    medquad(
        "a MedQuAD pair whose answer was removed",
        MEDQUAD.format('<QAPair pid="2"><Question>What else ?</Question><Answer/></QAPair>'),
        ("a/0000001.xml:2: found an empty answer; wanted a pair with answer",),
        ("empty-text",),
        1,
    ),
    medquad(
        "XML that is not well-formed",
        MEDQUAD.format("<QAPair>"),
        ("a/0000001.xml:1: found no well-formed XML (mismatched tag",),
        ("bad-xml",),
        0,
    ),
    medquad(
        "XML whose entities expand",
        '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><Document source="X"><Focus>&b;</Focus></Document>',
        ("a/0000001.xml:1: found a document type declaration, which may expand or fetch; wanted XML without",),
        ("bad-xml",),
        0,
    ),
    medquad("XML of another kind", "<html/>", ("found the root element 'html'; wanted <Document>",), ("bad-xml",), 0),
    medquad(
        "XML in Latin-1",
        MEDQUAD.format("<!-- caf\xe9 -->").encode("latin-1"),
        ("a/0000001.xml:1: found the byte 0xe9",),
        ("bad-encoding",),
        0,
    ),
    Case(
        "a MedQuAD folder without XML",
        "medquad",
        {"dump.jsonl": b"{}\n"},
        ("found a folder without XML files; wanted a folder of MedQuAD XML files",),
    ),
    Case(
        "a MedQuAD dump line without an answer",
        "medquad",
        {"dump.jsonl": jsonl({"_id": "a", "title": "What ?", "text": "This."}, {"_id": "b", "title": "Who ?"})},
        ("dump.jsonl:2: found an empty answer",),
        ("empty-text",),
        1,
        single="dump.jsonl",
    ),
    liveqa(
        "a LiveQA grade that is not one of the four",
        "All-qrels.txt",
        b"1 4-Excellent A1.txt\n1 5-Perfect A1.txt\n",
        ("All-qrels.txt:2: found the grade '5-Perfect'; wanted 1-Incorrect",),
        ("bad-grade",),
        1,
    ),
    liveqa(
        "a LiveQA answer without its parts",
        "All-Answers.csv",
        LIVEQA["All-Answers.csv"] + b"A2.txt,just words\n",
        ("All-Answers.csv:3: found 'A2.txt,just words'; wanted an id, and a text of the parts Question:",),
        ("bad-columns",),
        1,
    ),
    Case(
        "a LiveQA folder without qrels",
        "liveqa",
        {name: data for name, data in LIVEQA.items() if name != "All-qrels.txt"},
        ("wanted exactly one file *All-qrels*.txt",),
    ),
]


def write(case: Case, folder: Path) -> str:
    for name, data in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(folder / case.single) if case.single else str(folder)


def run(case: Case, folder: Path, on_bad: str):
    config = PrepareConfig(dataset=write(case, folder / "in"), format=case.format, on_bad=on_bad, **case.config)
    return prepare(config, Folder(folder / "out"), log=lambda line: None)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.about)
def test_a_bad_row_is_an_error_that_names_it(case: Case, tmp_path):
    """With `on_bad: error` the message names file and row, what was found and what is wanted, and no table is made."""
    with pytest.raises(InputError) as caught:
        run(case, tmp_path, "error")
    for part in case.error:
        assert part in str(caught.value)
    assert "found " in str(caught.value)
    assert "; wanted " in str(caught.value)
    assert not (tmp_path / "out" / "table.json").exists()


@pytest.mark.parametrize("case", [case for case in CASES if case.reasons], ids=lambda case: case.about)
def test_a_bad_row_goes_to_quarantine_with_its_reason(case: Case, tmp_path):
    """With `on_bad: quarantine` bad rows are set aside whole with place and reason, all others go on, counts add up."""
    manifest = run(case, tmp_path, "quarantine")
    aside = pq.read_table(tmp_path / "out" / "quarantine").to_pylist()
    assert [row["reason"] for row in aside] == list(case.reasons)
    assert manifest.rows == case.rows == read_whole(Folder(tmp_path / "out"), "pairs").num_rows
    assert manifest.quarantined == len(case.reasons)
    assert manifest.rows_in == manifest.rows + manifest.quarantined
    assert sum(manifest.about["funnel"]["quarantined"].values()) == len(aside)
    for row in aside:
        assert row["stage"] == "prepare"
        assert row["source"].rpartition(":")[2].isdigit()
        assert json.loads(row["row"])
        assert row["detail"].startswith("found ")
    place = case.error[0].split(": found")[0]
    if place.rpartition(":")[2].isdigit():
        assert place in {row["source"] for row in aside}


@pytest.mark.parametrize("case", [case for case in CASES if not case.reasons], ids=lambda case: case.about)
def test_a_damaged_file_is_an_error_even_where_rows_may_be_set_aside(case: Case, tmp_path):
    """Rows that a damaged or missing file hides cannot be counted, so quarantine does not help."""
    with pytest.raises(InputError) as caught:
        run(case, tmp_path, "quarantine")
    for part in case.error:
        assert part in str(caught.value)
    assert not (tmp_path / "out" / "table.json").exists()


def test_the_quarantine_keeps_bytes_that_are_no_text(tmp_path):
    """A row that is no UTF-8 is kept with its bytes backslash-escaped, so that it can be repaired and driven again."""
    case = next(case for case in CASES if case.about == "Latin-1 bytes in a document")
    run(case, tmp_path, "quarantine")
    row = pq.read_table(tmp_path / "out" / "quarantine").to_pylist()[0]
    assert json.loads(row["row"]) == {"line": '{"_id": "d3", "text": "caf\\xe9"}'}


def test_every_reason_is_met():
    """Each reason word but the recipe's own choice has a malformed dataset that gives it."""
    met = {reason for case in CASES for reason in case.reasons}
    assert met == set(REASONS) - {"repeated-judgement"}


def test_nothing_at_the_address(tmp_path):
    """A dataset that does not exist is named."""
    config = PrepareConfig(dataset=str(tmp_path / "nowhere"), format="beir")
    with pytest.raises(InputError, match=r"nowhere: found nothing there.*Next: check --dataset"):
        prepare(config, Folder(tmp_path / "out"), log=lambda line: None)


def test_an_unknown_query_field_of_liveqa(tmp_path):
    """A query field that LiveQA-Med does not have is refused with those it has."""
    case = Case("", "liveqa", LIVEQA, (), config={"query_field": "title"})
    with pytest.raises(ConfigError, match="query_field: found 'title'; wanted one of text, summary, paraphrase"):
        run(case, tmp_path, "error")


def test_an_unknown_format_is_refused():
    """A format that does not exist is refused with those that do."""
    with pytest.raises(ConfigError, match="format: found 'bier'; wanted 'beir', 'trec', 'medquad'"):
        PrepareConfig.load({"dataset": "x", "format": "bier"}, "recipe.yaml")


def test_a_fold_that_does_not_exist_is_refused():
    """Folds are counted from 0; one beyond the last is refused."""
    folds = {"count": 3, "keep": [3]}
    with pytest.raises(ConfigError, match="folds from 0 to 2"):
        PrepareConfig.load({"dataset": "x", "format": "beir", "query_folds": folds}, "recipe.yaml")


WHOLE = [
    Case("beir", "beir", BEIR, ()),
    Case("trec", "trec", TREC, ()),
    Case("pairs as jsonl", "pairs", {"p.jsonl": jsonl(*GOOD_PAIRS)}, ()),
    Case("pairs as Parquet", "pairs", {"p.parquet": parquet(**GOOD_COLUMNS)}, ()),
    Case("groups", "groups", {"g.jsonl": jsonl({"query": "a", "pos": ["yes"], "neg": [{"text": "no"}]})}, ()),
    Case("medquad", "medquad", {"a/0000001.xml": MEDQUAD.format("").encode()}, ()),
    Case("liveqa", "liveqa", LIVEQA, ()),
]
SCRAPS = [
    b"null",
    b"NaN",
    b"1e400",
    b"[]",
    b'""',
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\0",
    b"\t",
    b"\n",
    b'"',
    b"-1",
    b"<",
]


def damaged(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    scrap = chance.choice(SCRAPS)
    kind = chance.randrange(4)
    if kind == 0:
        return data[:at] + data[at + chance.randint(1, 8) :]
    if kind == 1:
        return data[:at]
    return data[:at] + scrap + data[at + (len(scrap) if kind == 2 else 0) :]


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.about)
def test_random_damage_is_an_error_or_a_quarantined_row(case: Case, tmp_path):
    """However files are cut, overwritten or stuffed: a clear error, or a table whose counts add up; never a crash."""
    chance = random.Random(case.about)
    outcomes = set()
    for _ in range(25):
        name = chance.choice(sorted(case.files))
        files = case.files | {name: damaged(case.files[name], chance)}
        try:
            manifest = run(Case("", case.format, files, ()), tmp_path, "quarantine")
        except InputError as error:
            outcomes.add("error" if "; wanted " in str(error) else "unclear error")
        else:
            outcomes.add("quarantined" if manifest.quarantined else "whole")
            assert manifest.rows_in == manifest.rows + manifest.quarantined
    assert outcomes - {"whole"}
    assert "unclear error" not in outcomes
