"""Sequence classifiers as judges: their softmax is the judgement, grades come in the scale's order or are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jobs.judge import resolve
from relabel.errors import InputError
from relabel.judges import JudgeConfig, load_judge
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
