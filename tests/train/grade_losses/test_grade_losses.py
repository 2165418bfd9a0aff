"""What every grade loss promises: values by hand, order, sign, gradients, labels that leave the grade open."""

from __future__ import annotations

import math

import pytest
import torch

from train.grade_losses import GRADE_LOSSES, pairwise
from train.grade_losses.cross_entropy import cross_entropy
from train.grade_losses.expected_grade import expected_grade
from train.grade_losses.soft_targets import soft_targets

every_loss = pytest.mark.parametrize("name", list(GRADE_LOSSES))
P = [0.1, 0.2, 0.3, 0.4]


def pairs(seed: int = 0, count: int = 7, grades: int = 4):
    """Random distributions; labels of one grade, and some that allow several."""
    random = torch.Generator().manual_seed(seed)
    logprobs = torch.randn(count, grades, generator=random, dtype=torch.float64).log_softmax(-1)
    lowest = torch.randint(0, grades, (count,), generator=random)
    highest = torch.where(torch.arange(count) % 3 == 0, grades - 1, lowest)
    return logprobs, lowest, highest


def one(lowest: int, highest: int):
    return torch.tensor([P], dtype=torch.float64).log(), torch.tensor([lowest]), torch.tensor([highest])


def test_cross_entropy_by_hand():
    """−log of the grade's probability, or of the sum over the allowed grades."""
    assert cross_entropy(*one(1, 1)).item() == pytest.approx(-math.log(0.2))
    assert cross_entropy(*one(2, 3)).item() == pytest.approx(-math.log(0.7))


def test_cross_entropy_equals_torch():
    """With one allowed grade it is torch's own cross-entropy."""
    logprobs, lowest, _ = pairs()
    torch.testing.assert_close(
        cross_entropy(logprobs, lowest, lowest), torch.nn.functional.nll_loss(logprobs, lowest, reduction="none")
    )


def test_soft_targets_by_hand():
    """The divergence from shares e^(−distance) of the grades, normalised."""
    shares = [math.exp(-abs(grade - 1)) for grade in range(4)]
    shares = [share / sum(shares) for share in shares]
    expected = sum(share * math.log(share / p) for share, p in zip(shares, P, strict=True))
    assert soft_targets(*one(1, 1), sharpness=1.0).item() == pytest.approx(expected)


def test_soft_targets_become_cross_entropy():
    """The sharper the target, the nearer to plain cross-entropy; where all grades are allowed nothing is asked."""
    logprobs, lowest, highest = pairs()
    torch.testing.assert_close(
        soft_targets(logprobs, lowest, highest, sharpness=60.0), cross_entropy(logprobs, lowest, highest)
    )
    assert soft_targets(*one(0, 3)).item() == pytest.approx(0.0, abs=1e-9)


def test_soft_targets_prefer_the_neighbour():
    """Of two judges as wrong as each other, the one that is wrong by one grade loses less than the one by three."""
    near, far = (torch.tensor([row]).log() for row in ([0.9, 0.05, 0.03, 0.02], [0.02, 0.05, 0.03, 0.9]))
    truth = torch.tensor([1])
    assert soft_targets(near, truth, truth) < soft_targets(far, truth, truth) - 0.3


def test_expected_grade_by_hand():
    """Cross-entropy plus a third of the squared distance of the expected grade 2.0 from the allowed grades."""
    assert expected_grade(*one(0, 0)).item() == pytest.approx(-math.log(0.1) + 4 / 3)
    assert expected_grade(*one(1, 3)).item() == pytest.approx(-math.log(0.9))


def test_pairwise_by_hand():
    """Softplus of the difference in log-odds of the upper half, over pairs whose allowed grades do not overlap."""
    logprobs = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]]).double().log()
    score = [math.log(0.7 / 0.3), math.log(0.3 / 0.7), 0.0]
    found = pairwise(logprobs, torch.tensor([3, 0, 2]), torch.tensor([3, 0, 3]))
    expected = sum(math.log1p(math.exp(score[low] - score[high])) for high, low in ((0, 1), (2, 1))) / 2
    assert found.item() == pytest.approx(expected)


def test_pairwise_without_order_is_zero():
    """Pairs of one grade have nothing to order: 0 and a zero gradient, not NaN."""
    logprobs = torch.randn(3, 4).log_softmax(-1).requires_grad_()
    same = torch.tensor([2, 2, 2])
    loss = pairwise(logprobs, same, same)
    loss.backward()
    assert loss.item() == 0
    assert (logprobs.grad == 0).all()


@every_loss
def test_nonnegative_and_blind_to_order(name):
    """No loss is negative, and a pair's loss does not depend on its neighbours."""
    logprobs, lowest, highest = pairs()
    found = GRADE_LOSSES[name](logprobs, lowest, highest)
    assert found.shape == lowest.shape
    assert (found >= -1e-12).all()
    order = torch.randperm(len(lowest), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(GRADE_LOSSES[name](logprobs[order], lowest[order], highest[order]), found[order])


@every_loss
def test_gradients(name):
    """Gradients are right by finite differences, for exact labels and open ones.

    Open labels of `soft-targets` take the judge's own shares as a constant, which finite differences do not see.
    """
    logprobs, lowest, highest = pairs()
    highest = lowest if name == "soft-targets" else highest
    logits = logprobs.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: GRADE_LOSSES[name](x.log_softmax(-1), lowest, highest), logits)


@every_loss
@pytest.mark.parametrize(("lowest", "highest"), [(2, 2), (2, 3)])
def test_descent_reaches_the_allowed_grades(name, lowest, highest):
    """Followed downhill, every loss makes the allowed grades the likeliest."""
    logits = torch.tensor([[3.0, 0.0, 0.0, 0.5]], requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        GRADE_LOSSES[name](logits.log_softmax(-1), torch.tensor([lowest]), torch.tensor([highest])).sum().backward()
        optimizer.step()
    assert lowest <= int(logits.argmax()) <= highest
