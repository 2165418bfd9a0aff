"""Perturbed training examples: pure, in the share asked for, with the grade that they had."""

from __future__ import annotations

import pytest

from relabel.errors import ConfigError
from relabel.robustness import PERTURBATIONS
from relabel.robustness.augmentation import Augmentation, augmented

ROWS = [
    {"queries": ["split a path", "sort a list"], "title": "", "lowest": [number % 4, 0], "highest": [number % 4, 0],
     "text": f"Document {number} says much. It says more about paths. It ends here."}
    for number in range(400)
]  # fmt: skip


def test_a_share_of_the_examples_is_perturbed_and_keeps_its_grade():
    """About the share asked for changes its text; everything that is not text stays."""
    options = Augmentation(perturbations=["planted-end", "typos", "shuffled-sentences"], share=0.3)
    after = [augmented(row, options, "3", seed=1, epoch=0) for row in ROWS]
    changed = sum(new["text"] != old["text"] for new, old in zip(after, ROWS, strict=True))
    assert 0.22 <= changed / len(ROWS) <= 0.38
    for new, old in zip(after, ROWS, strict=True):
        assert {**new, "text": old["text"]} == old


def test_an_epoch_can_be_written_again():
    """The same (seed, epoch, document) gives the same text, whatever came before; another epoch or seed others."""
    options = Augmentation(perturbations=["planted-start", "keyword-stuffing"], share=0.5)

    def texts(seed: int, epoch: int, rows: list[dict] = ROWS) -> dict[str, str]:
        return {row["text"]: augmented(row, options, "3", seed, epoch)["text"] for row in rows}

    assert texts(1, 0) == texts(1, 0, ROWS[::-1])
    assert texts(1, 0) != texts(1, 1)
    assert texts(1, 0) != texts(2, 0)


def test_a_document_repeats_any_of_its_queries():
    """Also one that it does not answer: what is repeated is drawn among the queries, and none of them changes."""
    options = Augmentation(perturbations=["query-repeated"], share=1.0)
    after = [augmented(row, options, "3", seed=1, epoch=0) for row in ROWS]
    starts = [row["text"].partition("\n")[0] for row in after]
    assert set(starts) == {"split a path", "sort a list"}
    assert 0.4 <= starts.count("sort a list") / len(starts) <= 0.6
    assert all(row["queries"] == ["split a path", "sort a list"] for row in after)


def test_nothing_happens_by_default():
    """Without a share the very row comes back."""
    assert all(augmented(row, Augmentation(), "3", 0, 0) is row for row in ROWS)


def test_the_planted_answer_is_the_prompts():
    """An instruction in a training text asks for the highest label of the prompt in use."""
    options = Augmentation(perturbations=["planted-end"], share=1.0)
    for row in ROWS[:50]:
        assert "Yes" in augmented(row, options, "Yes", 0, 0)["text"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"perturbations": ["first-half"], "share": 0.1}, "perturbations that keep a grade true .*, not 'first-half'"),
        ({"perturbations": ["padded"], "share": 0.1}, "not 'padded'"),
        ({"perturbations": ["typo"], "share": 0.1}, "found 'typo'.*write 'typos'"),
        ({"share": 0.1}, "perturbations to draw from where share is above 0"),
        ({"perturbations": ["typos"], "share": 1.5}, "share: found 1.5"),
        ({"perturbation": ["typos"]}, "write 'perturbations'"),
    ],
)
def test_a_bad_key_is_refused(values, message):
    """Perturbations that make a grade untrue, unknown names, and a share that says nothing are refused."""
    with pytest.raises(ConfigError, match=message):
        Augmentation.load(values, "augment")


def test_all_others_can_be_taught():
    """Every perturbation that keeps a grade true is accepted together."""
    names = [name for name, perturbation in PERTURBATIONS.items() if perturbation.teaches]
    assert len(Augmentation(perturbations=names, share=1.0).perturbations) == len(PERTURBATIONS) - 2
