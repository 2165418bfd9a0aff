"""Judges by a bare score: encoder, BM25 and coverage give distributions of the pair alone, in the score's order."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binom

from relabel.agreement.measure_judge import bm25_scores
from relabel.errors import ConfigError, InputError
from relabel.judges import JudgeConfig, load_judge
from relabel.judges.bare_score import binomial_logprobs, log_odds_of
from relabel.judges.bm25 import BM25, collection_of, words
from relabel.judges.identity import judge_id
from relabel.records import Scale
from relabel.scoring import score_texts
from relabel.storage import Folder
from relabel.tables import TableWriter
from tests.train.encoders import tiny_encoder
from tests.train.tables import TOPICS


@pytest.fixture
def pairs(make_pairs):
    """Queries of one to three topics against documents of one to five, and an empty document."""
    random = np.random.default_rng(0)
    rows = []
    for query in range(6):
        asked = " ".join(random.choice(TOPICS, 1 + query % 3, replace=False))
        for doc in range(5):
            text = " ".join(random.choice([*TOPICS, "number"], 1 + doc))
            rows.append((f"q{query}", f"d{query}-{doc}", asked, text, float(doc % 4)))
    return make_pairs([*rows, ("q5", "empty", "apple", " ", 0.0)])


@pytest.fixture
def collection(tmp_path, pairs) -> str:
    """The pairs that have a text as a table on disk."""
    folder = Folder(tmp_path / "pairs")
    writer = TableWriter(folder, "pairs", Scale((0, 1, 2, 3), 2), part_rows=7)
    writer.write(pairs.slice(0, 30))
    writer.finish()
    return folder.uri


@pytest.fixture
def judges(tmp_path, collection) -> dict[str, JudgeConfig]:
    """A configuration of each engine that scores."""
    return {
        "bm25": JudgeConfig(engine="bm25", collection=collection),
        "lexical": JudgeConfig(engine="lexical"),
        "length": JudgeConfig(engine="length"),
        "bi-encoder": JudgeConfig(
            engine="encoder", model=str(tiny_encoder(tmp_path / "bi", "mean_tokens")), num_gpus=0, batch_size=3
        ),
        "cross-encoder": JudgeConfig(
            engine="encoder", model=str(cross_encoder(tmp_path / "cross")), num_gpus=0, batch_size=3
        ),
    }


def cross_encoder(folder, outputs: int = 1):
    """A two-layer random BERT with a classification head."""
    from transformers import BertConfig, BertForSequenceClassification

    tiny_encoder(folder)
    config = BertConfig.from_pretrained(folder, num_labels=outputs)
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_the_declared_map_is_a_binomial_whose_expected_degree_is_the_share():
    """The distribution equals scipy's binomial, and its mean over the grades is σ of the log-odds."""
    odds = np.array([-30.0, -2.0, 0.0, 0.7, 40.0])
    share = 1 / (1 + np.exp(-odds))
    found = np.exp(binomial_logprobs(odds, 4))
    np.testing.assert_allclose(found, [binom.pmf(range(4), 3, p) for p in share], atol=1e-12)
    np.testing.assert_allclose(found @ np.arange(4) / 3, share, atol=1e-12)
    np.testing.assert_allclose(log_odds_of(share[1:4]), odds[1:4])


def test_bm25_equals_the_ranker_over_the_same_collection(collection, pairs):
    """By the statistics of the table's own documents a pair scores as in a BM25 index of these documents."""
    scorer = BM25(collection_of(collection), k1=0.9, b=0.4)
    pairs = pairs.slice(0, 30)
    rows = zip(pairs["query"].to_pylist(), pairs["text"].to_pylist(), strict=True)
    own = [scorer.raw(words([query])[0], words([text])[0]) for query, text in rows]
    np.testing.assert_allclose(own, bm25_scores(pairs), rtol=1e-5)
    assert np.std(own) > 0.1


@pytest.mark.parametrize("kind", ["bm25", "lexical", "length", "bi-encoder", "cross-encoder"])
def test_a_judgement_does_not_depend_on_the_rows_beside_it(kind, judges, pairs):
    """A pair judged alone, or in another order, gets the distribution that it gets among all."""
    judge = load_judge(judges[kind])
    whole = judge.judge(pairs, "part-00000.parquet:0")
    assert (whole.judgements.num_rows, whole.quarantined["reason"].to_pylist()) == (30, ["empty-text"])
    expected = np.array(whole.judgements["probabilities"].to_pylist())
    assert expected.std(axis=0).max() > 0.01, "a judge that says the same of everything proves nothing"
    backwards = judge.judge(pairs.take(list(range(29, -1, -1))), "x:0").judgements
    np.testing.assert_allclose(backwards["probabilities"].to_pylist(), expected[::-1], atol=1e-5)
    for row in (0, 17, 29):
        alone = judge.judge(pairs.slice(row, 1), "x:0").judgements
        np.testing.assert_allclose(alone["probabilities"].to_pylist()[0], expected[row], atol=1e-5)


def test_the_length_judge_counts_words(make_pairs):
    """A hundred words are the middle of the scale, three hundred have odds of three, signs alone count as one word."""
    table = make_pairs([("q", str(n), "apple", text, None) for n, text in enumerate(("a b " * 50, "a " * 300, "…"))])
    judged = load_judge(JudgeConfig(engine="length")).judge(table, "x:0").judgements
    np.testing.assert_allclose(judged["score"], [1.5, 2.25, 3 / 101], atol=1e-6)
    assert judged["prompt_tokens"].to_pylist() == [100, 300, 0]


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
def test_an_encoder_judges_in_the_order_of_its_similarity(kind, judges, pairs):
    """The log-odds of the expected degree are twice artanh of the cosine, or the logit itself; length is told."""
    judged = load_judge(judges[kind]).judge(pairs.slice(0, 30), "x:0").judgements
    degree = np.array(judged["score"]) / 3
    asked, texts = (pairs.slice(0, 30)[column].to_pylist() for column in ("query", "text"))
    scores = score_texts(judges[kind].model, asked, texts, dtype="float32")  # as the judge computes on every machine
    odds = np.log(degree / (1 - degree))
    if kind == "bi-encoder":
        np.testing.assert_allclose(odds, 2 * np.arctanh(scores), atol=1e-3)
    else:  # saved without an activation, it gives σ of the logit, which is the expected degree
        np.testing.assert_allclose(degree, scores, atol=1e-4)
    special = 4 if kind == "bi-encoder" else 3
    assert judged["prompt_tokens"].to_pylist()[0] == special + 2
    assert not any(judged["truncated"].to_pylist())


@pytest.mark.parametrize("kind", ["bi-encoder", "cross-encoder"])
def test_what_an_encoder_does_not_read_is_marked(kind, judges, make_pairs):
    """A document longer than its budget is cut, marked, and judged as what is left of it."""
    config = judges[kind].model_copy(update={"max_document_tokens": 8, "max_query_tokens": 8})
    long = " ".join(list(TOPICS)[:2] * 30)
    table = make_pairs([("q", "long", "apple", long, None), ("q", "longer", "apple", f"{long} number", None)])
    judged = load_judge(config).judge(table, "x:0").judgements
    assert judged["truncated"].to_pylist() == [True, True]
    assert judged["probabilities"].to_pylist()[0] == judged["probabilities"].to_pylist()[1]
    assert judged["prompt_tokens"].to_pylist()[0] == (8 + 3 if kind == "bi-encoder" else 16)


def test_the_judge_id_covers_what_decides_an_answer(judges, tmp_path, pairs):
    """Other statistics, scale, model, dtype or budget: another judge; another batch or shard size: the same."""
    fewer = Folder(tmp_path / "fewer")
    writer = TableWriter(fewer, "pairs", Scale((0, 1, 2, 3), 2))
    writer.write(pairs.slice(0, 20))
    writer.finish()
    other = str(tiny_encoder(tmp_path / "other", "max_tokens"))
    variants = [
        (judges["bm25"], "none"),
        (judges["bm25"].model_copy(update={"collection": fewer.uri}), "none"),
        (judges["bm25"].model_copy(update={"prompt": "binary"}), "none"),
        (judges["bi-encoder"], "float32"),
        (judges["bi-encoder"], "bfloat16"),
        (judges["bi-encoder"].model_copy(update={"model": other}), "float32"),
        (judges["bi-encoder"].model_copy(update={"max_document_tokens": 99}), "float32"),
        (judges["bi-encoder"].model_copy(update={"prompt": "binary"}), "float32"),
    ]
    ids = [judge_id(config, dtype) for config, dtype in variants]
    assert len(set(ids)) == len(ids)
    assert judge_id(judges["bi-encoder"].model_copy(update={"batch_size": 9, "shard_rows": 3}), "float32") == ids[3]


def test_judges_by_a_score_that_cannot_be_made_are_refused(tmp_path):
    """No collection, an empty one, a model of several outputs: each one error that says what to do."""
    with pytest.raises(ConfigError, match=r"collection: found nothing; .*add --collection"):
        load_judge(JudgeConfig(engine="bm25"))
    writer = TableWriter(Folder(tmp_path / "none"), "pairs", Scale((0, 1), 1))
    writer.finish()
    with pytest.raises(InputError, match="found no document with a word"):
        load_judge(JudgeConfig(engine="bm25", collection=str(tmp_path / "none")))
    several = cross_encoder(tmp_path / "several", outputs=4)
    assert json.loads((several / "config.json").read_text())["id2label"].keys() == set("0123")
    with pytest.raises(InputError, match=r"a cross-encoder with 4 outputs.*--engine classifier"):
        load_judge(JudgeConfig(engine="encoder", model=str(several), num_gpus=0))
