"""Every output format can be read again: by our readers, by ir-measures, by datasets; what is left out is counted."""

from __future__ import annotations

import json

import ir_measures
import pyarrow as pa
import pyarrow.json
import pytest

from relabel.errors import ConfigError, InputError
from relabel.formats import WRITERS
from relabel.formats.export import ExportConfig, export
from relabel.formats.export_rows import nearest_grade
from relabel.prepare import PrepareConfig, prepare
from relabel.records import LABELS, RANKINGS, Scale
from relabel.storage import Folder
from relabel.tables import TableWriter, read_whole

GRADES = Scale((0, 1, 2, 3), relevant_from=2)
PAIRS = [
    ("q1", "d1", "first", "one", 3.0),
    ("q1", "d2", "first", "two", 0.0),
    ("q1", "d3", "first", "three", 1.0),
    ("q1", "d4", "first", "four", None),
    ("q2", "d1", "second", "one", 0.0),
    ("q2", "d5", "second", "fünf", 2.0),
]


@pytest.fixture
def pairs(tmp_path, make_pairs) -> str:
    rows = make_pairs(PAIRS)
    titles = pa.array(["a title" if doc_id == "d5" else "" for doc_id in rows.column("doc_id").to_pylist()])
    rows = rows.set_column(3, rows.schema.field("title"), titles)
    return finished(Folder(tmp_path / "pairs"), "pairs", rows, GRADES)


def finished(folder: Folder, kind: str, rows: pa.Table, scale: Scale | None = None) -> str:
    writer = TableWriter(folder, kind, scale)
    writer.write(rows)
    writer.finish()
    return folder.uri


def exported(table: str, format: str, out: Folder, **config) -> dict[str, int]:
    return export(ExportConfig(table=table, format=format, **config), out, log=lambda line: None)


def read_jsonl(out: Folder, name: str) -> list[dict]:
    return [json.loads(line) for line in out.read_bytes(name).decode().splitlines()]


def test_beir_round_trip(pairs, tmp_path):
    """A BEIR folder written from pairs gives the labelled pairs again; each query and document is written once."""
    out = Folder(tmp_path / "beir")
    counts = exported(pairs, "beir", out, split="dev")
    assert counts["corpus.jsonl"] == 4
    assert counts["queries.jsonl"] == 2
    assert counts["qrels/dev.tsv"] == counts["rows"] == 5
    assert counts["unlabelled"] == 1
    scale = {"grades": [0, 1, 2, 3], "relevant_from": 2}
    prepare(PrepareConfig(dataset=out.uri, format="beir", split="dev", scale=scale), Folder(tmp_path / "again"), print)
    before = [row for row in read_whole(Folder(pairs), "pairs").to_pylist() if row["label"] is not None]
    assert read_whole(Folder(tmp_path / "again"), "pairs").to_pylist() == before


def test_groups_round_trip(pairs, tmp_path):
    """Grouped jsonl gives the same pairs with relevant documents as 1 and the others as 0."""
    out = Folder(tmp_path / "groups")
    assert exported(pairs, "groups", out)["groups.jsonl"] == 2
    prepare(PrepareConfig(dataset=out.uri, format="groups"), Folder(tmp_path / "again"), print)
    again = read_whole(Folder(tmp_path / "again"), "pairs").to_pylist()
    found = [(row["query_id"], row["doc_id"], row["title"], row["text"], row["label"]) for row in again]
    assert found == [
        ("q1", "d1", "", "one", 1),
        ("q1", "d2", "", "two", 0),
        ("q1", "d3", "", "three", 0),
        ("q2", "d1", "", "one", 0),
        ("q2", "d5", "a title", "fünf", 1),
    ]


def test_trec_qrels_as_ir_measures_reads_them(pairs, tmp_path):
    """The qrels file holds the whole grades, in the columns that a public reader expects."""
    exported(pairs, "trec-qrels", Folder(tmp_path / "out"))
    found = list(ir_measures.read_trec_qrels(str(tmp_path / "out" / "qrels.txt")))
    assert [(qrel.query_id, qrel.doc_id, qrel.relevance) for qrel in found] == [
        (query_id, doc_id, int(label)) for query_id, doc_id, _, _, label in PAIRS if label is not None
    ]


def test_trec_runs_one_file_a_system(tmp_path):
    """A rankings table gives one run a system, named by it, scores to the last digit."""
    rows = [
        ("first stage (BM25)", "q1", "d2", 1, 0.1 + 0.2),
        ("first stage (BM25)", "q1", "d1", 2, -1e-9),
        ("b", "q1", "d1", 1, 5.0),
    ]
    table = pa.Table.from_pylist([dict(zip(RANKINGS.names, row, strict=True)) for row in rows], schema=RANKINGS)
    exported(finished(Folder(tmp_path / "rankings"), "rankings", table), "trec-run", Folder(tmp_path / "out"))
    assert Folder(tmp_path / "out").names() == ["b.run", "first-stage-BM25.run"]
    text = (tmp_path / "out" / "first-stage-BM25.run").read_text()
    assert text == "q1 Q0 d2 1 0.30000000000000004 first-stage-BM25\nq1 Q0 d1 2 -1e-09 first-stage-BM25\n"
    found = list(ir_measures.read_trec_run(str(tmp_path / "out" / "first-stage-BM25.run")))
    assert [(line.query_id, line.doc_id, line.score) for line in found] == [
        ("q1", "d2", 0.1 + 0.2),
        ("q1", "d1", -1e-9),
    ]


def test_the_first_stage_of_pairs_as_a_run(tmp_path):
    """Pairs with first-stage ranks give a run; rows without a rank are counted."""
    dataset = Folder(tmp_path / "in")
    dataset.write_bytes("queries.jsonl", b'{"_id": "q", "text": "red apple"}\n')
    dataset.write_bytes("corpus.jsonl", b'{"_id": "a", "text": "green apple"}\n{"_id": "b", "text": "red apple"}\n')
    dataset.write_bytes("qrels/test.tsv", b"query-id\tcorpus-id\tscore\nq\ta\t1\nq\tb\t0\n")
    config = {"dataset": dataset.uri, "format": "beir", "first_stage": {"candidates": "judged"}}
    prepare(PrepareConfig.load(config, "test"), Folder(tmp_path / "pairs"), print)
    exported(str(tmp_path / "pairs"), "trec-run", Folder(tmp_path / "out"))
    found = (tmp_path / "out" / "first-stage.run").read_text().split()
    assert found[2::6] == ["b", "a"]
    assert found[3::6] == ["1", "2"]


def test_sentence_transformers_pairs_load_as_a_table(pairs, tmp_path):
    """Arrow's JSON reader, which `datasets` uses, finds query, passage (title and text) and score in [0, 1]."""
    exported(pairs, "sentence-transformers-pairs", Folder(tmp_path / "out"))
    rows = pa.json.read_json(str(tmp_path / "out" / "pairs.jsonl"))
    assert rows.schema.names == ["query", "passage", "score"]
    assert rows.column("score").to_pylist() == pytest.approx([1.0, 0.0, 1 / 3, 0.0, 2 / 3])
    assert rows.column("passage")[4].as_py() == "a title\nfünf"


def test_sentence_transformers_groups_have_the_same_columns_in_every_line(pairs, tmp_path):
    """One line a positive with exactly n negatives; queries that cannot fill a line are counted, not padded."""
    out = Folder(tmp_path / "out")
    counts = exported(pairs, "sentence-transformers-groups", out, negatives=2)
    line = {"query": "first", "positive": "one", "negative_1": "two", "negative_2": "three"}
    assert read_jsonl(out, "groups.jsonl") == [line]
    assert counts["queries_without_enough"] == 1
    prepare(PrepareConfig(dataset=out.uri, format="groups"), Folder(tmp_path / "again"), print)
    again = read_whole(Folder(tmp_path / "again"), "pairs").to_pylist()
    assert {(row["text"], row["label"]) for row in again} == {("one", 1), ("two", 0), ("three", 0)}


def labels_table(folder: Folder) -> str:
    degrees = [("d1", 0.9, 1.0), ("d2", 0.4, 1.0), ("d3", None, 0.0), ("d4", 0.7, 0.0)]
    fixed = {"query_id": "q", "query": "query", "title": "", "text": "text", "original_source": "x", "rule": "blend"}
    rows = [
        fixed | {"doc_id": doc_id, "label": label, "weight": weight, "action": "blended"}
        for doc_id, label, weight in degrees
    ]
    return finished(folder, "labels", pa.Table.from_pylist(rows, schema=LABELS))


def test_labels_are_put_on_the_grades_of_the_export(tmp_path):
    """Degrees become the nearest grade; rows without a label or with weight 0 stay out and are counted."""
    table = labels_table(Folder(tmp_path / "labels"))
    counts = exported(table, "trec-qrels", Folder(tmp_path / "binary"))
    assert (tmp_path / "binary" / "qrels.txt").read_text() == "q 0 d1 1\nq 0 d2 0\n"
    assert (counts["unlabelled"], counts["rounded"]) == (2, 2)
    exported(table, "trec-qrels", Folder(tmp_path / "graded"), scale={"grades": [0, 1, 2, 3], "relevant_from": 2})
    assert (tmp_path / "graded" / "qrels.txt").read_text() == "q 0 d1 3\nq 0 d2 1\n"


def test_soft_labels_stay_soft_in_sentence_transformers_pairs(tmp_path):
    """Scores of pairs files are the degrees themselves."""
    out = Folder(tmp_path / "out")
    exported(labels_table(Folder(tmp_path / "labels")), "sentence-transformers-pairs", out)
    assert [row["score"] for row in read_jsonl(out, "pairs.jsonl")] == pytest.approx([0.9, 0.4])


def test_the_nearest_grade_is_the_higher_of_two_as_near():
    """0.5 lies between 0 and 1, and counts as 1."""
    assert nearest_grade(0.5, Scale((0, 1), 1)) == 1
    assert nearest_grade(0.49, Scale((0, 1), 1)) == 0
    assert nearest_grade(0.5, Scale((1, 2, 3, 4), 3)) == 3


def test_a_format_that_cannot_hold_the_table_is_refused(tmp_path):
    """A labels table is no run; the message lists the formats that work."""
    table = labels_table(Folder(tmp_path / "labels"))
    with pytest.raises(ConfigError, match="trec-run for a table of labels; wanted one of trec-qrels, beir, groups"):
        exported(table, "trec-run", Folder(tmp_path / "out"))


def test_ids_with_blanks_are_refused_where_blanks_separate_columns(tmp_path, make_pairs):
    """TREC files cannot hold an id with a blank."""
    table = finished(
        Folder(tmp_path / "p"), "pairs", make_pairs([("q 1", "d", "query", "text", 1.0)]), Scale((0, 1), 1)
    )
    with pytest.raises(InputError, match="id 'q 1': found a blank in an id"):
        exported(table, "trec-qrels", Folder(tmp_path / "out"))
    assert not (tmp_path / "out" / "qrels.txt").exists()


def test_a_document_id_with_two_texts_is_refused_by_beir(tmp_path, make_pairs):
    """BEIR has one text a document id; the message says what to export instead."""
    rows = [("q1", "d", "one", "text", 1.0), ("q2", "d", "two", "another text", 1.0)]
    table = finished(Folder(tmp_path / "p"), "pairs", make_pairs(rows), Scale((0, 1), 1))
    with pytest.raises(InputError, match=r"'d' of the query 'q2': found another text.*Next: export groups"):
        exported(table, "beir", Folder(tmp_path / "out"))


def test_every_writer_is_an_option():
    """The formats of the command line are the registered writers."""
    assert set(ExportConfig.model_fields["format"].annotation.__args__) == set(WRITERS)


@pytest.mark.parametrize(
    ("format", "negatives", "message"),
    [
        ("trec-run", 1, r"nothing to export as trec-run \(.* unranked\); wanted rows with a rank"),
        ("sentence-transformers-groups", 90, r"queries_without_enough\); .* Next: set --negatives lower"),
    ],
)
def test_an_export_of_nothing_is_an_error(pairs, tmp_path, format, negatives, message):
    """A file without a line is no result: the counts say why, and the error what to change."""
    with pytest.raises(InputError, match=message):
        exported(pairs, format, Folder(tmp_path / "out"), negatives=negatives)
