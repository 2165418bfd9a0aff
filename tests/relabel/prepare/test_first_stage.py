"""BM25 candidates and the labels made from them: scores by the formula, fixed ties, no copied answer negative."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import ir_measures
import pytest
from ir_measures import nDCG

from relabel.errors import ConfigError, InputError
from relabel.prepare import PrepareConfig, prepare
from relabel.prepare.first_stage import BM25Ranker, FirstStage, FirstStageConfig
from relabel.storage import Folder
from relabel.tables import Manifest, read_whole

DOCUMENTS = {
    "d1": "red apple pie",
    "d2": "green apple",
    "d3": "red red wine",
    "d4": "blue cheese platter",
    "d5": "Red  APPLE pie",
}


def ranker(documents: dict[str, str] = DOCUMENTS, k1: float = 0.9, b: float = 0.4) -> BM25Ranker:
    return BM25Ranker(list(documents), documents.values(), k1, b)


def stage(config: dict, documents: dict[str, str] = DOCUMENTS, relevant_from: float = 1) -> FirstStage:
    rows = ((doc_id, "", text) for doc_id, text in documents.items())
    return FirstStage(FirstStageConfig(**config), rows, relevant_from, "given")


def found(first_stage: FirstStage, query: str, judged: dict | None = None) -> list[tuple]:
    ids = list(DOCUMENTS)
    judged = {ids.index(doc_id): (label, None) for doc_id, label in (judged or {}).items()}
    return [(ids[row.document], row.label, row.source) for row in first_stage.candidates(query, judged)]


def test_scores_follow_the_formula():
    """Lucene's BM25: ln(1 + (N − n + ½)/(n + ½)) · tf/(tf + k1·(1 − b + b·length/mean length)), summed over words."""
    k1, b = 1.2, 0.75
    lengths = {doc_id: len(text.split()) for doc_id, text in DOCUMENTS.items()}
    mean = sum(lengths.values()) / len(lengths)

    def score(words: list[str], doc_id: str) -> float:
        total = 0.0
        for word in words:
            in_documents = sum(word in text.lower().split() for text in DOCUMENTS.values())
            tf = DOCUMENTS[doc_id].lower().split().count(word)
            idf = math.log(1 + (len(DOCUMENTS) - in_documents + 0.5) / (in_documents + 0.5))
            total += idf * tf / (tf + k1 * (1 - b + b * lengths[doc_id] / mean))
        return total

    scores = ranker(k1=k1, b=b).scores("Red apple, the!")
    assert scores.tolist() == pytest.approx([score(["red", "apple"], doc_id) for doc_id in DOCUMENTS], rel=1e-5)


def test_ties_are_broken_by_document_id():
    """Equal scores come in ascending order of ids, whatever the order of the collection, also at the cut."""
    texts = {name: "same words" for name in ("b", "d", "a", "c")}
    index = ranker(texts)
    scores = index.scores("words")
    assert [list(texts)[hit.document] for hit in index.top(scores, 3)] == ["a", "b", "c"]
    assert [hit.rank for hit in index.top(scores, 3)] == [1, 2, 3]
    assert index.rank_of(scores, list(texts).index("d")).rank == 4


def test_only_documents_that_share_a_word_are_hits():
    """A document with score 0 is no hit; a query of unknown words has none, and that is counted."""
    first_stage = stage({"labels": "top-hits", "depth": 5})
    assert {row[0] for row in found(first_stage, "apple wine")} == {"d1", "d2", "d3", "d5"}
    assert found(first_stage, "zebra") == []
    assert found(first_stage, "the of") == []
    assert first_stage.counts["queries_without_hits"] == 2


def test_known_answers_are_positive_other_hits_negative_copies_left_out():
    """The given positive is 1, other hits 0; a hit of the same text (blanks and case aside) is left out, counted."""
    first_stage = stage({"labels": "known-answer", "depth": 3})
    rows = found(first_stage, "red apple", {"d1": 1.0})
    assert rows == [("d1", 1.0, "known-answer"), ("d3", 0.0, "known-answer"), ("d2", 0.0, "known-answer")]
    assert first_stage.counts["copies_of_known_answers"] == 1


def test_a_known_answer_is_a_candidate_wherever_it_ranks():
    """A positive that BM25 misses is added with its true rank, after the hits; judged negatives are no positives."""
    first_stage = stage({"labels": "known-answer", "depth": 1})
    candidates = first_stage.candidates("green apple", {3: (1.0, None), 1: (0.0, None)})
    assert [(row.document, row.label, row.rank) for row in candidates] == [(1, 0.0, 1), (3, 1.0, 5)]
    assert candidates[1].score == 0.0


def test_random_documents_are_easy_negatives():
    """Beside the hits come documents drawn for the query, label 0; never an answer, a copy of one, or a hit again."""
    first_stage = stage({"labels": "known-answer", "depth": 1, "random": 9})
    rows = found(first_stage, "red apple", {"d1": 1.0})
    assert rows[0] == ("d1", 1.0, "known-answer")
    assert sorted(rows[1:]) == [(name, 0.0, "known-answer") for name in ("d2", "d3", "d4")]
    few = stage({"labels": "top-hits", "depth": 1, "random": 2})
    assert found(few, "red apple") == found(few, "red apple")
    assert [label for _, label, _ in found(few, "red apple")] == [1.0, 0.0, 0.0]
    drawn = {name for number in range(40) for name, *_ in found(few, f"cheese {number}")[1:]}
    assert drawn == {"d1", "d2", "d3", "d5"}


def test_random_documents_need_made_labels():
    """Where the dataset's own labels are kept, a random document would have none: refused with what goes together."""
    with pytest.raises(
        ConfigError, match="random documents with candidates: corpus and labels: known-answer or top-hits"
    ):
        FirstStageConfig.load({"random": 3}, "first_stage")


def test_several_known_answers_are_all_positive():
    """A query with two relevant documents gets both, above and below the depth."""
    rows = found(stage({"labels": "known-answer", "depth": 2}), "red wine", {"d3": 1.0, "d4": 1.0})
    assert sorted(row[0] for row in rows if row[1] == 1.0) == ["d3", "d4"]


def test_the_first_hits_can_be_the_positives():
    """With `top-hits` the first `positives` hits are 1 and the others 0."""
    rows = found(stage({"labels": "top-hits", "positives": 2, "depth": 3}), "red apple")
    assert [row[1:] for row in rows] == [(1.0, "top-hits"), (1.0, "top-hits"), (0.0, "top-hits")]


def test_labels_of_the_dataset_are_kept():
    """With `keep` judged hits have their label, the others none, or stay out; labels not retrieved are counted."""
    judged = {"d1": 2.0, "d4": 1.0}
    first_stage = stage({"labels": "keep", "depth": 2})
    assert found(first_stage, "red apple", judged) == [("d1", 2.0, "given"), ("d5", None, "unlabelled")]
    assert first_stage.counts["labels_not_retrieved"] == 1
    first_stage = stage({"labels": "keep", "depth": 2, "unjudged": "drop"})
    assert found(first_stage, "red apple", judged) == [("d1", 2.0, "given")]
    assert first_stage.counts["unjudged_dropped"] == 1


def test_candidates_without_labels():
    """With `none` even judged candidates leave without a label."""
    assert found(stage({"labels": "none", "depth": 1}), "red apple", {"d1": 1.0}) == [("d1", None, "unlabelled")]


def test_the_judged_pool_in_the_order_of_bm25():
    """With `candidates: judged` every judged document is ranked among the judged, those without a shared word last."""
    first_stage = stage({"candidates": "judged"})
    candidates = first_stage.candidates("wine", {0: (0.0, "human"), 2: (3.0, "human"), 3: (1.0, None)})
    assert [(row.document, row.rank, row.label) for row in candidates] == [(2, 1, 3.0), (0, 2, 0.0), (3, 3, 1.0)]
    assert [row.source for row in candidates] == ["human", "human", "given"]


def test_a_collection_without_words_is_refused():
    """Documents of single letters give nothing to index."""
    with pytest.raises(InputError, match="first_stage: found no document with a word to index"):
        ranker({"a": "x", "b": "y"})


def test_a_depth_of_nothing_is_refused():
    """At least one hit a query is wanted."""
    with pytest.raises(
        ConfigError, match=r"recipe.yaml: first_stage.depth: found 0; wanted greater than or equal to 1"
    ):
        PrepareConfig.load({"dataset": "x", "format": "beir", "first_stage": {"depth": 0}}, "recipe.yaml")


def quietly(out: Path, **config) -> Manifest:
    return prepare(PrepareConfig.load(config, "test"), Folder(out), log=lambda line: None)


def ndcg(out: Path) -> float:
    """nDCG@10, linear gain, of the first-stage order; queries without a relevant document count as 0."""
    rows = read_whole(Folder(out), "pairs").to_pylist()
    qrels = [ir_measures.Qrel(row["query_id"], row["doc_id"], int(row["label"])) for row in rows]
    run = [ir_measures.ScoredDoc(row["query_id"], row["doc_id"], -row["first_stage_rank"]) for row in rows]
    return ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]


GRADED = {"grades": [0, 1, 2, 3], "relevant_from": 2}


@pytest.mark.data
def test_the_judged_pool_of_liveqa(shared_data, tmp_path):
    """BM25 over LiveQA-Med's judged answers: about .65 with the raw question and .74 with its summary, well above."""
    measured = {}
    for field in ("text", "summary"):
        quietly(
            tmp_path / field,
            dataset=str(shared_data / "medquad_liveqa"),
            format="beir",
            scale=GRADED,
            query_field=field,
            first_stage={"candidates": "judged"},
        )
        measured[field] = ndcg(tmp_path / field)
    assert measured["text"] == pytest.approx(0.65, abs=0.02)
    assert measured["summary"] == pytest.approx(0.74, abs=0.02)


@pytest.mark.data
@pytest.mark.parametrize(("year", "published"), [("dl19", 0.5058), ("dl20", 0.4796)])
def test_the_published_bm25_lists_measure_as_published(shared_data, tmp_path, year, published):
    """The TREC DL lists come through `pairs` in their order and give the documented nDCG@10: the metric is the same."""
    folder = shared_data / f"trec_{year}"
    rows = (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]
    qrels = [ir_measures.Qrel(q, d, int(grade)) for q, d, grade in (row.split("\t") for row in rows)]
    with open(folder / "candidates_bm25_top100.jsonl") as lists, gzip.open(tmp_path / "pairs.jsonl.gz", "wt") as out:
        for line in lists:
            ranking = json.loads(line)
            for hit in ranking["hits"]:
                pair = {
                    "query_id": ranking["qid"],
                    "query": ranking["query"],
                    "doc_id": hit["docid"],
                    "text": hit["text"],
                }
                rank = {"first_stage_rank": hit["rank"], "first_stage_score": hit["score"]}
                out.write(json.dumps(pair | rank) + "\n")
    quietly(tmp_path / "out", dataset=str(tmp_path / "pairs.jsonl.gz"), format="pairs")
    pairs = read_whole(Folder(tmp_path / "out"), "pairs").to_pylist()
    run = [ir_measures.ScoredDoc(row["query_id"], row["doc_id"], -row["first_stage_rank"]) for row in pairs]
    assert ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10] == pytest.approx(published, abs=5e-5)


@pytest.mark.data
def test_semi_automatic_labels_of_medquad(shared_data, tmp_path):
    """Every chosen question has its known answer among the candidates, and no copy of it as a negative."""
    manifest = quietly(
        tmp_path,
        dataset=str(shared_data / "medquad_liveqa" / "medquad_full.jsonl.gz"),
        format="medquad",
        max_queries=300,
        first_stage={"labels": "known-answer", "depth": 10},
    )
    answers: dict[str, set] = {}
    rows = read_whole(Folder(tmp_path), "pairs").to_pylist()
    for row in rows:
        if row["label"] == 1:
            answers.setdefault(row["query_id"], set()).add(row["text"])
    assert manifest.about["queries"] == len(answers) == 300
    assert manifest.about["label_source"] == "known-answer"
    assert not [row for row in rows if row["label"] == 0 and row["text"] in answers[row["query_id"]]]
    assert manifest.about["funnel"]["first_stage"]["copies_of_known_answers"] > 0
