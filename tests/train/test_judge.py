"""The judge without the loop: logits, loss, prompts shared with judging, measures, export, LoRA."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from relabel.errors import ConfigError, InputError
from relabel.records import Scale
from relabel.storage import Folder
from tests.relabel.language_models import tiny_model
from tests.train.tables import by_document, topic_pairs, write_pairs
from train.grade_losses import pairwise
from train.grade_model import GradeModel, load_causal_lm, packed, packed_tokens, padded
from train.graded_examples import EXAMPLES
from train.judge import train_judge
from train.judge_config import JudgeTrainingConfig
from train.judge_task import MASS_WEIGHT, JudgeTask
from train.loop import Ranks
from train.shared_documents import DOCUMENTS

ALONE = Ranks(0, 1, "cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny random model of a family, made once."""
    made = {}

    def model(family: str = "llama"):
        if family not in made:
            made[family] = tiny_model(family, tmp_path_factory.mktemp("models") / family)
        return made[family]

    return model


@pytest.fixture
def task(models, tmp_path):
    def build(family: str = "llama", **options) -> JudgeTask:
        config = JudgeTrainingConfig(pairs="unused", model=str(models(family)), max_document_tokens=32, **options)
        return JudgeTask(config, Folder(tmp_path / "supervision"))

    return build


def examples(count: int = 8) -> pa.Table:
    rows = [
        {name: row[name] for name in ("query", "title", "text")} | {"lowest": row["label"], "highest": row["label"]}
        for row in topic_pairs(queries=2, documents=count // 2)
    ]
    return pa.Table.from_pylist(rows, schema=EXAMPLES)


@pytest.mark.parametrize("family", ["llama", "gemma", "qwen"])
def test_logits_equal_the_models_own(models, family):
    """Right-padded prompts of different lengths get the logits that the model gives each prompt alone."""
    lm = load_causal_lm(models(family)).eval()
    prompts = [[5, 9, 30, 2], [7], list(range(3, 40))]
    with torch.inference_mode():
        found = GradeModel(lm)(*padded(prompts, 0))
        for prompt, logits in zip(prompts, found, strict=True):
            torch.testing.assert_close(logits, lm(torch.tensor([prompt])).logits[0, -1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma", "qwen"])
def test_logits_are_float32_whatever_the_model_computes_in(models, family):
    """A model in bfloat16 multiplies its last hidden state in float32, as judging does: its grades are no steps."""
    lm = load_causal_lm(models(family), torch.bfloat16).eval()
    ids, last = padded([[5, 9, 30, 2], list(range(3, 40))], 0)
    with torch.inference_mode():
        hidden = lm.base_model(input_ids=ids, use_cache=False).last_hidden_state[torch.arange(2), last]
        found = GradeModel(lm)(ids, last)
    exact = hidden.double() @ lm.get_output_embeddings().weight.double().T
    if (cap := lm.config.get_text_config().__dict__.get("final_logit_softcapping")) is not None:
        exact = torch.tanh(exact / cap) * cap
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=1e-5)
    assert not torch.equal(found, found.bfloat16().float())


@pytest.mark.parametrize("family", ["llama", "gemma", "qwen"])
def test_prompts_that_share_a_row_get_the_logits_of_each_alone(models, family):
    """Several prompts over one document, one alone in its row, one that is another's beginning: none sees another."""
    lm = load_causal_lm(models(family)).eval()
    start = list(range(20, 41))
    prompts = [[*start, 5, 9], [*start, 7, 7, 7, 8], [*start, 5], [11, 12, 13], [*start[:4], 3], [*start[:6], 3]]
    inputs = packed(prompts, [0, 0, 0, 1, 2, 2], 0)
    assert inputs["input_ids"].shape[0] == 3
    assert packed_tokens(prompts, [0, 0, 0, 1, 2, 2]) == [21 + 2 + 4 + 1, 3, 4 + 1 + 3]
    with torch.inference_mode():
        found = GradeModel(lm)(**inputs)
        for prompt, logits in zip(prompts, found, strict=True):
            torch.testing.assert_close(logits, lm(torch.tensor([prompt])).logits[0, -1], atol=1e-5, rtol=1e-4)


def test_a_model_that_cannot_share_is_refused(models):
    """Sharing needs attention over the longest prompt, and a model that keeps to the mask; errors say what to set."""
    lm = load_causal_lm(models("gemma"))
    lm.config.sliding_window = 40
    GradeModel(lm).check(64, shared=False)
    with pytest.raises(ConfigError, match=r"prompts of up to 64 tokens .* reaches 40.*set queries_per_document: 1"):
        GradeModel(lm).check(64, shared=True)
    deaf = GradeModel(load_causal_lm(models()))
    forward = deaf.forward
    deaf.forward = lambda *plain, visible=None, **inputs: forward(*plain, **inputs)
    with pytest.raises(InputError, match=r"where two prompts share what they begin with.*set queries_per_document: 1"):
        deaf.check(64, shared=True)


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_shared_documents_change_no_gradient(task, family):
    """Pairs of one document in one row give the loss and the gradients of the same pairs each in a row of its own."""
    document = topic_pairs(queries=1, documents=4)[3]
    rows = [
        {"query": f"{topic} number 1", "title": document["title"], "text": document["text"], "lowest": 0, "highest": 1}
        for topic in ("apple", "river", "stone")
    ]
    table = pa.Table.from_pylist(rows, schema=EXAMPLES)
    gradients, losses = [], []
    for most in (1, 3):
        built = task(family, queries_per_document=most, ranking_weight=0.5)
        model = built.build_model()
        batch = built.collate(by_document(table, most))
        assert batch["inputs"]["input_ids"].shape[0] == len(rows) // most
        loss = built.loss(model, batch)
        loss.backward()
        losses.append(loss.item())
        gradients.append({name: one.grad for name, one in model.named_parameters()})
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-3)


def test_weights_and_comparisons_by_hand(task):
    """A pair counts by its weight; `ranked_within: document` compares the queries of one document alone."""
    built = task(queries_per_document=2, ranking_weight=2.0, ranked_within="document", relevant_weight=1.5)
    model = built.build_model().eval()
    rows = pa.Table.from_pylist(
        [
            {"title": "", "text": text, "queries": ["apple", "river"], "lowest": [3, 0], "highest": [3, 1]}
            | {"weights": [1.0, 0.25]}
            for text in ("The apple is red.", "An apple a day, and a river.")
        ],
        schema=DOCUMENTS,
    )
    with torch.inference_mode():
        batch = built.collate(rows)
        logprobs = model(**batch["inputs"]).log_softmax(-1)[:, built.encoder.label_token_ids]
        mass, grades = logprobs.logsumexp(-1), logprobs.log_softmax(-1)
        low, high = grades[:, :2].logsumexp(-1), grades[:, 2:].logsumexp(-1)
        graded = -(1.5 * (grades[0, 3] + grades[2, 3]) + 0.25 * (low[1] + low[3])) / 3.5
        on_grades = (1.5 * (mass[0] + mass[2]) + 0.25 * (mass[1] + mass[3])) / 3.5
        apart = high - low
        ranked = torch.nn.functional.softplus(torch.stack([apart[1] - apart[0], apart[3] - apart[2]])).mean()
        expected = graded - MASS_WEIGHT * on_grades + 2 * ranked
        assert built.loss(model, batch).item() == pytest.approx(expected.item(), abs=1e-5)
    halves = [built.loss(model, built.collate(rows.slice(place, 1))).item() for place in (0, 1)]
    assert np.mean(halves) == pytest.approx(expected.item(), abs=1e-4)
    with pytest.raises(ConfigError, match="several queries a document"):
        JudgeTrainingConfig.load({"pairs": "p", "ranking_weight": 1, "ranked_within": "document"}, "recipe")


def test_unknown_output_layer_is_refused(models):
    """A model that computes its logits in another way is refused, instead of being trained on the wrong ones."""
    lm = load_causal_lm(models())
    plain = lm.forward
    lm.forward = lambda **inputs: type("Output", (), {"logits": 3 * plain(**inputs).logits})
    with pytest.raises(InputError, match=r"logits that differ by .* from hidden state × output layer"):
        GradeModel(lm).check(64, shared=False)


def test_loss_by_hand(task):
    """The loss is −log of the grade's share among the grades, and a little of −log of the mass on all grades."""
    built = task()
    model = built.build_model().eval()
    rows = examples()
    with torch.inference_mode():
        found = built.loss(model, built.collate(by_document(rows))).item()
        losses = []
        for row in rows.to_pylist():
            (prompt,) = built.encoder.encode([row["query"]], [row["title"]], [row["text"]])
            logprobs = model.lm(torch.tensor([prompt.token_ids])).logits[0, -1].log_softmax(-1)
            mass = sum(logprobs[token].exp().item() for token in built.encoder.label_token_ids)
            share = logprobs[built.encoder.label_token_ids[row["lowest"]]].exp().item() / mass
            losses.append(-math.log(share) - MASS_WEIGHT * math.log(mass))
    assert found == pytest.approx(np.mean(losses), abs=1e-5)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_learns_grades_and_exports(task, tmp_path, method):
    """Both methods lower the held-out cross-entropy; the merged folder gives the trained probabilities."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    built = task(method=method, learning_rate=1e-2, rank=8)
    built.validation.write_table("validation.parquet", examples())
    model = built.build_model()
    optimizer = torch.optim.AdamW(built.parameter_groups(model))
    batch = built.collate(by_document(examples()))
    with torch.inference_mode():
        before = built.validate(model, ALONE)
    for _ in range(15):
        optimizer.zero_grad()
        built.loss(model, batch).backward()
        optimizer.step()
    with torch.inference_mode():
        after = built.validate(model, ALONE)
        trained = built._logprobs(model, ALONE, examples())
    assert after["cross-entropy"] < before["cross-entropy"] - 0.5
    assert after["off-grade mass"] < before["off-grade mass"]
    if method == "lora":
        assert {name for name, one in model.named_parameters() if one.requires_grad} == {
            name for name, _ in model.named_parameters() if "lora_" in name
        }
    built.export(model, tmp_path, "float32")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert merged.dtype == torch.float32
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer("Relevance grade")["input_ids"] == built.encoder.tokenizer("Relevance grade")["input_ids"]
    with torch.inference_mode():
        opened = built._logprobs(GradeModel(merged), ALONE, examples())
    np.testing.assert_allclose(np.exp(opened), np.exp(trained), atol=1e-4)
    assert (tmp_path / "adapter" / "adapter_config.json").exists() == (method == "lora")


def test_adapter_opens_over_its_base(task, models, tmp_path):
    """The saved adapter over the base model gives what the merged model gives."""
    from peft import PeftModel

    built = task(method="lora", rank=4)
    model = built.build_model()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.eval()
    prompt = torch.tensor([[5, 9, 30, 2]])
    with torch.inference_mode():
        expected = model(prompt, torch.tensor([3]))
        built.export(model, tmp_path, "float32")
        opened = PeftModel.from_pretrained(load_causal_lm(models()), tmp_path / "adapter").eval()
        torch.testing.assert_close(opened(prompt).logits[:, -1], expected, atol=1e-4, rtol=1e-3)


def test_ranking_weight_adds_the_pairwise_loss(task):
    """`ranking_weight` adds that many times the loss between the pairs of the micro-batch; `loss` chooses by name."""
    plain, ranked, soft = task(), task(ranking_weight=2.0), task(loss="soft-targets")
    model = plain.build_model().eval()
    batch = plain.collate(by_document(examples()))
    with torch.inference_mode():
        logprobs = model(**batch["inputs"]).log_softmax(-1)[:, plain.encoder.label_token_ids]
        between = pairwise(logprobs.log_softmax(-1), **batch["allowed"]).item()
        alone = plain.loss(model, batch).item()
        assert ranked.loss(model, batch).item() == pytest.approx(alone + 2 * between, abs=1e-5)
        assert soft.loss(model, batch).item() < alone


@pytest.mark.parametrize("family", ["llama", "gemma", "qwen"])
def test_only_the_topmost_layers_are_trained(task, family):
    """`trained_layers: 1` leaves embeddings and the lower layer alone, and the loss still falls."""
    built = task(family, trained_layers=1, learning_rate=1e-2)
    model = built.build_model()
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert trained
    assert all(".layers.1." in name or name == "lm.model.norm.weight" for name in trained)
    frozen = {name: one.detach().clone() for name, one in model.named_parameters() if name not in trained}
    optimizer = torch.optim.AdamW(built.parameter_groups(model))
    batch = built.collate(by_document(examples()))
    first = built.loss(model, batch).item()
    for _ in range(10):
        optimizer.zero_grad()
        built.loss(model, batch).backward()
        optimizer.step()
    assert built.loss(model, batch).item() < first - 0.1
    assert all(torch.equal(dict(model.named_parameters())[name], before) for name, before in frozen.items())


def test_more_layers_than_there_are_is_refused(task):
    """A model of two layers cannot train three; adapters say by `targets` what is trained."""
    with pytest.raises(ConfigError, match=r"trained_layers: found 3; wanted at most the model's 2 layers"):
        task(trained_layers=3).build_model()
    with pytest.raises(ConfigError, match="with lora, `targets` says what is trained"):
        JudgeTrainingConfig.load({"pairs": "unused", "method": "lora", "trained_layers": 1}, "recipe")


@pytest.mark.parametrize("method", ["full", "lora"])
def test_gradient_checkpointing_changes_no_gradient(task, method):
    """Activations computed again give the gradients of those that were kept."""
    gradients = []
    for again in (False, True):
        built = task(method=method, gradient_checkpointing=again)
        model = built.build_model().train()
        assert model.lm.is_gradient_checkpointing == again
        built.loss(model, built.collate(by_document(examples()))).backward()
        gradients.append({name: one.grad for name, one in model.named_parameters() if one.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert gradients[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4)


def test_prompt_with_other_grades_is_refused(models, tmp_path):
    """Labels of three grades cannot train a judge of four; nothing is started."""
    scale = Scale((0, 1, 2), relevant_from=1)
    rows = [row | {"label": float(min(row["label"], 2))} for row in topic_pairs()]
    write_pairs(Folder(tmp_path / "pairs"), rows, scale)
    config = JudgeTrainingConfig(pairs=str(tmp_path / "pairs"), model=str(models()))
    with pytest.raises(ConfigError, match="4 grades for pairs with 3"):
        train_judge(config, Folder(tmp_path / "out"), lambda line: None)


def test_unknown_prompt_is_refused(tmp_path):
    """A prompt that does not exist is an error with the ones that do."""
    config = JudgeTrainingConfig(pairs=str(tmp_path), prompt="terse")
    with pytest.raises(ConfigError, match=r"prompt: found 'terse'; wanted one of .*terse-0-3.*write 'terse-0-3'"):
        train_judge(config, Folder(tmp_path / "out"), lambda line: None)
