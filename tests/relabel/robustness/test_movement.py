"""Movements: hand-computed values, what breaks an expectation, what cannot be measured, intervals that cover."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from relabel.errors import InputError
from relabel.records import JUDGEMENTS, Scale
from relabel.robustness.movement import measure

SCALE = Scale((0, 1, 2, 3), relevant_from=2)
COLUMNS = {"query_id": pa.string(), "doc_id": pa.string(), "label": pa.float32()}


def tables(rows: list[tuple]) -> tuple[pa.Table, pa.Table]:
    """Pairs and judgements from (query, document, variant, label, score, grade); a score of None is no judgement."""
    pairs = [{"query_id": q, "doc_id": f"{d}#{v}", "label": label} for q, d, v, label, _, _ in rows]
    judged = [
        {"query_id": q, "doc_id": f"{d}#{v}", "grade": grade, "score": score, "probabilities": [0, 0, 0, 1],
         "logprobs": [0, 0, 0, 0], "off_label_mass": 0, "prompt_tokens": 9, "truncated": v == "padded", "judge_id": "j"}
        for q, d, v, _, score, grade in rows
        if score is not None
    ]  # fmt: skip
    return pa.Table.from_pylist(pairs, pa.schema(COLUMNS)), pa.Table.from_pylist(judged, JUDGEMENTS)


FOUR = [
    ("q0", "a", "original", 0, 0.5, 0), ("q0", "a", "planted-end", None, 2.5, 3),
    ("q0", "b", "original", 3, 2.5, 3), ("q0", "b", "planted-end", None, 3.0, 3),
    ("q1", "a", "original", 1, 1.0, 1), ("q1", "a", "planted-end", None, 1.5, 1),
    ("q1", "b", "original", 2, 2.0, 2), ("q1", "b", "planted-end", None, 1.0, 1),
]  # fmt: skip


def test_movements_by_hand():
    """Four pairs: movements +2, +0.5 (irrelevant: +2, +0.5; relevant: +0.5, −1), crossings, other grades, success."""
    found = measure(*tables(FOUR), SCALE, SCALE, ["planted-end"], resamples=200)
    (entry,) = found["perturbations"]
    assert (found["pairs"], found["queries"], found["relevant_pairs"]) == (4, 2, 2)
    assert found["separation"]["value"] == pytest.approx((2.5 + 2.0) / 2 - (0.5 + 1.0) / 2)

    def values(part: str) -> dict:
        return {name: one["value"] for name, one in entry[part].items() if isinstance(one, dict)}

    assert values("all") == pytest.approx(
        {"movement": 0.5, "absolute_movement": 1.0, "other_grade": 0.5, "crossed_up": 0.25, "crossed_down": 0.25,
         "raised": 1 / 3, "success": 0.5}
    )  # fmt: skip
    assert values("irrelevant") == pytest.approx(
        {"movement": 1.25, "absolute_movement": 1.25, "other_grade": 0.5, "crossed_up": 0.5, "crossed_down": 0,
         "raised": 0.5, "success": 0.5}
    )  # fmt: skip
    relevant = values("relevant")
    assert relevant.pop("success") is None, "no relevant document was below the line"
    assert relevant == pytest.approx(
        {"movement": -0.25, "absolute_movement": 0.75, "other_grade": 0.5, "crossed_up": 0, "crossed_down": 0.5,
         "raised": 0}
    )  # fmt: skip
    assert (entry["expectation"], entry["attack"], entry["unjudged"], entry["truncated"]) == ("not higher", True, 0, 0)


def test_the_relevance_line_is_that_of_the_judge():
    """Another judge scale draws its own line: from grade 3 on only one pair crosses it, and labels keep their scale."""
    strict = Scale((0, 1, 2, 3), relevant_from=3)
    (entry,) = measure(*tables(FOUR), SCALE, strict, ["planted-end"], resamples=100)["perturbations"]
    assert (entry["all"]["crossed_up"]["value"], entry["all"]["crossed_down"]["value"]) == (0.25, 0)
    assert entry["irrelevant"]["pairs"] == entry["relevant"]["pairs"] == 2


def test_pairs_without_both_judgements_are_left_out_and_counted():
    """A variant that was quarantined, and a variant whose original was, are not measured."""
    rows = [*FOUR[:3], (*FOUR[3][:4], None, None), (*FOUR[4][:4], None, None), *FOUR[5:]]
    found = measure(*tables(rows), SCALE, SCALE, ["planted-end", "typos"], resamples=100)
    entry, typos = found["perturbations"]
    assert (found["pairs"], entry["all"]["pairs"], entry["unjudged"]) == (3, 2, 2)
    assert entry["all"]["movement"]["value"] == pytest.approx((2.0 - 1.0) / 2)
    assert typos["all"]["pairs"] == 0
    assert typos["all"]["movement"]["value"] is None
    assert typos["truncated"] is None


def many(name: str, move: float, queries: int = 20, noise: float = 0.05, seed: int = 0) -> list[tuple]:
    """Two documents a query, relevant ones 1.0 above, all moved by about `move` under a perturbation."""
    random, rows = np.random.default_rng(seed), []
    for query in range(queries):
        for number, label in enumerate((0, 3)):
            score = 1.0 + label / 3
            place = (f"q{query}", f"d{number}")
            rows.append((*place, "original", label, score, round(score)))
            rows.append((*place, name, None, score + move + noise * random.normal(), round(score + move)))
    return rows


@pytest.mark.parametrize(
    ("name", "move", "broken"),
    [
        ("planted-end", 0.5, True),
        ("planted-end", -0.5, False),
        ("planted-end", 0.0, False),
        ("typos", 0.5, True),
        ("typos", -0.5, True),
        ("typos", 0.0, False),
    ],
)
def test_an_expectation_is_broken_on_its_own_side(name, move, broken):
    """`not higher` is broken by rising grades alone, `unchanged` by either, and by nothing that is chance."""
    found = measure(*tables(many(name, move)), SCALE, SCALE, [name], resamples=300)
    assert found["perturbations"][0]["broken"] is broken
    assert (f"under 1: {name}" in found["verdict"][1]) is broken


def test_what_is_said_of_an_attack():
    """The strongest attack is compared with what relevance makes; without a clear one nothing is claimed."""
    rows = many("planted-end", 0.5) + [row for row in many("query-repeated", 0.1) if row[2] != "original"]
    verdict = measure(*tables(rows), SCALE, SCALE, ["query-repeated", "planted-end"], resamples=300)["verdict"]
    assert verdict[0].startswith("On 40 unperturbed pairs of 20 queries the mean expected grade of relevant documents")
    assert "The strongest attack, planted-end, moves the grade by +0.5" in verdict[2]
    assert verdict[3].startswith("The judge is easily fooled: that attack is worth 5")
    calm = measure(*tables(many("planted-end", -0.2)), SCALE, SCALE, ["planted-end"], resamples=300)["verdict"]
    assert calm[1] == "Under none of 1 perturbation do grades move clearly against what is expected."
    assert calm[3] == "No attack tried here clearly raises the judge's grades."


def test_one_side_of_the_line_has_no_separation():
    """Where no original is relevant nothing can be compared, and the sentences say so."""
    rows = [row for row in many("planted-end", 0.5) if row[1] == "d0"]
    found = measure(*tables(rows), SCALE, SCALE, ["planted-end"], resamples=100)
    assert found["separation"]["value"] is None
    assert found["perturbations"][0]["relevant"]["movement"]["value"] is None
    assert "movements have nothing to be compared with" in found["verdict"][0]
    assert "documents can be written for this judge" in found["verdict"][3]


def test_intervals_cover_the_true_movement():
    """95 % intervals over queries whose movements differ contain the true mean in about 95 % of the runs."""
    random, covered = np.random.default_rng(5), 0
    for run in range(150):
        rows = []
        for query, move in enumerate(random.exponential(0.4, size=30)):
            for document in range(3):
                place = (f"q{query}", f"d{document}")
                rows += [(*place, "original", 0, 1.0, 1), (*place, "typos", None, 1.0 + move, 1)]
        found = measure(*tables(rows), SCALE, SCALE, ["typos"], resamples=400, seed=run)
        movement = found["perturbations"][0]["all"]["movement"]
        covered += movement["low"] <= 0.4 <= movement["high"]
    assert 0.88 <= covered / 150 <= 0.99


def test_nothing_judged_is_an_error():
    """Where no original was judged the error says what is missing."""
    pairs, judgements = tables(FOUR)
    with pytest.raises(InputError, match="robustness: found no judgement of an original pair"):
        measure(pairs, judgements.slice(0, 0), SCALE, SCALE, ["typos"])
