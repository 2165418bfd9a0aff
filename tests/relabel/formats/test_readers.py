"""Each format gives the pairs that its files say, plain and gzip, from folders and single files, local and on S3."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel.prepare import PrepareConfig, prepare
from relabel.records import PAIRS, Scale
from relabel.storage import Folder
from relabel.tables import TableWriter, read_whole


def lines(*rows) -> bytes:
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows).encode()


def write(folder: Folder, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        folder.write_bytes(name, data)
    return folder.uri


def prepared(dataset: str, format: str, out: Path | str, **config) -> list[dict]:
    out = Folder(out)
    prepare(PrepareConfig(dataset=dataset, format=format, **config), out, log=lambda line: None)
    return read_whole(out, "pairs").to_pylist()


def judged(rows: list[dict]) -> list[tuple]:
    return [(row["query_id"], row["doc_id"], row["label"]) for row in rows]


BEIR = {
    "queries.jsonl": lines(
        {"_id": "q2", "text": "second", "summary": "short second"},
        {"_id": 1, "text": "first", "summary": "short first"},
    ),
    "corpus.jsonl": lines(
        {"_id": "d1", "title": "a title", "text": "one"},
        {"_id": "d2", "text": "two"},
        {"_id": "d3", "title": "only a title"},
    ),
    "qrels/test.tsv": lines("query-id\tcorpus-id\tscore", "1\td2\t0", "1\td1\t1.0", "q2\td3\t0.5"),
}


def test_beir_joins_texts_and_labels_in_the_order_of_the_queries(tmp_path):
    """Rows come in the order of queries.jsonl, then by document id; scores may be decimal, ids numbers."""
    rows = prepared(write(Folder(tmp_path / "in"), BEIR), "beir", tmp_path / "out", label_source="clicks")
    assert judged(rows) == [("q2", "d3", 0.5), ("1", "d1", 1.0), ("1", "d2", 0.0)]
    assert rows[1] == {
        "query_id": "1",
        "doc_id": "d1",
        "query": "first",
        "title": "a title",
        "text": "one",
        "label": 1.0,
        "label_source": "clicks",
        "query_frequency": None,
        "first_stage_rank": None,
        "first_stage_score": None,
    }


def test_beir_reads_gzip_byte_order_marks_and_windows_line_ends(tmp_path):
    """Compressed files, a byte order mark and carriage returns change nothing."""
    files = {f"{name}.gz": gzip.compress(data) for name, data in BEIR.items()}
    files |= {"queries.jsonl": b"\xef\xbb\xbf" + BEIR["queries.jsonl"].replace(b"\n", b"\r\n") + b"\n"}
    del files["queries.jsonl.gz"]
    plain = prepared(write(Folder(tmp_path / "a"), BEIR), "beir", tmp_path / "out-a")
    assert prepared(write(Folder(tmp_path / "b"), files), "beir", tmp_path / "out-b") == plain


def test_another_text_of_the_queries_can_be_taken(tmp_path):
    """`query_field` names the text of a query."""
    rows = prepared(write(Folder(tmp_path / "in"), BEIR), "beir", tmp_path / "out", query_field="summary")
    assert [row["query"] for row in rows] == ["short second", "short first", "short first"]


def test_trec_qrels_with_tab_separated_texts(tmp_path):
    """Four columns of qrels, documents with and without titles, and qrels of a split."""
    files = {
        "queries.tsv": lines("7\twhat is it"),
        "collection.tsv.gz": gzip.compress(lines("d1\tone", "d2\ta title\ttwo")),
        "qrels.dev.txt": lines("7 0 d1 3", "7 Q0  d2\t0"),
    }
    rows = prepared(write(Folder(tmp_path / "in"), files), "trec", tmp_path / "out", split="dev")
    assert judged(rows) == [("7", "d1", 3.0), ("7", "d2", 0.0)]
    assert [row["title"] for row in rows] == ["", "a title"]


PAIRS_COLUMNS = {
    "query_id": pa.array([7, 7, 8]),
    "doc_id": pa.array(["b", "a", "a"]).dictionary_encode(),
    "query": pa.array(["seven", "seven", "eight"], pa.large_string()),
    "text": pa.array([b"one", b"two", b"two"], pa.binary()),
    "label": pa.array([1, None, 0], pa.int8()),
    "label_source": pa.array(["clicks", "clicks", ""]),
    "query_frequency": pa.array([3, 3, None], pa.int32()),
    "shoe_size": pa.array([1, 2, 3]),
}


def test_pairs_from_parquet_of_many_types(tmp_path):
    """Whole-number ids, dictionaries, large strings, binary texts and narrow numbers become the columns of pairs."""
    pq.write_table(pa.table(PAIRS_COLUMNS), tmp_path / "p.parquet")
    told = []
    config = PrepareConfig(dataset=str(tmp_path / "p.parquet"), format="pairs")
    manifest = prepare(config, Folder(tmp_path / "out"), told.append)
    rows = read_whole(Folder(tmp_path / "out"), "pairs").to_pylist()
    assert judged(rows) == [("7", "a", None), ("7", "b", 1.0), ("8", "a", 0.0)]
    assert [row["label_source"] for row in rows] == ["unlabelled", "clicks", "given"]
    assert [row["query_frequency"] for row in rows] == [3, 3, None]
    assert [row["title"] for row in rows] == ["", "", ""]
    assert manifest.about["label_source"] == "mixed"
    assert any("left out: shoe_size" in line for line in told)


def test_pairs_from_jsonl_equal_those_from_parquet(tmp_path):
    """The same rows as jsonl, gzip, in a folder of two files, give the same table."""
    rows = [
        {"query_id": 7, "doc_id": "b", "query": "seven", "text": "one", "label": 1, "label_source": "clicks"},
        {"query_id": 7, "doc_id": "a", "query": "seven", "text": "two", "label_source": "clicks"},
        {"query_id": 8, "doc_id": "a", "query": "eight", "text": "two", "label": 0.0},
    ]
    rows[0]["query_frequency"] = rows[1]["query_frequency"] = 3
    write(Folder(tmp_path / "in"), {"a.jsonl.gz": gzip.compress(lines(*rows[:2])), "b.jsonl": lines(rows[2])})
    pq.write_table(pa.table(PAIRS_COLUMNS), tmp_path / "p.parquet")
    from_parquet = prepared(str(tmp_path / "p.parquet"), "pairs", tmp_path / "out-a")
    assert prepared(str(tmp_path / "in"), "pairs", tmp_path / "out-b") == from_parquet


def test_a_pairs_table_of_ours_keeps_its_scale(tmp_path, make_pairs):
    """A table that `prepare` wrote can be prepared again: same rows, the scale of its table.json."""
    table = make_pairs([("q", "a", "query", "one", 3.0), ("q", "b", "query", "two", 1.0)], source="human")
    writer = TableWriter(Folder(tmp_path / "in"), "pairs", Scale((0, 1, 2, 3), 2))
    writer.write(table)
    writer.finish()
    config = PrepareConfig(dataset=str(tmp_path / "in"), format="pairs")
    manifest = prepare(config, Folder(tmp_path / "out"), log=lambda line: None)
    assert manifest.scale == Scale((0, 1, 2, 3), 2)
    assert read_whole(Folder(tmp_path / "out"), "pairs").equals(table.cast(PAIRS))


def test_groups_under_all_their_names(tmp_path):
    """positives/pos/positive, negatives/neg/negative_1, texts and objects; equal texts share an id over the file."""
    data = lines(
        {"query": "one", "positives": ["yes"], "negatives": ["no", {"doc_id": "d7", "title": "t", "text": "never"}]},
        {"query_id": "q2", "query": "two", "pos": "yes", "neg": ["no"]},
        {"query": "one", "positive": "perhaps", "negative_1": "nay", "negative_2": "nope"},
    )
    rows = prepared(write(Folder(tmp_path / "in"), {"g.jsonl": data}) + "/g.jsonl", "groups", tmp_path / "out")
    found = {(row["query"], row["text"]): row["label"] for row in rows}
    assert found == {
        ("one", "yes"): 1,
        ("one", "no"): 0,
        ("one", "never"): 0,
        ("one", "perhaps"): 1,
        ("one", "nay"): 0,
        ("one", "nope"): 0,
        ("two", "yes"): 1,
        ("two", "no"): 0,
    }
    assert [row["query"] for row in rows] == ["one"] * 6 + ["two"] * 2
    assert len({row["doc_id"] for row in rows}) == 6
    assert ("d7", "t") in {(row["doc_id"], row["title"]) for row in rows}


XML = """<?xml version="1.0" encoding="UTF-8"?>
<Document id="0000001" source="NIH" url="u"><Focus>Gout</Focus><QAPairs>
<QAPair pid="1"><Question qid="0000001-1">What is (are) Gout ?</Question><Answer>A painful
      joint &amp; more.</Answer></QAPair>
<QAPair pid="3"><Question qid="0000001-3">Who gets Gout ?</Question><Answer>Many.</Answer></QAPair>
</QAPairs></Document>"""


def test_medquad_xml_gives_known_answers(tmp_path):
    """A question is a query, its answer a document titled by the topic; equal questions are one query."""
    second = XML.replace("0000001", "0000002").replace("Many.", "Kings.")
    files = {"5_NIH_QA/0000001.xml": XML.encode(), "5_NIH_QA/0000002.xml": second.encode(), "readme.txt": b"x"}
    rows = prepared(write(Folder(tmp_path / "in"), files), "medquad", tmp_path / "out")
    assert [(row["query"], row["doc_id"], row["title"], row["text"], row["label"]) for row in rows] == [
        ("What is (are) Gout ?", "NIH_0000001-1", "Gout", "A painful joint & more.", 1.0),
        ("What is (are) Gout ?", "NIH_0000002-1", "Gout", "A painful joint & more.", 1.0),
        ("Who gets Gout ?", "NIH_0000001-3", "Gout", "Many.", 1.0),
        ("Who gets Gout ?", "NIH_0000002-3", "Gout", "Kings.", 1.0),
    ]


LIVEQA = {
    "TREC-Questions-w-summaries.Test-Questions.xml": b"""<LiveQA2017-Medical-Test-Set-Full>
<NLM-QUESTION qid="TQ1"><Original-Question><SUBJECT>gout</SUBJECT><MESSAGE>gout what
 is it</MESSAGE></Original-Question><NLM-Summary>What is gout?</NLM-Summary></NLM-QUESTION>
<NLM-QUESTION qid="TQ2"><Original-Question><SUBJECT>flu</SUBJECT><MESSAGE>who gets it</MESSAGE></Original-Question>
<NLM-Summary>Who gets flu?</NLM-Summary></NLM-QUESTION></LiveQA2017-Medical-Test-Set-Full>""",
    "All-Answers.csv": b'AnswerID,Answer\nA_1.txt,"Question: What is gout?\nURL: u\nAnswer: A  joint.) \n"\n'
    b'A_1.txt,"Question: What is gout?\nURL: u\nAnswer: A  joint.) \n"\n'
    b'A_2.txt,"Question: q\nURL: u\nAnswer: Many (most).)"\n',
    "All-qrels.txt": b"1 4-Excellent A_1.txt\n1 2-Related A_2.txt\n2 1-Incorrect A_2.txt\n2 3-Incomplete A_2.txt\n",
}


def test_liveqa_as_published(tmp_path):
    """Grades become 0 to 3, a subject that the message repeats comes once, the highest of two grades can be kept."""
    dataset = write(Folder(tmp_path / "in"), LIVEQA)
    rows = prepared(dataset, "liveqa", tmp_path / "out", repeated="highest", label_source="human")
    assert [(row["query"], row["doc_id"], row["text"], row["label"]) for row in rows] == [
        ("gout what is it", "A_1", "A joint.", 3.0),
        ("gout what is it", "A_2", "Many (most).", 1.0),
        ("flu who gets it", "A_2", "Many (most).", 2.0),
    ]
    aside = pq.read_table(tmp_path / "out" / "quarantine").to_pylist()
    assert [(row["source"], row["reason"]) for row in aside] == [("All-qrels.txt:3", "repeated-judgement")]
    short = prepared(dataset, "liveqa", tmp_path / "out", repeated="highest", query_field="summary")
    assert [row["query"] for row in short] == ["What is gout?", "What is gout?", "Who gets flu?"]


@pytest.mark.integration
def test_a_dataset_on_s3_gives_the_same_table(s3, tmp_path):
    """Formats are read from S3, folders and single files alike, and the table written there equals the local one."""
    local = prepared(write(Folder(tmp_path / "in"), BEIR), "beir", tmp_path / "out")
    assert prepared(write(Folder(s3) / "beir", BEIR), "beir", f"{s3}/out") == local
    pq.write_table(pa.table(PAIRS_COLUMNS), tmp_path / "p.parquet")
    (Folder(s3) / "pairs").write_bytes("p.parquet", (tmp_path / "p.parquet").read_bytes())
    local = prepared(str(tmp_path / "p.parquet"), "pairs", tmp_path / "out-pairs")
    assert prepared(f"{s3}/pairs/p.parquet", "pairs", f"{s3}/out-pairs") == local


@pytest.mark.data
def test_medquad_as_published(shared_data, tmp_path):
    """The five collections of XML give every one of their 3,519 answers, none empty, under unique ids."""
    rows = prepared(str(shared_data / "medquad_xml"), "medquad", tmp_path / "out")
    assert len(rows) == len({row["doc_id"] for row in rows}) == 3519
    assert len({row["query_id"] for row in rows}) == 2549


@pytest.mark.data
def test_the_medquad_dump(shared_data, tmp_path):
    """The dump gives its 16,407 pairs, and the answers that the XML has too have the same text."""
    dump = prepared(str(shared_data / "medquad_liveqa" / "medquad_full.jsonl.gz"), "medquad", tmp_path / "a")
    xml = prepared(str(shared_data / "medquad_xml" / "5_NIDDK_QA"), "medquad", tmp_path / "b")
    texts = {row["doc_id"]: row["text"] for row in dump}
    assert len(dump) == 16_407
    assert all(texts[row["doc_id"]] == row["text"] for row in xml)


@pytest.mark.data
def test_liveqa_raw_equals_its_beir_layout(shared_data, tmp_path):
    """The published files and the BEIR folder made of them by others hold the same 2,311 graded pairs and texts."""
    raw = prepared(str(shared_data / "medquad_liveqa" / "raw"), "liveqa", tmp_path / "a", repeated="highest")
    scale = {"grades": [0, 1, 2, 3], "relevant_from": 2}
    beir = prepared(str(shared_data / "medquad_liveqa"), "beir", tmp_path / "b", scale=scale)

    def content(rows):
        return {(row["query_id"], row["doc_id"]): (row["label"], row["title"]) for row in rows}

    assert content(raw) == content(beir)
    other = [(a, b) for a, b in zip(raw, beir, strict=True) if (a["text"], a["query"]) != (b["text"], b["query"])]
    assert len(raw) == 2311
    # One answer of the BEIR layout still has the closing bracket that ends every published answer.
    assert {a["doc_id"] for a, b in other} == {"ADAM_0004364_Sec1"}
    assert all(f"{a['text']})" == b["text"] for a, b in other)
