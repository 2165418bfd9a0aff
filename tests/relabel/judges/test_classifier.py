"""Sequence classifiers as judges: their softmax is the judgement, grades come in the scale's order or are refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from transformers import GPT2Config, LlamaConfig, RobertaConfig

from jobs.judge import resolve
from relabel.errors import ConfigError, InputError
from relabel.judges import JudgeConfig, load_judge
from relabel.judges.classifier import ClassifierJudge, PairEncoder, _limit
from relabel.judges.classifier_runners import _second_segment
from relabel.models import load_tokenizer
from relabel.prompts import prompt_named
from tests.relabel.classifiers import tiny_classifier
from tests.train.encoders import tiny_encoder

#: Outputs named by grades, in the scale's order and against it.
GRADES = {"up": ("0", "1", "2", "3"), "down": ("3", "2", "1", "0")}


@pytest.fixture
def pairs(make_pairs):
    """Documents of different lengths, one empty, one longer than any budget."""
    texts = ["river stone", "cloud", "apple river apple stone engine paper", " ", "window garden " * 60]
    return make_pairs([("q", str(row), "apple river", text, None) for row, text in enumerate(texts)])


def config_of(folder: Path, **options) -> JudgeConfig:
    options = {"runner": "transformers"} | options
    return JudgeConfig(engine="classifier", model=str(folder), num_gpus=0, batch_size=2, dtype="float32", **options)


@pytest.mark.parametrize("family", ["bert", "qwen2"])
def test_the_judgement_is_the_softmax_of_the_model(family, tmp_path, pairs):
    """Batched and padded, each pair has the distribution that transformers gives it alone; the long one is marked."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tiny_classifier(family, tmp_path)
    found = load_judge(config_of(folder, max_document_tokens=80, max_query_tokens=16)).judge(pairs, "x:0")
    assert found.quarantined["reason"].to_pylist() == ["empty-text"]
    assert found.judgements["truncated"].to_pylist() == [False, False, False, True]
    limit = 64 if family == "bert" else 96  # this BERT has 64 positions
    assert found.judgements["prompt_tokens"].to_pylist()[-1] == limit
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    expected = []
    for text in pairs.take([0, 1, 2, 4])["text"].to_pylist():
        both = ("apple river", text) if family == "bert" else (f"Query: apple river\n\nDocument: {text}",)
        inputs = tokenizer(*both, truncation=True, max_length=limit, return_tensors="pt")
        expected.append(torch.softmax(model(**inputs).logits[0], -1).tolist())
    np.testing.assert_allclose(found.judgements["probabilities"].to_pylist(), expected, atol=1e-5)
    assert np.std(expected, axis=0).max() > 0.001


def test_outputs_named_by_grades_are_put_in_the_scales_order(tmp_path, pairs):
    """A model whose outputs are called 3, 2, 1, 0 gives its first output to grade 3."""
    up, down = (tiny_classifier("bert", tmp_path / name, labels) for name, labels in GRADES.items())
    forward, turned = (load_judge(config_of(folder)).judge(pairs, "x:0").judgements for folder in (up, down))
    expected = np.array(forward["probabilities"].to_pylist())[:, ::-1]
    np.testing.assert_allclose(turned["probabilities"].to_pylist(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "prompt", "message"),
    [
        (["LABEL_0", "LABEL_1"], "graded-0-3", r"outputs \['LABEL_0', 'LABEL_1'\].*grades \['0', '1', '2', '3'\]"),
        (["0", "1", "2", "3"], "graded-1-4", r"outputs \['0', '1', '2', '3'\].*grades \['1', '2', '3', '4'\]"),
        (["LABEL_0"], "graded-0-3", r"found one output.*--engine encoder"),
    ],
)
def test_outputs_that_are_not_the_scale_are_refused(labels, prompt, message, tmp_path):
    """The driver refuses them before anything is loaded, naming the outputs and the grades."""
    config = config_of(tiny_classifier("bert", tmp_path, labels), prompt=prompt)
    with pytest.raises(InputError, match=message):
        resolve(config)


def test_a_model_without_a_head_is_refused(tmp_path):
    """A bare encoder is no classifier; the id of one that is follows its weights."""
    with pytest.raises(InputError, match=r"found a BertModel; wanted a sequence classifier"):
        resolve(config_of(tiny_encoder(tmp_path / "bare")))
    one, two = (tiny_classifier("bert", tmp_path / name, labels) for name, labels in GRADES.items())
    assert json.loads((two / "config.json").read_text())["id2label"]["0"] == "3"
    assert resolve(config_of(one))[1] != resolve(config_of(two))[1]


class Refusing:
    """A scorer that refuses the inputs at some places, as vLLM's may."""

    def __init__(self, *places: int):
        self.places = places

    def logits(self, inputs: list[dict[str, list[int]]]) -> np.ndarray:
        rows = [np.full(4, np.nan) if row in self.places else np.arange(4.0) + row for row in range(len(inputs))]
        return np.array(rows, np.float32)


@pytest.mark.parametrize("refused", [(), (1,), (0, 1, 2, 3)])
def test_refused_pairs_go_to_quarantine(refused, tmp_path, pairs):
    """Some, all or none of the four pairs that can be judged: rows in = judged + quarantined, each with its reason."""
    scale, tokenizer = prompt_named("graded-0-3").scale, load_tokenizer(tiny_classifier("bert", tmp_path))
    judge = ClassifierJudge("c", scale, [3, 2, 1, 0], PairEncoder(tokenizer, 32), Refusing(*refused))
    found = judge.judge(pairs, "x:0")
    assert found.judgements.num_rows == 4 - len(refused)
    assert sorted(found.quarantined["reason"].to_pylist()) == ["empty-text", *["engine-refused"] * len(refused)]
    assert set(found.judgements["grade"].to_pylist()) <= {0}, "outputs are put in the scale's order"


def test_nothing_to_judge_is_no_error(tmp_path, make_pairs):
    """A table without a pair, and one without a pair that has a text."""
    judge = load_judge(config_of(tiny_classifier("bert", tmp_path)))
    for rows in ([], [("q", "1", "apple river", " ", None)]):
        found = judge.judge(make_pairs(rows), "x:0")
        assert (found.judgements.num_rows, found.quarantined.num_rows) == (0, len(rows))


def test_segments_reach_the_engine_of_a_model_that_tells_them_apart(tmp_path):
    """BERT's second segment begins after the query; RoBERTa's tokenizer names none."""
    second = {}
    for family in ("bert", "roberta"):
        tokenizer = load_tokenizer(tiny_classifier(family, tmp_path / family))
        inputs, cut = PairEncoder(tokenizer, 8).encode(["apple river", "apple"], ["stone", "stone " * 20])
        second[family] = [_second_segment(each) for each in inputs]
        assert cut.tolist() == [False, True]
        assert len(inputs[1]["input_ids"]) == 8
    assert second == {"bert": [4, 3], "roberta": [None, None]}


@pytest.mark.parametrize(
    ("about", "limit"),
    [
        (GPT2Config(n_positions=90), 90),
        (RobertaConfig(max_position_embeddings=66, pad_token_id=1), 64),
        (LlamaConfig(max_position_embeddings=4096), 500),
    ],
)
def test_a_pair_is_cut_at_the_models_positions(about, limit):
    """Positions by any name, without those that RoBERTa keeps for padding; else the budgets of both texts."""
    config = JudgeConfig(engine="classifier", max_query_tokens=100, max_document_tokens=400)
    assert _limit(config, SimpleNamespace(model_max_length=int(1e30)), about) == limit


def test_the_runner_is_a_classifiers(tmp_path):
    """Another engine refuses the key; by transformers the id is that of a version that knew nothing else."""
    with pytest.raises(ConfigError, match=r"no 'runner' with the engine vllm"):
        JudgeConfig.load({"engine": "vllm", "runner": "transformers"}, "a test")
    folder = tiny_classifier("bert", tmp_path)
    names = {runner: resolve(config_of(folder, runner=runner))[1] for runner in ("auto", "vllm", "transformers")}
    assert names["auto"] == names["vllm"] != names["transformers"]
