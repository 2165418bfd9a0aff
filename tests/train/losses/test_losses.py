"""What every loss promises: values, gradients, and how padding, order, weights and empty queries count."""

from __future__ import annotations

import math

import pytest
import torch

from train.losses import LOSSES
from train.losses.bce import bce
from train.losses.lce import lce
from train.losses.listnet import listnet
from train.losses.mse import mse
from train.losses.ranknet import ranknet

every_loss = pytest.mark.parametrize("name", list(LOSSES))


def groups(seed: int = 0, queries: int = 3, group: int = 5, dtype: torch.dtype = torch.float64):
    """Random scores, degrees of four grades, weights, and a mask that leaves a different number a query."""
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(queries, group, generator=random, dtype=dtype)
    labels = torch.randint(0, 4, (queries, group), generator=random).to(dtype) / 3
    labels[:, 0], labels[:, 1] = 1.0, 0.0
    weights = torch.rand(queries, group, generator=random, dtype=dtype) + 0.5
    mask = torch.arange(group) < torch.tensor([[group], [group - 1], [group - 2]])
    return scores, labels, weights, mask


def one_query(scores: list[float], labels: list[float]):
    """One query with all weights 1 and nothing masked."""
    scores, labels = torch.tensor([scores], dtype=torch.float64), torch.tensor([labels], dtype=torch.float64)
    return scores, labels, torch.ones_like(scores), torch.ones_like(scores, dtype=torch.bool)


def test_bce_by_hand():
    """bce is the mean of −y·log σ(s) − (1 − y)·log(1 − σ(s)), soft degrees included."""
    found = bce(*one_query([0.0, 2.0], [1.0, 0.25]))
    sigma = 1 / (1 + math.exp(-2))
    expected = (math.log(2) - 0.25 * math.log(sigma) - 0.75 * math.log(1 - sigma)) / 2
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_mse_by_hand():
    """mse is the mean squared difference between σ(s) and the degree."""
    found = mse(*one_query([0.0, 2.0], [1.0, 0.25]))
    assert found.item() == pytest.approx((0.25 + (1 / (1 + math.exp(-2)) - 0.25) ** 2) / 2, abs=1e-12)


def test_ranknet_by_hand():
    """ranknet averages log(1 + exp(−difference)) over the three ordered pairs of three different degrees."""
    found = ranknet(*one_query([1.0, 0.0, 2.0], [1.0, 0.5, 0.0]))
    expected = sum(math.log1p(math.exp(-difference)) for difference in (1.0, -1.0, -2.0)) / 3
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_listnet_by_hand():
    """listnet is the cross-entropy of two softmax distributions, the target's with the temperature."""
    found = listnet(*one_query([1.0, 0.0], [1.0, 0.0]), temperature=0.5)
    target = math.exp(2) / (math.exp(2) + 1)
    share = math.exp(1) / (math.exp(1) + 1)
    assert found.item() == pytest.approx(-target * math.log(share) - (1 - target) * math.log(1 - share), abs=1e-12)


def test_lce_by_hand():
    """lce is the negative log share of the positive in the softmax over its group."""
    found = lce(*one_query([1.0, 0.0, -1.0], [1.0, 0.0, 0.0]))
    assert found.item() == pytest.approx(-math.log(math.e / (math.e + 1 + 1 / math.e)), abs=1e-12)


def test_lce_positives_do_not_compete():
    """Two positives of a group are each contrasted with the negatives, not with each other."""
    found = lce(*one_query([1.0, 3.0, 0.0], [1.0, 1.0, 0.0]))
    expected = (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(-3.0))) / 2
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_pointwise_losses_equal_torch():
    """bce and mse equal torch's own functions on the documents that are there, weights 1."""
    scores, labels, weights, mask = groups()
    there = torch.ones_like(weights)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores[mask], labels[mask])
    assert bce(scores, labels, there, mask).item() == pytest.approx(expected.item(), abs=1e-12)
    expected = torch.nn.functional.mse_loss(scores[mask].sigmoid(), labels[mask])
    assert mse(scores, labels, there, mask).item() == pytest.approx(expected.item(), abs=1e-12)


def test_lce_equals_cross_entropy():
    """With one positive in the first place lce equals torch's cross-entropy with class 0."""
    scores = groups()[0]
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1.0
    found = lce(scores, labels, torch.ones_like(scores), torch.ones_like(scores, dtype=torch.bool))
    expected = torch.nn.functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)


class FixedScores(torch.nn.Module):
    """Stands where sentence-transformers' losses want a cross-encoder: it gives scores that are fixed beforehand."""

    num_labels, device = 1, torch.device("cpu")

    def __init__(self, scores: torch.Tensor):
        super().__init__()
        self.scores = scores

    def preprocess(self, pairs, **_):
        return {"scores": self.scores[: len(pairs), None]}

    def forward(self, features):
        return features


@pytest.mark.parametrize("name", ["listnet", "ranknet"])
def test_equal_to_sentence_transformers(name):
    """listnet at temperature 1 and ranknet equal the ListNetLoss and RankNetLoss of sentence-transformers."""
    losses = pytest.importorskip("sentence_transformers.cross_encoder.losses")
    scores = torch.tensor([[0.3, -1.2, 0.8, 2.0]])
    labels = torch.tensor([[1.0, 0.0, 2 / 3, 1 / 3]])
    ours = (scores, labels, torch.ones_like(scores), torch.ones_like(scores, dtype=torch.bool))
    model = FixedScores(scores[0])
    if name == "listnet":
        public = losses.ListNetLoss(model, mini_batch_size=-1)
    else:
        public = losses.RankNetLoss(model, mini_batch_size=-1, reduction_log="natural")
    expected = public([["query"], [["a", "b", "c", "d"]]], [labels[0]])
    found = listnet(*ours, temperature=1.0) if name == "listnet" else ranknet(*ours)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


@every_loss
def test_gradients(name):
    """The analytic gradient with respect to scores equals the numerical one, padding and weights included."""
    scores, labels, weights, mask = groups()
    function = LOSSES[name].function
    assert torch.autograd.gradcheck(lambda s: function(s, labels, weights, mask), scores.requires_grad_())


@every_loss
def test_padding_does_not_matter(name):
    """Scores, labels and weights of masked places change neither the loss nor a gradient; padding gets none."""
    function = LOSSES[name].function
    scores, labels, weights, mask = groups()
    wide = [torch.nn.functional.pad(each, (0, 3), value=7.0) for each in (scores, labels, weights)]
    wide_mask = torch.nn.functional.pad(mask, (0, 3), value=False)
    for leaf in (scores, wide[0]):
        leaf.requires_grad_()
    narrow_loss, wide_loss = function(scores, labels, weights, mask), function(*wide, wide_mask)
    narrow_loss.backward()
    wide_loss.backward()
    assert narrow_loss.item() == pytest.approx(wide_loss.item(), abs=1e-12)
    torch.testing.assert_close(wide[0].grad[:, :5], scores.grad)
    assert not wide[0].grad[~wide_mask].any()


@every_loss
def test_order_does_not_matter(name):
    """A loss is the same for any order of the documents and of the queries."""
    function = LOSSES[name].function
    batch = groups()
    shuffled = [each[torch.tensor([2, 0, 1])][:, torch.tensor([3, 0, 4, 2, 1])] for each in batch]
    assert function(*shuffled).item() == pytest.approx(function(*batch).item(), abs=1e-12)


@every_loss
def test_weight_two_is_two_copies(name):
    """A document of weight 2 counts as that document written twice."""
    function = LOSSES[name].function
    for place, degree in ((0, 1.0), (2, 0.0)):
        scores, labels, weights, mask = one_query([0.5, -0.3, 0.9, 0.1], [1.0, 0.0, 0.0, 1 / 3])
        assert labels[0, place].item() == degree
        twice = [torch.cat([each, each[:, place : place + 1]], dim=1) for each in (scores, labels, weights, mask)]
        weights[0, place] = 2.0
        found = function(scores, labels, weights, mask)
        assert found.item() == pytest.approx(function(*twice).item(), abs=1e-12)


@every_loss
def test_weight_zero_is_absence(name):
    """A document of weight 0 counts as padding."""
    function = LOSSES[name].function
    scores, labels, weights, mask = groups()
    zeroed, absent = weights.clone(), mask.clone()
    zeroed[:, 2], absent[:, 2] = 0.0, False
    expected = function(scores, labels, weights, absent).item()
    assert function(scores, labels, zeroed, mask).item() == pytest.approx(expected, abs=1e-12)


@every_loss
@pytest.mark.parametrize("emptied", ["mask", "weights"])
def test_nothing_to_learn_from(name, emptied):
    """A batch without a usable document costs exactly 0, with gradients that are 0 and never NaN."""
    scores, labels, weights, mask = groups()
    if emptied == "mask":
        mask = torch.zeros_like(mask)
    else:
        weights = torch.zeros_like(weights)
    loss = LOSSES[name].function(scores.requires_grad_(), labels, weights, mask)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(scores.grad, torch.zeros_like(scores))


@pytest.mark.parametrize("name", ["ranknet", "listnet", "lce"])
def test_query_without_contrast_contributes_nothing(name):
    """A query whose documents all have one degree leaves the mean over the other queries as it is."""
    function = LOSSES[name].function
    scores, labels, weights, mask = groups()
    expected = function(scores[:2], labels[:2], weights[:2], mask[:2]).item()
    labels[2] = 2 / 3
    assert function(scores, labels, weights, mask).item() == pytest.approx(expected, abs=1e-12)


@every_loss
def test_extreme_scores_stay_finite(name):
    """Scores of ±10,000 in float32 give a finite loss and finite gradients."""
    scores = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    labels, weights = torch.tensor([[0.0, 1.0, 0.5]]), torch.ones(1, 3)
    loss = LOSSES[name].function(scores, labels, weights, torch.ones(1, 3, dtype=torch.bool))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(scores.grad).all()
