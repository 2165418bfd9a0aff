"""`relabel adjust --rule at-precision`: learns on human grades and leaves what it promised with the labels."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.adjust import adjust
from relabel.calibration.fit import CalibrateConfig, calibrate
from relabel.calibration.record import Calibration
from relabel.errors import ConfigError
from relabel.labels import AdjustConfig
from relabel.lineage import query_fingerprint, read_queries_seen
from relabel.promises.kept import measure_promises
from relabel.storage import Folder
from relabel.tables import TableWriter, read_whole
from tests.relabel.calibration.cases import GRADED, simulate, write_case


def _config(folder: Folder, **keys) -> AdjustConfig:
    values = {
        "pairs": (folder / "todo" / "human").uri,
        "judgements": (folder / "calibrated").uri,
        "human": (folder / "human").uri,
        "human_judgements": (folder / "judged").uri,
        "rule": "at-precision",
        "target": 0.75,
    }
    return AdjustConfig.load(values | keys, "test")


def test_human_grades_are_asked_for(tmp_path):
    """Without them, or with thresholds that somebody wrote down, nothing promises anything."""
    folder = Folder(tmp_path)
    write_case(folder / "todo", *simulate(4, 5, seed=1))
    config = _config(folder, human="", judgements=(folder / "todo" / "judged").uri)
    with pytest.raises(ConfigError, match=r"no human grades to learn thresholds on; .*--human and --human-judgements"):
        adjust(config, folder / "labels")
    config = _config(folder, learned=True, promote_from=0.5, judgements=(folder / "todo" / "judged").uri)
    with pytest.raises(ConfigError, match="thresholds that were not learned here"):
        adjust(config, folder / "labels")


@pytest.mark.integration
@pytest.mark.usefixtures("ray_session")
def test_labels_change_over_the_learned_threshold_alone(tmp_path):
    """A calibrated judge's labels change exactly over the threshold of `promise.json`; the rule in `table.json` has it,
    the human queries count as seen, and promised stands against achieved on other grades."""
    folder = Folder(tmp_path)
    write_case(folder, *simulate(200, 12, seed=1, sharpness=2.0, biases=(-1, 0, 0.5, 0.5)))
    logprobs, truth, query = simulate(60, 12, seed=2, sharpness=2.0, biases=(-1, 0, 0.5, 0.5))
    write_case(folder / "todo", logprobs, np.where(truth >= 2, 1, 2), query + 1000)
    logprobs, truth, query = simulate(60, 12, seed=3, sharpness=2.0, biases=(-1, 0, 0.5, 0.5))
    write_case(folder / "test", logprobs, truth, query + 190)  # ten of its queries were learned on
    tables = {"judgements": (folder / "judged").uri, "human": (folder / "human").uri}
    calibrate(CalibrateConfig(**tables, reserve=0.5, resamples=100), folder / "calibration", lambda line: None)
    address = f"{folder.uri}/calibration/calibration.json"
    calibration = Calibration.read(address)
    for raw, out in (("todo", folder / "calibrated"), ("test", folder / "test" / "calibrated")):
        writer = TableWriter(out, "judgements", GRADED)
        writer.write(calibration.applied(read_whole(folder / raw / "judged", "judgements")))
        writer.finish({"judge_id": calibration.calibrated_id, "calibration": address})

    manifest = adjust(_config(folder), folder / "labels", (lines := []).append)
    promise = (folder / "labels").read_json("promise.json")
    thresholds = {name: entry["threshold"] for name, entry in promise["directions"].items()}
    assert promise["queries_tested"] == 100
    assert thresholds["demote"] is not None
    assert f"adjust at-precision: {promise['sentences'][1]}" in lines
    rule = manifest.about["rule"]
    assert (rule["promote_from"], rule["demote_from"], rule["learned"]) == (*thresholds.values(), True)
    labels = read_whole(folder / "labels", "labels")
    relevant = np.array(labels["judge_probabilities"].to_pylist())[:, 2:].sum(axis=1)
    positive = labels["original_label"].to_numpy() >= 2
    demoted = positive & (1 - relevant >= thresholds["demote"] - 1e-6)
    promoted = ~positive & (relevant >= (thresholds["promote"] or 2) - 1e-6)
    actions = np.array(labels["action"].to_pylist())
    assert np.array_equal(actions == "demoted", demoted)
    assert np.array_equal(actions == "promoted", promoted)
    assert demoted.sum() > 20
    seen = {query_fingerprint(f"question number {number}") for number in range(200)}
    assert read_queries_seen(folder / "labels") == seen
    assert manifest.about["selected_on"] == [(folder / "labels").uri, (folder / "calibration").uri]
    test = folder / "test"
    found = measure_promises({"mine": folder / "labels"}, test / "calibrated", test / "human", folder / "out")
    assert found["mine"]["achieved"]["demote"]["kept"]
    assert found["mine"]["achieved"]["demote"]["queries"] <= 50
    assert (folder / "out").read_json("promises.json") == found
