"""Sequences without padding: scores and gradients are those of the padded batch; other builds of models are padded."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from relabel.storage import Folder
from tests.train.encoders import tiny_encoder
from tests.train.test_reranker import groups
from train.losses import LOSSES
from train.packed import matches
from train.reranker import RerankerConfig, RerankerTask

GROUPS = groups(["apple stone", "river"], ["river " * 20, "paper", "cloud stone", "music"], ["tree", "snow " * 9])


def tiny_other(folder, kind: str):
    """A tiny random model of another architecture with the tokenizer of `tiny_encoder`."""
    from transformers import AutoConfig, AutoModel

    tiny_encoder(folder)
    (folder / "model.safetensors").unlink()
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 64, "max_position_embeddings": 70, "pad_token_id": 0, "initializer_range": 0.2}
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(kind, type_vocab_size=2, **sizes)).save_pretrained(folder)
    return folder


def task(model, architecture: str, loss: str = "listnet") -> RerankerTask:
    config = RerankerConfig(labels="", model=str(model), architecture=architecture, loss=loss, max_length=32)
    return RerankerTask(config, Folder("unused"))


def loss_and_gradients(built: RerankerTask, packs: bool) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    model = built.build_model().train().double()
    assert model.packs
    model.packs = packs
    loss = built.loss(model, built.collate(GROUPS))
    loss.backward()
    found = {name: one.grad for name, one in model.named_parameters() if one.requires_grad and one.grad is not None}
    return loss.item(), found


@pytest.mark.parametrize("loss", list(LOSSES))
@pytest.mark.parametrize(
    ("kind", "architecture", "pooling"),
    [
        ("bert", "cross-encoder", None),
        ("roberta", "cross-encoder", None),
        ("bert", "bi-encoder", "mean_tokens"),
        ("bert", "bi-encoder", "cls_token"),
        ("roberta", "bi-encoder", None),
    ],
)
def test_gradients_are_those_of_the_padded_batch(tmp_path, kind, architecture, pooling, loss):
    """Loss and every gradient equal those of the whole padded batch, for each architecture, pooling and loss.

    In float64, where the order of a sum, which differs by CPU, changes nothing that could hide a wrong gradient."""
    model = tiny_encoder(tmp_path, pooling) if kind == "bert" else tiny_other(tmp_path, kind)
    built = task(model, architecture, loss)
    expected_loss, expected = loss_and_gradients(built, packs=False)
    found_loss, found = loss_and_gradients(built, packs=True)
    assert found_loss == pytest.approx(expected_loss, rel=1e-12)
    assert found.keys() == expected.keys()
    assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-13, msg=name)


def test_in_bfloat16_attention_alone_is_in_float32(tmp_path, monkeypatch):
    """A model in bfloat16 has gradients of its own dtype near those of float32; its attention is read in float32."""
    built = task(tiny_encoder(tmp_path), "cross-encoder")
    dtypes = set()

    def attention(query, *rest, **options):
        dtypes.add(query.dtype)
        return scaled_dot_product_attention(query, *rest, **options)

    monkeypatch.setattr("train.packed.scaled_dot_product_attention", attention)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = built.build_model().train().to(dtype)
        built.loss(model, built.collate(GROUPS)).backward()
        found = [one.grad for one in model.parameters() if one.grad is not None]
        assert {gradient.dtype for gradient in found} == {dtype}
        gradients.append(torch.cat([gradient.flatten().float() for gradient in found]))
    assert dtypes == {torch.float32}
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


def test_dropout_works_without_padding(tmp_path):
    """While training, dropout of hidden states and attention makes two passes differ, and none in evaluation."""
    config = RerankerConfig(labels="", model=str(tiny_encoder(tmp_path)), architecture="cross-encoder", dropout=0.5)
    built = RerankerTask(config, Folder("unused"))
    model = built.build_model()
    inputs = built.collate(GROUPS)["inputs"]
    assert model.packs
    assert torch.equal(model.eval()(inputs), model(inputs))
    assert not torch.equal(model.train()(inputs), model(inputs))


@pytest.mark.parametrize("architecture", ["cross-encoder", "bi-encoder"])
def test_other_models_are_padded(tmp_path, architecture):
    """A model that is not built as BERT is trained on padded batches."""
    built = task(tiny_other(tmp_path, "albert"), architecture)
    model = built.build_model()
    assert not model.packs
    assert torch.isfinite(built.loss(model, built.collate(GROUPS)))


def test_a_model_that_computes_otherwise_is_found():
    """Other scores, another shape and an error all mean: not without padding."""

    def padded(tokens):
        return tokens["attention_mask"].sum(1).float()

    assert matches(padded, padded)
    assert not matches(lambda tokens: padded(tokens) + 1e-3, padded)
    assert not matches(lambda tokens: padded(tokens)[:1], padded)
    assert not matches(lambda tokens: tokens["no such"], padded)
