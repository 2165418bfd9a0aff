"""Evaluate: systems on one pool, corrected tests, guards in plain words, and refusal of circular evidence."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from relabel.errors import CircularEvidence, ConfigError, InputError
from relabel.evidence.comparison import System, compare, pairs_to_test
from relabel.evidence.evaluate import FIRST_STAGE, EvaluateConfig, evaluate, first_stage_scores
from relabel.evidence.metrics import Pool, rank_pool
from relabel.evidence.overlap import document_overlap, overlap_notes
from relabel.lineage import query_fingerprint, write_queries_seen
from relabel.records import PAIRS, Scale
from relabel.storage import Folder
from relabel.tables import TableWriter, read_whole

SCALE = Scale((0, 1, 2, 3), relevant_from=2)
NDCG = "nDCG@10 (linear gain)"


def simulated_pool(queries: int = 40, depth: int = 12, seed: int = 0) -> tuple[Pool, np.ndarray]:
    """A judged pool and its grades."""
    grades = np.random.default_rng(seed).choice(4, size=queries * depth, p=[0.5, 0.2, 0.2, 0.1]).astype(float)
    query = np.repeat(np.arange(queries), depth)
    docs = [f"d{row}" for row in range(len(grades))]
    return Pool([f"q{i}" for i in range(queries)], query, docs, grades, np.ones(len(grades), bool), SCALE), grades


def compared(noise: dict[str, float], queries: int = 40, rules: dict[str, str] | None = None) -> dict:
    """Metrics of systems whose scores are the grades with noise; BM25 and the encoder are known by name."""
    pool, grades = simulated_pool(queries)
    random = np.random.default_rng(1)
    kinds = {FIRST_STAGE: "first stage", "zero-shot encoder": "zero-shot"}
    ranked = []
    for name, scale in noise.items():
        system = System(name, kinds.get(name, "re-ranker"), (rules or {}).get(name))
        scores = np.zeros(len(grades)) if scale is None else grades + random.normal(scale=scale, size=len(grades))
        ranked.append((system, rank_pool(pool, scores, "linear")))
    return compare(pool, ranked, "linear", resamples=300, permutations=2000)


def test_pairs_that_are_tested():
    """Re-rankers against each baseline, the encoder against the first stage, adjusted against original labels."""
    systems = [System("bm25", "first stage"), System("zero", "zero-shot"), System("keep", "re-ranker", "keep"),
               System("blend", "re-ranker", "blend")]  # fmt: skip
    assert pairs_to_test(systems) == [
        ("zero", "bm25"),
        ("keep", "bm25"),
        ("keep", "zero"),
        ("blend", "bm25"),
        ("blend", "zero"),
        ("blend", "keep"),
    ]


def test_a_re_ranker_worse_than_its_start_is_named_with_significance():
    """A clear loss is called significant, with values, interval and corrected p-value."""
    found = compared({FIRST_STAGE: 2.0, "zero-shot encoder": 0.8, "tuned": 2.5})
    warning = next(line for line in found["warnings"] if "the zero-shot encoder" in line)
    assert warning.startswith(
        "Re-ranker tuned is significantly worse than the zero-shot encoder: nDCG@10 (linear gain) "
    )
    assert ", difference −0." in warning
    test = next(test for test in found["tests"] if test["reference"] == "zero-shot encoder")
    assert test["significant"]
    assert test["p_holm"] < 0.05
    assert test["difference"]["high"] < 0


def test_a_small_loss_is_named_as_not_significant():
    """A loss within chance is still named, and called not significant."""
    found = compared({"zero-shot encoder": 1.0, "tuned": 1.05})
    test = next(test for test in found["tests"] if test["measure"] == NDCG)
    assert test["difference"]["value"] < 0
    assert not test["significant"]
    assert any(
        line.startswith("Re-ranker tuned is worse than, but not significantly different from, the zero-shot encoder: ")
        for line in found["warnings"]
    )


def test_what_relabelling_brought_is_a_finding():
    """Adjusted against original labels is put into a sentence; better systems raise no guard."""
    rules = {"original": "keep", "blended": "blend"}
    found = compared({FIRST_STAGE: 3.0, "original": 1.5, "blended": 0.5}, rules=rules)
    assert len(found["findings"]) == 1
    assert found["findings"][0].startswith(
        "Re-ranker blended is significantly better than re-ranker original on the original labels: "
    )
    assert not [line for line in found["warnings"] if "worse" in line]


def test_a_re_ranker_that_learned_nothing_is_not_praised():
    """Better than a harmful training by doing nothing is said to be that, in the finding and as a warning."""
    pool, grades = simulated_pool()
    noise = np.random.default_rng(1).normal(size=len(grades))
    systems = [
        (System("zero-shot encoder", "zero-shot"), grades + noise),
        (System("keep", "re-ranker", "keep"), grades + 4 * noise),
        (System("still", "re-ranker", "drop-uncertain"), grades + noise),
    ]
    ranked = [(system, rank_pool(pool, scores, "linear")) for system, scores in systems]
    found = compare(pool, ranked, "linear", resamples=300, permutations=2000)
    (finding,) = found["findings"]
    assert finding.startswith("Re-ranker still is significantly better than re-ranker keep")
    assert finding.endswith(" It is the zero-shot encoder unchanged.")
    assert [
        line for line in found["warnings"] if line.startswith("Re-ranker still orders every test query as the zero")
    ]
    assert not any(line.startswith("Re-ranker keep orders") for line in found["warnings"])


def test_without_original_labels_there_is_no_finding_but_a_statement():
    """Where nothing was compared, that is said instead of silence."""
    found = compared({FIRST_STAGE: 3.0})
    assert found["findings"] == ["No re-ranker on adjusted labels was compared with one on the original labels."]
    assert found["tests"] == []


def test_corrected_p_values_are_never_smaller_and_cover_all_tests_of_a_measure():
    """Holm's correction runs over all pairs of one measure."""
    found = compared({FIRST_STAGE: 2.0, "zero-shot encoder": 1.0, "keep": 1.0, "blend": 0.9}, rules={"keep": "keep"})
    tests = [test for test in found["tests"] if test["measure"] == NDCG]
    assert len(tests) == 6
    assert all(test["tests_corrected_for"] == 6 and test["p_holm"] >= test["p"] for test in tests)
    assert min(test["p_holm"] for test in tests) == pytest.approx(min(1, 6 * min(test["p"] for test in tests)))


def test_constant_scores_and_ties_are_warned_about():
    """A system that scores everything equal is exposed and far from perfect."""
    found = compared({FIRST_STAGE: 1.0, "constant": None})
    assert (
        "constant gives all documents of 40 of 40 queries the same score: it does not rank them. "
        "Their values are those of a random order."
    ) in found["warnings"]
    assert found["values"]["constant"][NDCG]["value"] < found["values"][FIRST_STAGE][NDCG]["value"]


def test_few_queries_and_queries_without_relevant_documents_are_warned_about():
    """The reader learns that differences of few queries mean little."""
    warnings = compared({FIRST_STAGE: 1.0}, queries=8)["warnings"]
    assert "8 test queries are few: only large differences can be told from chance." in warnings


def test_per_query_values_average_to_the_reported_mean():
    """The per-query lists, the means and their intervals belong together."""
    found = compared({FIRST_STAGE: 1.0, "tuned": 0.5})
    for system, measures in found["values"].items():
        for measure, entry in measures.items():
            column = found["per_query"]["values"][system][measure]
            assert len(column) == len(found["per_query"]["query_ids"]) == found["queries"]
            assert np.mean(column) == pytest.approx(entry["value"], abs=1e-6)
            assert entry["low"] <= entry["value"] <= entry["high"]


def test_queries_without_relevant_documents_are_counted():
    """Queries that no system can win are counted, those without any gain apart, and kept as zeros."""
    grades = np.array([3.0, 0, 1, 0, 0, 0])
    docs = [f"d{row}" for row in range(6)]
    pool = Pool(list("abc"), np.repeat(np.arange(3), 2), docs, grades, np.ones(6, bool), SCALE)
    found = compare(pool, [(System(FIRST_STAGE, "first stage"), rank_pool(pool, grades, "linear"))], "linear", 100, 100)
    assert (found["queries_without_relevant"], found["queries_without_gain"]) == (2, 1)
    assert found["values"][FIRST_STAGE][NDCG]["value"] == pytest.approx(2 / 3)
    assert found["values"][FIRST_STAGE]["AP"]["value"] == pytest.approx(1 / 3)
    assert any(
        line.startswith("2 of 3 test queries have no relevant document, 1 of them") for line in found["warnings"]
    )


def test_metrics_are_plain_json_without_nan():
    """Everything that is written can be read by any JSON parser."""
    json.dumps(compared({FIRST_STAGE: 1.0, "constant": None}), allow_nan=False)


def write_test_table(folder: Folder, source: str = "human", ranks: bool = True, scale: Scale | None = SCALE) -> None:
    """Three queries with four documents each; BM25 ranks the best document second."""
    rows = [
        {"query_id": f"q{q}", "doc_id": f"d{d}", "query": f"How to fix number {q}?", "title": "", "text": f"text {d}",
         "label": [0.0, 3.0, 1.0, None][d], "label_source": source if d < 3 else "unlabelled",
         "query_frequency": None, "first_stage_rank": d + 1 if ranks and d < 3 else None,
         "first_stage_score": 9.0 - d if ranks and d < 3 else None}
        for q in range(3) for d in range(4)
    ]  # fmt: skip
    writer = TableWriter(folder, "pairs", scale)
    writer.write(pa.Table.from_pylist(rows, PAIRS))
    writer.finish()


def config(folder: Folder, **fields) -> EvaluateConfig:
    return EvaluateConfig(test=folder.uri, resamples=200, permutations=200, **fields)


def test_the_first_stage_alone(tmp_path):
    """Rankings, metrics and their hand-computed values lie in the folder."""
    test, out, lines = Folder(tmp_path / "test"), Folder(tmp_path / "out"), []
    write_test_table(test)
    found = evaluate(config(test), out, lines.append)
    assert found["values"][FIRST_STAGE]["RR@10"]["value"] == 0.5
    assert found["values"][FIRST_STAGE]["Judged@10"]["value"] == 0.75
    assert found["values"][FIRST_STAGE][NDCG]["value"] == pytest.approx((3 / 1.5849625 + 1 / 2) / (3 + 1 / 1.5849625))
    assert (found["queries"], found["pairs"], found["pairs_judged"]) == (3, 12, 9)
    assert found["per_query"]["queries"] == ["How to fix number 0?", "How to fix number 1?", "How to fix number 2?"]
    assert out.read_json("metrics.json") == found
    rankings = read_whole(out, "rankings")
    assert rankings.num_rows == 12
    assert rankings["doc_id"].to_pylist()[:4] == ["d0", "d1", "d2", "d3"]
    assert rankings["rank"].to_pylist()[:4] == [1, 2, 3, 4]
    assert "evaluate: 3 queries, 12 candidates, 9 judged pairs" in lines


def test_only_candidates_are_ranked_on_request(tmp_path):
    """With --pool candidates, rows without a first-stage rank are not ranked."""
    test = Folder(tmp_path / "test")
    write_test_table(test)
    found = evaluate(config(test, pool="candidates"), Folder(tmp_path / "out"), lambda line: None)
    assert found["pairs"] == 9
    assert found["values"][FIRST_STAGE]["Judged@10"]["value"] == 1.0


ANSWERS = {
    "how do I split a path into folder and file name": "Split a file path into its directory part and its file name.",
    "wait for some seconds": "Suspend execution of the calling thread for the given number of seconds.",
    "read a table with commas": "Return a reader object that will process lines of a comma-separated file.",
}


@pytest.mark.integration
def test_the_real_encoder_as_zero_shot_and_as_re_ranker(tmp_path):
    """The 22 M encoder finds the right answers; the same weights as a re-ranker folder give the same values; read to 8
    tokens the zero-shot encoder scores otherwise, the re-ranker does not."""
    from relabel.models import local_model

    rows = [
        {"query_id": f"q{q}", "doc_id": f"d{d}", "query": query, "title": "", "text": text, "label": 3.0 * (q == d),
         "label_source": "human", "query_frequency": None, "first_stage_rank": 3 - d, "first_stage_score": d / 2}
        for q, query in enumerate(ANSWERS) for d, text in enumerate(ANSWERS.values())
    ]  # fmt: skip
    writer = TableWriter(Folder(tmp_path / "test"), "pairs", SCALE)
    writer.write(pa.Table.from_pylist(rows, PAIRS))
    writer.finish()
    model = Folder(tmp_path / "rerankers" / "keep")
    shutil.copytree(local_model("all-minilm-l6-v2"), tmp_path / "rerankers" / "keep" / "model")
    write_queries_seen(model, [query_fingerprint("another question")])
    model.write_json("training.json", {"labels": {"rule": {"rule": "keep"}}, "loss": "listnet"})
    fields = {"models": [model.uri], "zero_shot": "all-minilm-l6-v2"}
    found = evaluate(config(Folder(tmp_path / "test"), **fields), Folder(tmp_path / "out"), lambda line: None)
    assert found["values"]["zero-shot encoder"]["RR@10"]["value"] == 1.0
    assert found["values"]["keep"] == found["values"]["zero-shot encoder"]
    assert found["values"][FIRST_STAGE]["RR@10"]["value"] == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    described = {system["name"]: system for system in found["systems"]}
    assert (described["keep"]["rule"], described["keep"]["loss"]) == ("keep", "listnet")
    rankings = read_whole(Folder(tmp_path / "out"), "rankings")
    assert set(rankings["system"].to_pylist()) == {FIRST_STAGE, "zero-shot encoder", "keep"}
    short = config(Folder(tmp_path / "test"), **fields, zero_shot_max_length=8)
    evaluate(short, Folder(tmp_path / "short"), lambda line: None)
    cut = read_whole(Folder(tmp_path / "short"), "rankings")
    assert _scores_of(cut, "keep") == _scores_of(rankings, "keep")
    assert _scores_of(cut, "zero-shot encoder") != _scores_of(rankings, "zero-shot encoder")
    _several_trainings_are_one_system(tmp_path, model)


def _several_trainings_are_one_system(tmp_path, keep: Folder) -> None:
    """`keep~2` is another training of `keep`: each query's value is the mean of both, and each has its own ranking."""
    other = Folder(tmp_path / "rerankers" / "keep~2")
    shutil.copytree(tmp_path / "rerankers" / "keep", tmp_path / "rerankers" / "keep~2")
    settings = other.read_json("model/sentence_bert_config.json")
    other.write_json("model/sentence_bert_config.json", settings | {"max_seq_length": 4})  # reads two words of a text

    def values(name: str, models: list[Folder]) -> dict:
        options = config(Folder(tmp_path / "test"), models=[one.uri for one in models])
        return evaluate(options, Folder(tmp_path / name), lambda line: None)

    shutil.copytree(tmp_path / "rerankers" / "keep~2", tmp_path / "alone" / "short")
    one, two = values("one", [keep]), values("two", [Folder(tmp_path / "alone" / "short")])
    both = values("both", [keep, other])
    assert [system["name"] for system in both["systems"]] == [FIRST_STAGE, "keep"]
    columns = [one["per_query"]["values"]["keep"][NDCG], two["per_query"]["values"]["short"][NDCG]]
    assert columns[0] != columns[1]
    np.testing.assert_allclose(both["per_query"]["values"]["keep"][NDCG], np.mean(columns, axis=0), atol=1e-6)
    reached = [found["values"][name][NDCG]["value"] for found, name in ((one, "keep"), (two, "short"))]
    assert both["systems"][1]["trainings"] == pytest.approx(reached)
    assert any("keep: means over 2 trainings with different seeds" in line for line in both["warnings"])
    assert {"keep", "keep~2"} < set(read_whole(Folder(tmp_path / "both"), "rankings")["system"].to_pylist())
    with pytest.raises(ConfigError, match=r"'keep~2' without 'keep'"):
        values("lost", [other])


def _scores_of(rankings: pa.Table, system: str) -> dict:
    rows = [row for row in rankings.to_pylist() if row["system"] == system]
    return {(row["query_id"], row["doc_id"]): row["score"] for row in rows}


def test_labels_of_a_judge_are_refused(tmp_path):
    """Evidence on a judge's labels is refused by name, count and way out."""
    write_test_table(Folder(tmp_path / "test"), source="judge:abc123")
    with pytest.raises(CircularEvidence) as error:
        evaluate(config(Folder(tmp_path / "test")), Folder(tmp_path / "out"))
    assert "found 9 labels made by a judge (judge:abc123); wanted labels given by people." in str(error.value)
    assert error.value.exit_code == 5
    assert not (tmp_path / "out").exists()


def test_labels_of_written_queries_are_refused(tmp_path):
    """A model wrote the query and an encoder chose the documents: no evidence about encoders."""
    write_test_table(Folder(tmp_path / "test"), source="generated")
    with pytest.raises(CircularEvidence, match=r"labels of queries that a model wrote \(generated\)"):
        evaluate(config(Folder(tmp_path / "test")), Folder(tmp_path / "out"))


def test_queries_seen_by_a_re_ranker_are_refused(tmp_path):
    """Two seen queries, written otherwise in training, are counted and named; nothing is scored."""
    test, model = Folder(tmp_path / "test"), Folder(tmp_path / "model")
    write_test_table(test)
    write_queries_seen(model, map(query_fingerprint, ["how to  fix NUMBER 0?", "How to fix number 2?", "other"]))
    with pytest.raises(CircularEvidence) as error:
        evaluate(config(test, models=[model.uri]), Folder(tmp_path / "out"))
    assert (
        f"found 2 of 3 test queries that {model.uri} has seen in training "
        f"('How to fix number 0?', 'How to fix number 2?'); wanted queries that no model has seen."
    ) in str(error.value)


def test_queries_seen_by_the_judge_are_refused(tmp_path):
    """The judge behind the labels counts, whether given or found through a re-ranker's record."""
    test, judge, model = (Folder(tmp_path / name) for name in ("test", "judge", "model"))
    write_test_table(test)
    write_queries_seen(judge, [query_fingerprint("How to fix number 1?")])
    with pytest.raises(CircularEvidence, match=r"1 of 3 test queries .*judge has seen in training"):
        evaluate(config(test, judge_folder=judge.uri), Folder(tmp_path / "out"))
    write_queries_seen(model, [query_fingerprint("other")])
    model.write_json("training.json", {"labels": {"rule": {"rule": "blend"}, "judge_folder": judge.uri}})
    with pytest.raises(CircularEvidence, match=r"1 of 3 test queries .*judge has seen in training"):
        evaluate(config(test, models=[model.uri]), Folder(tmp_path / "out"))


def test_seen_queries_can_be_allowed_and_are_then_reported(tmp_path):
    """With --allow-seen-queries the run goes on and the first warning says that the evidence is circular."""
    test, judge = Folder(tmp_path / "test"), Folder(tmp_path / "judge")
    write_test_table(test)
    write_queries_seen(judge, [query_fingerprint("How to fix number 1?")])
    fields = {"judge_folder": judge.uri, "allow_seen_queries": True}
    found = evaluate(config(test, **fields), Folder(tmp_path / "out"), lambda line: None)
    assert found["warnings"][0].startswith("Circular evidence, allowed by request: 1 of 3 test queries")
    assert found["lineage"]["checked"] == [{"folder": judge.uri, "queries_seen": 1, "overlap": 1}]


def test_a_model_without_lineage_is_warned_about(tmp_path):
    """A folder without a list of seen queries cannot be cleared, and that is said."""
    test, judge = Folder(tmp_path / "test"), Folder(tmp_path / "old-judge")
    write_test_table(test)
    found = evaluate(config(test, judge_folder=judge.uri), Folder(tmp_path / "out"), lambda line: None)
    assert found["warnings"][0] == (
        "old-judge carries no list of the queries that it was trained on: that it has not seen the test queries "
        "could not be checked."
    )


def test_labels_that_are_not_from_people_are_named(tmp_path):
    """Semi-automatic labels are no evidence of people's judgement, and that is the reader's first information."""
    write_test_table(Folder(tmp_path / "test"), source="known-answer")
    found = evaluate(config(Folder(tmp_path / "test")), Folder(tmp_path / "out"), lambda line: None)
    assert found["warnings"][0] == (
        "9 of 9 test labels come from 'known-answer', which does not mean people: the evidence is "
        "worth as much as that source."
    )


def test_shared_documents_are_counted(tmp_path):
    """Test documents that were trained on with other queries are counted by text; a table that is gone is unknown."""
    write_test_table(Folder(tmp_path / "test"))
    pairs = read_whole(Folder(tmp_path / "test"), "pairs")
    training = pairs.filter(pc.is_in(pairs["doc_id"], pa.array(["d0", "d3"])))
    writer = TableWriter(Folder(tmp_path / "training"), "pairs", SCALE)
    writer.write(training)
    writer.finish()
    found = document_overlap(pairs, [f"{tmp_path}/training", f"{tmp_path}/gone"])
    assert [(entry["test_documents"], entry["shared"]) for entry in found] == [(4, 2), (4, None)]
    assert overlap_notes(found) == ["2 of 4 test documents were also in training, with other queries."]


def test_unusable_requests_are_refused(tmp_path):
    """No system, two systems of one name, no scale and no first stage are each one clear error."""
    test = Folder(tmp_path / "test")
    write_test_table(test, ranks=False)
    with pytest.raises(ConfigError, match=r"evaluate: found no system; .* Next: add --models DIR"):
        evaluate(config(test, first_stage=False), Folder(tmp_path / "out"))
    with pytest.raises(ConfigError, match="two systems called 'a'"):
        evaluate(config(test, models=[f"{tmp_path}/x/a", f"{tmp_path}/y/a"]), Folder(tmp_path / "out"))
    with pytest.raises(InputError, match=r"found no first-stage ranks; .*\(--no-first-stage\)"):
        evaluate(config(test), Folder(tmp_path / "out"), lambda line: None)
    write_test_table(test, scale=None)
    with pytest.raises(InputError, match="a table without a label scale"):
        evaluate(config(test), Folder(tmp_path / "out"))


def test_first_stage_scores_keep_its_order_and_put_missing_rows_last(tmp_path):
    """Rows that the first stage did not find share the last place; without scores the ranks decide."""
    write_test_table(Folder(tmp_path))
    pairs = read_whole(Folder(tmp_path), "pairs").slice(0, 4)
    assert first_stage_scores(pairs, "test").tolist() == [9.0, 8.0, 7.0, 6.0]
    place = pairs.schema.get_field_index("first_stage_score")
    ranks_only = pairs.set_column(place, PAIRS.field(place), pa.nulls(4, pa.float32()))
    assert first_stage_scores(ranks_only, "test").tolist() == [-1.0, -2.0, -3.0, -4.0]
