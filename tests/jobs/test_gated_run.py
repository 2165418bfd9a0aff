"""A whole run with a judge that nobody trained: the gate stops it before it relabels, and may be changed afterwards."""

from __future__ import annotations

import pytest

from jobs.recipe import load_recipe
from jobs.run import run
from relabel.demo import write_beir
from relabel.errors import GateError
from relabel.storage import Folder
from relabel.tables import read_manifest

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

#: The demo's recipe with the lexical judge, calibrated, over a few questions.
SETTINGS = (
    "judge.engine=lexical",
    "judge_training=null",
    "prepare.max_queries=4",
    "prepare.first_stage.depth=8",
    "held_out.max_queries=8",
    "test.max_queries=3",
    "adjust.rules=[replace]",
    "calibration={resamples: 100}",
)


class Enough(Exception):
    """Raised by the log where the test has seen what it came for."""


def _until(stage: str, lines: list[str]):
    """A log that keeps its lines and ends the run where `stage` begins."""

    def log(line: str) -> None:
        lines.append(line)
        if line == f"— {stage}":
            raise Enough

    return log


@pytest.mark.timeout(900)
def test_an_untrained_judge_is_stopped_and_goes_on_at_ones_own_risk(tmp_path):
    """The message says what falls short, by how much and what to do; nothing is relabelled. With `warn` the same folder
    goes on from there, calibrates and judges, and prepares and measures nothing again."""
    write_beir(tmp_path / "collection")
    datasets = [f"{table}.dataset={tmp_path}/collection" for table in ("prepare", "human", "held_out", "test")]
    folder = Folder(tmp_path / "run")
    words = (
        r"evidence/gate\.json: found a judge that must not relabel: .*AUC\(≥2\) inside a query less the zero-shot "
        r"encoder's 0\.\d\d is −?0\.\d\d \[−0\.\d\d, −?0\.\d\d\], a lower bound above 0\.00 is wanted: 0\.\d\d short.*"
        r"Next: .*--set gate\.on_failure=warn to go on at your own risk: what is done is kept"
    )
    with pytest.raises(GateError, match=words):
        run(load_recipe("demo", [*datasets, *SETTINGS, "gate.on_failure=stop"]), folder, log=(first := []).append)
    assert "— agreement" in first
    assert not folder.exists("judgements")
    assert not folder.exists("calibration")
    assert folder.read_json("evidence/gate.json")["passed"] is False

    with pytest.raises(Enough):
        run(load_recipe("demo", [*datasets, *SETTINGS]), folder, log=_until("adjust keep", again := []))
    stages = [line for line in again if line.startswith("— ")]
    undone = [line for line in stages if not line.endswith("done already")]
    assert undone == ["— gate", "— calibrate", "— judge", "— adjust keep"]
    assert "gate: the judge fails and the recipe says warn: the run goes on at your own risk" in again
    (judge,) = {name.split("/")[0] for name in (folder / "judgements").names(recursive=True)}
    about = read_manifest(folder / "judgements" / judge, "judgements").about
    assert about["judge_id"] == judge != folder.read_json("run.json")["judge_id"]
    assert about["calibration"] == f"{folder.uri}/calibration/calibration.json"
