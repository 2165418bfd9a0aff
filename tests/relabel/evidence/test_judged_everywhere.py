"""nDCG over graded and ungraded queries: people's grades on some, a judge's on all."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from relabel.errors import CircularEvidence, InputError
from relabel.evidence.evaluate import FIRST_STAGE, EvaluateConfig, evaluate
from relabel.evidence.prediction_powered import prediction_powered_mean
from relabel.lineage import query_fingerprint, write_queries_seen
from relabel.records import JUDGEMENTS, PAIRS, Scale
from relabel.report.blocks import Table
from relabel.report.ranking import _powered
from relabel.storage import Folder
from relabel.tables import TableWriter

SCALE = Scale((0, 1, 2, 3), relevant_from=2)
NDCG = "nDCG@10 (linear gain)"
GRADED, UNGRADED, DEPTH = 12, 28, 6


def write_tables(folder: Folder, noise: float = 0.0, graded: int = GRADED, seed: int = 0) -> np.ndarray:
    """Tables `test` and `judged`: people grade the first queries, the judge all, with noise on its expected grade.

    Returns nDCG@10 of BM25's order under the true grades [queries].
    """
    random = np.random.default_rng(seed)
    truth = random.choice(4, size=(GRADED + UNGRADED, DEPTH), p=[0.4, 0.3, 0.2, 0.1])
    truth[:, -1] = 3  # so that every query has a gain
    pairs, judgements = [], []
    for query, grades in enumerate(truth):
        for rank, grade in enumerate(grades):
            key = {"query_id": f"q{query}", "doc_id": f"d{rank}"}
            label = float(grade) if query < graded else None
            pairs.append(
                key | {"query": f"question {query}", "title": "", "text": f"text {rank}", "label": label,
                       "label_source": "human" if label is not None else "unlabelled", "query_frequency": None,
                       "first_stage_rank": rank + 1, "first_stage_score": 9.0 - rank}
            )  # fmt: skip
            distance = np.abs(np.arange(4) - np.clip(grade + noise * random.normal(), 0, 3))
            probabilities = np.maximum(0, 1 - distance)  # between the two nearest grades: its mean is the noisy grade
            judgements.append(
                key | {"grade": int(np.argmin(distance)), "score": 0.0, "probabilities": probabilities.tolist(),
                       "logprobs": [0.0] * 4, "off_label_mass": 0.0, "prompt_tokens": 1, "truncated": False,
                       "judge_id": "judge-1"}
            )  # fmt: skip
    for name, kind, rows, schema in (("test", "pairs", pairs, PAIRS), ("judged", "judgements", judgements, JUDGEMENTS)):
        writer = TableWriter(folder / name, kind, SCALE)
        writer.write(pa.Table.from_pylist(rows, schema))
        writer.finish({"judge_id": "judge-1", "judge_folder": (folder / "judge").uri} if kind == "judgements" else {})
    discount = 1 / np.log2(np.arange(DEPTH) + 2)
    return truth @ discount / (np.sort(truth, axis=1)[:, ::-1] @ discount)


def evaluated(folder: Folder, **options) -> dict:
    config = EvaluateConfig(test=(folder / "test").uri, judgements=(folder / "judged").uri, resamples=100, **options)
    return evaluate(config, folder / "out", lambda line: None)


def test_a_judge_that_agrees_with_people_stands_for_them(tmp_path):
    """λ and mean are those of the ungraded queries' true nDCG; the interval is narrower than that of people alone."""
    ndcg = write_tables(Folder(tmp_path))
    found = evaluated(Folder(tmp_path))
    expected = prediction_powered_mean(ndcg[:GRADED], ndcg[:GRADED], ndcg[GRADED:])
    one = found["prediction_powered"]["values"][FIRST_STAGE]
    assert one["value"] == pytest.approx(expected.interval.to_json(), abs=1e-6)
    assert one["human_only"]["value"] == pytest.approx(found["values"][FIRST_STAGE][NDCG]["value"])
    assert one["tuning"] == pytest.approx(expected.tuning, abs=1e-6)
    assert (one["human_queries"], one["judged_queries"]) == (GRADED, UNGRADED)
    assert one["value"]["high"] - one["value"]["low"] < one["human_only"]["high"] - one["human_only"]["low"]
    assert f"Over {GRADED} graded and {UNGRADED} ungraded queries" in found["findings"][-1]


def test_expected_gains_are_what_the_judge_contributes(tmp_path):
    """A noisy judge weighs less than one that agrees, with either gain."""
    tuning = {}
    for noise in (0.0, 1.5):
        folder = Folder(tmp_path / str(noise))
        write_tables(folder, noise)
        for gain in ("linear", "exponential"):
            values = evaluated(folder, gain=gain)["prediction_powered"]["values"]
            tuning[noise, gain] = values[FIRST_STAGE]["tuning"]
    assert tuning[1.5, "linear"] < 0.8 * tuning[0.0, "linear"]
    assert tuning[1.5, "exponential"] < 0.8 * tuning[0.0, "exponential"]


def test_queries_that_the_judge_has_seen_count_on_neither_side(tmp_path):
    """One graded and one ungraded query leave; all of them are circular."""
    folder = Folder(tmp_path)
    write_tables(folder)
    write_queries_seen(folder / "judge", map(query_fingerprint, ["question 0", "Question 39", "elsewhere"]))
    found = evaluated(folder)["prediction_powered"]
    one = found["values"][FIRST_STAGE]
    assert (one["human_queries"], one["judged_queries"]) == (GRADED - 1, UNGRADED - 1)
    assert found["queries_left_out"] == {"seen by the judge": 2, "without a judgement": 0}
    write_queries_seen(folder / "judge", (query_fingerprint(f"question {number}") for number in range(8)))
    with pytest.raises(InputError, match=r"judged: found 4 human-labelled and 28 other queries"):
        evaluated(folder)
    write_queries_seen(folder / "judge", (query_fingerprint(f"question {number}") for number in range(40)))
    with pytest.raises(CircularEvidence, match="only queries that the judge was trained on"):
        evaluated(folder)


def test_too_few_graded_or_ungraded_queries_are_refused(tmp_path):
    """Before anything is scored, with both counts and what to do."""
    for graded, found in ((4, "4 human-labelled and 36 other"), (40, "40 human-labelled and 0 other")):
        folder = Folder(tmp_path / str(graded))
        write_tables(folder, graded=graded)
        with pytest.raises(InputError, match=rf"test: found {found} queries; wanted at least 5 and 2"):
            evaluated(folder)
        assert not (tmp_path / str(graded) / "out").exists()


def test_judgements_of_other_pairs_are_refused(tmp_path):
    """They are named, with the command that makes the right ones."""
    write_tables(Folder(tmp_path))
    judged = Folder(tmp_path / "judged")
    row = {"query_id": "other", "doc_id": "d0", "grade": 0, "score": 0.0, "probabilities": [1.0, 0, 0, 0],
           "logprobs": [0.0] * 4, "off_label_mass": 0.0, "prompt_tokens": 1, "truncated": False,
           "judge_id": "judge-1"}  # fmt: skip
    writer = TableWriter(judged, "judgements", SCALE)
    writer.write(pa.Table.from_pylist([row], JUDGEMENTS))
    writer.finish({"judge_id": "judge-1"})
    with pytest.raises(InputError, match=r"no judgement of the 240 test pairs; .*relabel judge --pairs TEST"):
        evaluated(Folder(tmp_path))


def test_the_report_shows_both_means(tmp_path):
    """One row a system, the mean with the judge's help beside that of people alone."""
    write_tables(Folder(tmp_path))
    text, table = _powered(evaluated(Folder(tmp_path))["prediction_powered"])
    assert text.text.startswith(f"People graded {GRADED} queries, the judge another {UNGRADED}")
    assert isinstance(table, Table)
    assert table.columns == ["", "with the judge's help", "graded queries alone", "λ"]
    assert [row[0] for row in table.rows] == [FIRST_STAGE]
