"""prepare as a whole: the contract of the pairs table, the funnel, choices of queries, order, bounded memory."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relabel.errors import ConfigError, InputError
from relabel.formats import READERS, pair_order, pairs_parquet
from relabel.formats.collection import Collection
from relabel.formats.faults import Faults
from relabel.formats.records import Document
from relabel.prepare import PrepareConfig, prepare
from relabel.records import PAIRS, Scale
from relabel.storage import Folder
from relabel.tables import Manifest, read_manifest, read_whole


def quietly(out: Path, **config) -> Manifest:
    return prepare(PrepareConfig.load(config, "test"), Folder(out), log=lambda line: None)


def rows_of(out: Path) -> list[dict]:
    return read_whole(Folder(out), "pairs").to_pylist()


def many_rows(queries: int = 40, documents: int = 7) -> list[dict]:
    return [
        {
            "query_id": f"q{q}",
            "doc_id": f"d{d}",
            "query": f"question {q}",
            "text": f"text {q} {d}",
            "label": float(d == q % 7),
        }
        for q in range(queries)
        for d in range(documents)
    ]


def parquet(path: Path, rows: list[dict]) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def beir(folder: Path, rows: list[dict]) -> str:
    out = Folder(folder)
    queries = {row["query_id"]: row["query"] for row in rows}
    out.write_bytes("queries.jsonl", "".join(f'{{"_id": "{i}", "text": "{t}"}}\n' for i, t in queries.items()).encode())
    corpus = "".join(f'{{"_id": "{r["query_id"]}{r["doc_id"]}", "text": "{r["text"]}"}}\n' for r in rows)
    out.write_bytes("corpus.jsonl", corpus.encode())
    qrels = "".join(f"{r['query_id']}\t{r['query_id']}{r['doc_id']}\t{r['label']:g}\n" for r in rows)
    out.write_bytes("qrels/test.tsv", f"query-id\tcorpus-id\tscore\n{qrels}".encode())
    return out.uri


def test_the_table_keeps_its_contract(tmp_path):
    """The schema is the declared one, queries lie together, no key comes twice, and plain pyarrow opens it."""
    rows = many_rows()
    random.Random(1).shuffle(rows)
    manifest = quietly(tmp_path / "out", dataset=parquet(tmp_path / "p.parquet", rows), format="pairs")
    table = pq.read_table([tmp_path / "out" / part for part in manifest.parts])
    assert table.schema.equals(PAIRS)
    keys = list(zip(table.column("query_id").to_pylist(), table.column("doc_id").to_pylist(), strict=True))
    assert len(set(keys)) == len(keys) == len(rows) == manifest.rows
    changes = sum(a[0] != b[0] for a, b in itertools.pairwise(keys))
    assert changes == len({query_id for query_id, _ in keys}) - 1


def test_the_manifest_tells_what_happened(tmp_path):
    """`about` has the configuration, the label source, queries, labels by value and the funnel; counts add up."""
    rows = many_rows(3)
    dataset = beir(tmp_path / "in", rows)
    with open(tmp_path / "in" / "qrels" / "test.tsv", "a") as qrels:
        qrels.write("q0\tnowhere\t1\nq1\tq1d1\t7\n")
    manifest = quietly(tmp_path / "out", dataset=dataset, format="beir", label_source="clicks", on_bad="quarantine")
    about = manifest.about
    assert (manifest.rows_in, manifest.rows, manifest.quarantined) == (23, 21, 2)
    assert about["funnel"]["queries"] == {"read": 3, "kept": 3}
    assert about["funnel"]["documents"] == {"read": 21, "kept": 21}
    assert about["funnel"]["labels"] == {"read": 23, "kept": 21}
    assert about["funnel"]["quarantined"] == {"missing-document": 1, "out-of-scale": 1}
    assert (about["label_source"], about["label_sources"]) == ("clicks", {"clicks": 21})
    assert (about["labels"], about["queries"]) == ({"0": 18, "1": 3}, 3)
    assert PrepareConfig.load(about["config"], "table.json").label_source == "clicks"
    assert read_manifest(Folder(tmp_path / "out"), "pairs") == manifest


def test_rows_that_do_not_lie_together_are_sorted_on_disk(tmp_path, monkeypatch):
    """Shuffled rows give the table of the same rows in query order: queries by first appearance, then document id."""
    monkeypatch.setattr(pair_order, "_BUCKET_ROWS", 20)
    monkeypatch.setattr(pairs_parquet, "BATCH_ROWS", 16)
    rows = many_rows()
    random.Random(2).shuffle(rows)
    first = {}
    for row in rows:
        first.setdefault(row["query_id"], len(first))
    told = []
    config = PrepareConfig(dataset=parquet(tmp_path / "p.parquet", rows), format="pairs")
    prepare(config, Folder(tmp_path / "out"), told.append)
    assert any("sorting 280 rows on disk" in line for line in told)
    wanted = sorted(rows, key=lambda row: (first[row["query_id"]], row["doc_id"]))
    assert [{name: row[name] for name in wanted[0]} for row in rows_of(tmp_path / "out")] == wanted


def test_queries_across_batches_stay_whole(tmp_path, monkeypatch):
    """A query whose rows lie in several read batches is checked as one: the duplicate at its far end is found."""
    monkeypatch.setattr(pairs_parquet, "BATCH_ROWS", 3)
    rows = many_rows(4)
    rows.insert(13, rows[7])
    dataset = parquet(tmp_path / "p.parquet", rows)
    with pytest.raises(InputError, match=r"p.parquet:14: found the pair \('q1', 'd0'\) again .* as in p.parquet:8"):
        quietly(tmp_path / "out", dataset=dataset, format="pairs")
    manifest = quietly(tmp_path / "out", dataset=dataset, format="pairs", on_bad="quarantine")
    assert (manifest.rows_in, manifest.rows) == (29, 28)


def test_first_stage_ranks_order_the_rows_of_a_query(tmp_path):
    """Pairs that bring ranks are ordered by them; rows without a rank come last, by document id."""
    ranks = [None, 2, 1, None]
    rows = [row | {"first_stage_rank": rank} for row, rank in zip(many_rows(1, 4), ranks, strict=True)]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "p.parquet")
    quietly(tmp_path / "out", dataset=str(tmp_path / "p.parquet"), format="pairs")
    assert [row["doc_id"] for row in rows_of(tmp_path / "out")] == ["d2", "d1", "d0", "d3"]


@pytest.mark.parametrize("format", ["pairs", "beir"])
def test_folds_split_the_queries(tmp_path, format):
    """Each query falls in exactly one fold, whatever the format; what is left out is counted."""
    rows = many_rows()
    dataset = beir(tmp_path / "in", rows) if format == "beir" else parquet(tmp_path / "p.parquet", rows)
    taken = []
    for fold in range(3):
        quietly(tmp_path / "out", dataset=dataset, format=format, query_folds={"count": 3, "keep": [fold]})
        taken.append({row["query"] for row in rows_of(tmp_path / "out")})
    assert sum(map(len, taken)) == len(set.union(*taken)) == 40
    assert min(map(len, taken)) >= 5
    manifest = quietly(tmp_path / "out", dataset=dataset, format=format, query_folds={"count": 3, "keep": [0, 2]})
    assert {row["query"] for row in rows_of(tmp_path / "out")} == taken[0] | taken[2]
    left = manifest.about["funnel"]["left_out"]
    assert left.pop("pairs_over_max_pairs_per_query") == 0
    assert left in (
        {"labels_of_other_queries": 7 * len(taken[1])},
        {"queries_without_label": 0, "queries_of_other_folds": len(taken[1]), "queries_over_max_queries": 0},
    )


def test_folds_go_by_text_not_by_id(tmp_path):
    """The same question under another id, case and spacing falls in the same fold, so sets can be split alike."""
    rows = many_rows()
    same = [row | {"query_id": f"x-{row['query_id']}", "query": f"  {row['query'].upper()} "} for row in rows]
    found = []
    for name, table in (("a", rows), ("b", same)):
        dataset = parquet(tmp_path / f"{name}.parquet", table)
        quietly(tmp_path / name, dataset=dataset, format="pairs", query_folds={"count": 2, "keep": [1]})
        found.append({row["query"].strip().lower() for row in rows_of(tmp_path / name)})
    assert found[0] == found[1] != set()


@pytest.mark.parametrize("format", ["pairs", "beir"])
def test_queries_can_be_limited_by_a_seeded_choice(tmp_path, format):
    """`max_queries` takes that many whole queries, the same for the same seed, others for another."""
    rows = many_rows()
    dataset = beir(tmp_path / "in", rows) if format == "beir" else parquet(tmp_path / "p.parquet", rows)
    taken = []
    for seed in (1, 1, 2):
        manifest = quietly(tmp_path / "out", dataset=dataset, format=format, max_queries=10, seed=seed)
        taken.append({row["query_id"] for row in rows_of(tmp_path / "out")})
        assert (manifest.rows, manifest.about["queries"]) == (70, 10)
    assert taken[0] == taken[1] != taken[2]


def test_formats_agree_on_a_sample_of_pairs(tmp_path):
    """`max_pairs_per_query` takes that many pairs of every query, the same ones whether pairs stream or are joined and
    for the same seed, and the funnel counts the others; a query with fewer keeps them all."""
    rows = [row for number, row in enumerate(many_rows()) if number]
    named = [row | {"doc_id": f"{row['query_id']}{row['doc_id']}"} for row in rows]  # as `beir` names documents
    taken = {}
    for format, seed in (("pairs", 1), ("beir", 1), ("beir", 2)):
        dataset = beir(tmp_path / "in", rows) if format == "beir" else parquet(tmp_path / "p.parquet", named)
        manifest = quietly(tmp_path / "out", dataset=dataset, format=format, max_pairs_per_query=3, seed=seed)
        taken[format, seed] = {(row["query_id"], row["doc_id"]) for row in rows_of(tmp_path / "out")}
        assert manifest.rows == 120
        assert manifest.about["funnel"]["left_out"]["pairs_over_max_pairs_per_query"] == 159
    assert taken["pairs", 1] == taken["beir", 1] != taken["beir", 2]
    manifest = quietly(tmp_path / "out", dataset=dataset, format="beir", max_pairs_per_query=7)
    assert (manifest.rows, manifest.about["funnel"]["left_out"]["pairs_over_max_pairs_per_query"]) == (279, 0)


def test_a_sample_of_pairs_is_refused_beside_a_first_stage():
    """Two keys would limit the pairs of a query."""
    with pytest.raises(ConfigError, match=r"either 'first_stage'.*or 'max_pairs_per_query'"):
        PrepareConfig.load({"dataset": "x", "format": "beir", "first_stage": {}, "max_pairs_per_query": 3}, "a test")


def test_formats_agree_on_the_choice_of_queries(tmp_path):
    """The same queries are chosen whether pairs stream or a collection is joined."""
    rows = many_rows()
    quietly(tmp_path / "a", dataset=parquet(tmp_path / "p.parquet", rows), format="pairs", max_queries=9)
    quietly(tmp_path / "b", dataset=beir(tmp_path / "in", rows), format="beir", max_queries=9)
    assert {row["query_id"] for row in rows_of(tmp_path / "a")} == {row["query_id"] for row in rows_of(tmp_path / "b")}


def test_pairs_with_a_first_stage_are_one_collection(tmp_path):
    """A first stage over pairs ranks all their documents for each query and keeps the labels they had."""
    rows = [
        row | {"doc_id": f"{row['query_id']}-{row['doc_id']}", "query": f"which text {row['query_id']}"}
        for row in many_rows(5)
    ]
    stage = {"labels": "keep", "depth": 50}
    manifest = quietly(
        tmp_path / "out", dataset=parquet(tmp_path / "p.parquet", rows), format="pairs", first_stage=stage
    )
    found = rows_of(tmp_path / "out")
    assert manifest.about["label_sources"] == {"given": 35, "unlabelled": 140}
    assert all(row["first_stage_rank"] is not None for row in found)
    assert {(row["query_id"], row["doc_id"], row["label"]) for row in found if row["label"] is not None} == {
        (row["query_id"], row["doc_id"], row["label"]) for row in rows
    }


def test_made_labels_are_on_their_own_scale(tmp_path):
    """Labels that the first stage makes are 0 and 1, relevant from 1, though the dataset's grades go to 3."""
    rows = [row | {"query": f"which text {row['query_id']}", "label": 3.0} for row in many_rows(4)]
    scale = {"grades": [0, 1, 2, 3], "relevant_from": 2}
    for labels, grades in (("known-answer", (0, 1)), ("top-hits", (0, 1)), ("keep", (0, 1, 2, 3))):
        stage = {"labels": labels, "depth": 50}
        dataset = beir(tmp_path / "in", rows)
        manifest = quietly(tmp_path / "out", dataset=dataset, format="beir", scale=scale, first_stage=stage)
        assert manifest.scale.grades == grades
        assert max(row["label"] or 0 for row in rows_of(tmp_path / "out")) == grades[-1]


def test_a_full_disk_says_what_to_do():
    """Where the temporary file cannot grow, the error names its place and TMPDIR."""
    documents = (Document("corpus.jsonl:1", f"d{at}", "", "some text " * 100) for at in range(1000))

    def fill() -> None:
        with Collection(Faults(lambda rows: None, raises=True), Scale((0, 1), 1), 10_000, False) as collection:
            collection._sql.execute("PRAGMA max_page_count = 50")
            list(collection.load(documents))

    with pytest.raises(InputError, match=r"found database or disk is full; .*Next: set TMPDIR to a larger disk"):
        fill()


@pytest.mark.parametrize("format", ["pairs", "beir"])
def test_the_highest_of_two_grades_can_be_kept(tmp_path, format):
    """`repeated: highest` keeps one row a pair, quarantines the others by choice, also where bad rows are errors."""
    rows = many_rows(2, 3)
    if format == "pairs":
        dataset = parquet(tmp_path / "p.parquet", [*rows, rows[5] | {"label": 1.0}])
    else:
        dataset = beir(tmp_path / "in", rows)
        with open(tmp_path / "in" / "qrels" / "test.tsv", "a") as qrels:
            qrels.write("q1\tq1d2\t1\n")
    manifest = quietly(tmp_path / "out", dataset=dataset, format=format, repeated="highest")
    assert rows_of(tmp_path / "out")[-1]["label"] == 1.0
    assert (manifest.rows, manifest.quarantined) == (6, 1)
    assert manifest.about["funnel"]["quarantined"] == {"repeated-judgement": 1}


def test_an_error_leaves_the_old_table_and_a_rerun_replaces_it(tmp_path):
    """A table is complete or absent: one that cannot be replaced stays; preparing again removes its quarantine, too."""
    rows = many_rows(3)
    bad = [*rows, rows[0]]
    quietly(tmp_path / "out", dataset=parquet(tmp_path / "a.parquet", bad), format="pairs", on_bad="quarantine")
    assert (tmp_path / "out" / "quarantine").exists()
    with pytest.raises(InputError):
        quietly(tmp_path / "out", dataset=str(tmp_path / "a.parquet"), format="pairs")
    assert read_manifest(Folder(tmp_path / "out"), "pairs").rows == len(rows_of(tmp_path / "out")) == len(rows)
    with pytest.raises(InputError):
        quietly(tmp_path / "none", dataset=str(tmp_path / "a.parquet"), format="pairs")
    assert not Folder(tmp_path / "none").exists("table.json")
    manifest = quietly(tmp_path / "out", dataset=parquet(tmp_path / "b.parquet", rows), format="pairs")
    assert manifest.quarantined == 0
    assert Folder(tmp_path / "out").names(recursive=True) == ["part-00000.parquet", "table.json"]


def test_a_dataset_is_never_overwritten(tmp_path):
    """Preparing a folder into itself is refused and touches nothing; other programs' parts stay beside a table."""
    parquet(tmp_path / "part-00000.parquet", many_rows(2))
    before = (tmp_path / "part-00000.parquet").read_bytes()
    with pytest.raises(ConfigError, match=r"another folder than the dataset's, which would be overwritten"):
        quietly(tmp_path, dataset=str(tmp_path), format="pairs")
    with pytest.raises(ConfigError, match=r"would be overwritten"):
        quietly(tmp_path, dataset=str(tmp_path / "part-00000.parquet"), format="pairs")
    assert (tmp_path / "part-00000.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("format_", "row", "message"),
    [
        ("pairs", {"query_id": "q", "doc_id": "d", "query": "a", "text": "b", "lable": 1}, "'lable'; wanted 'label'"),
        ("groups", {"query": "a", "postives": ["x"], "negatives": ["z"]}, "'postives'; wanted 'positives'"),
    ],
)
def test_a_misspelt_column_of_a_line_is_not_left_out_silently(tmp_path, format_, row, message):
    """A slip of a column's name would lose all its labels: it is a fault of the row; other columns are named."""
    (tmp_path / "in.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=message):
        quietly(tmp_path / "out", dataset=str(tmp_path / "in.jsonl"), format=format_)
    if format_ == "pairs":
        (tmp_path / "in.jsonl").write_text(json.dumps({**row, "lable": None, "source_file": "x"} | {"label": 1}))
        lines: list[str] = []
        config = PrepareConfig(dataset=str(tmp_path / "in.jsonl"), format="pairs")
        prepare(config, Folder(tmp_path / "out"), lines.append)
        assert any("left out: lable, source_file" in line for line in lines)


def test_a_table_without_pairs_is_pointed_out(tmp_path):
    """Where everything went to quarantine the last line says so."""
    (tmp_path / "in.jsonl").write_text("no json\n")
    lines: list[str] = []
    config = PrepareConfig(dataset=str(tmp_path / "in.jsonl"), format="pairs", on_bad="quarantine")
    prepare(config, Folder(tmp_path / "out"), lines.append)
    assert any("WARNING" in line and "gave no pair at all" in line for line in lines)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    """Preparing twice writes identical parts."""
    dataset = beir(tmp_path / "in", many_rows(10))
    config = {"dataset": dataset, "format": "beir", "first_stage": {"labels": "known-answer", "depth": 5}}
    for name in ("a", "b"):
        quietly(tmp_path / name, **config)
    assert (tmp_path / "a" / "part-00000.parquet").read_bytes() == (tmp_path / "b" / "part-00000.parquet").read_bytes()


def test_an_unknown_key_is_refused_with_the_nearest():
    """A misspelt option is named with the right one."""
    with pytest.raises(ConfigError, match=r"unknown key 'max_querys'.*write 'max_queries'"):
        PrepareConfig.load({"dataset": "x", "format": "beir", "max_querys": 5}, "recipe.yaml")


def test_every_reader_is_an_option():
    """The formats of the command line are the registered readers."""
    assert set(PrepareConfig.model_fields["format"].annotation.__args__) == set(READERS)


_PEAK = """
import resource, sys
from relabel.prepare import PrepareConfig, prepare
from relabel.storage import Folder
config = PrepareConfig(dataset=sys.argv[1], format=sys.argv[2])
prepare(config, Folder(sys.argv[3]), log=lambda line: None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_mib(dataset: str, format: str, out: Path) -> int:
    command = [sys.executable, "-c", _PEAK, dataset, format, str(out)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Eight times the rows of shuffled Parquet (150 MB of text in all) cost less than 100 MiB more at the peak."""
    peaks = []
    for rows in (25_000, 200_000):
        order = list(range(rows))
        random.Random(3).shuffle(order)
        path = tmp_path / f"{rows}.parquet"
        with pq.ParquetWriter(
            path, pa.schema([(n, pa.string()) for n in ("query_id", "doc_id", "query", "text")])
        ) as out:
            for start in range(0, rows, 10_000):
                part = order[start : start + 10_000]
                columns = {
                    "query_id": [f"q{at // 20}" for at in part],
                    "doc_id": [f"d{at}" for at in part],
                    "query": [f"question {at // 20}" for at in part],
                    "text": [f"{at} " * 110 for at in part],
                }
                out.write_table(pa.table(columns))
        peaks.append(peak_mib(str(path), "pairs", tmp_path / f"out-{rows}"))
    assert peaks[1] - peaks[0] < 100, peaks
