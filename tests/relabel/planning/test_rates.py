"""Rates: defaults that give back what they were measured on, and what earlier runs say, where they may say it."""

from __future__ import annotations

import json
import struct

import pytest

from relabel.planning.earlier import differs, rates_of
from relabel.planning.rates import defaults, merged, model_parameters, slowed
from relabel.storage import Folder
from relabel.tables import Manifest, write_manifest

HARDWARE = {"cores": 2, "gpu": False, "bfloat16": "the CPU has no bfloat16 arithmetic", "memory_gib": 24}
RECIPE = {
    "judge": {"engine": "vllm", "model": "m", "prompt": "terse-0-3", "actors": 2},
    "judge_training": {"method": "full", "batch": 8, "workers": 1},
    "reranker": {"model": "e", "architecture": "bi-encoder", "batch": 4, "workers": 2},
}


@pytest.fixture
def run(tmp_path) -> Folder:
    """A run whose judge did 100 tokens a second and actor, and whose trainings 2 and 10 pairs a second and worker."""
    folder = Folder(tmp_path / "run")
    stages = {"train-judge": 160.0, "judge": 110.0, "adjust keep": 9.0, "train-reranker keep": 70.0}
    record = {"recipe": RECIPE, "hardware": HARDWARE}
    record["stages"] = [{"name": name, "seconds": took, "finished": "x"} for name, took in stages.items()]
    folder.write_json("run.json", record)
    about = {"tokens": 10_000, "busy_seconds": 100.0, "shards": 8}
    write_manifest(folder / "judgements" / "vllm-1", Manifest("judgements", 100, 100, 0, [], None, about))
    training = {"seconds": 40.0, "pairs_trained": 80, "workers": 1, "sessions": 1}
    (folder / "judge").write_json("training.json", training)
    (folder / "rerankers" / "keep").write_json("training.json", training | {"pairs_trained": 800, "workers": 2})
    return folder


def test_an_earlier_run_gives_rates_and_starts(run):
    """Totals of its markers and trainings over their seconds; what is left of a stage is its start."""
    assert rates_of(run, RECIPE) == {
        "judge": [100.0],
        "start judge": [110.0 - 100.0 / 2],
        "train-judge": [2.0],
        "start train-judge": [120.0],
        "train-reranker": [10.0],
        "start train-reranker": [30.0],
        "start adjust": [9.0],
    }


@pytest.mark.parametrize(
    ("section", "key", "lost"),
    [
        ("judge", "prompt", {"judge", "start judge", "train-judge", "start train-judge"}),
        ("judge_training", "method", {"train-judge", "start train-judge"}),
        ("reranker", "batch", {"train-reranker", "start train-reranker"}),
    ],
)
def test_what_costs_something_else_a_row_says_nothing(run, section, key, lost):
    """Another prompt, method or batch: the rates of that section are not taken over, the others are."""
    now = RECIPE | {section: RECIPE[section] | {key: "another"}}
    assert set(rates_of(run, RECIPE)) - set(rates_of(run, now)) == lost


def test_a_training_that_was_interrupted_says_nothing(run):
    """Its stage's seconds are not those of one launch."""
    training = (run / "judge").read_json("training.json")
    (run / "judge").write_json("training.json", training | {"sessions": 2})
    assert "train-judge" not in rates_of(run, RECIPE)


def test_another_machine_is_named():
    """Cores, GPU and arithmetic must agree; memory need not."""
    assert differs({"hardware": HARDWARE | {"memory_gib": 8}}, HARDWARE) is None
    assert differs({"hardware": HARDWARE | {"cores": 64}}, HARDWARE) == "cores 64"
    assert differs({}, HARDWARE) == "cores None"


@pytest.mark.parametrize(
    ("gpu", "cores", "fast", "measured"), [(False, 2, False, 413), (False, 2, True, 1850), (True, 16, True, 196_900)]
)
def test_defaults_are_what_was_measured(gpu, cores, fast, measured):
    """A judge of 135 M parameters: tokens a second on two cores, on two with bfloat16, on a GPU (docs/results.md)."""
    rate = defaults(134_515_008, 22_700_000, 100.0, gpu, cores, fast)["judge"]
    assert rate.found.value == pytest.approx(measured, rel=0.02)
    assert (rate.found.low, rate.found.high) == (rate.found.value / 2, rate.found.value * 2)


def test_measurements_replace_defaults_and_say_so():
    """The median of several, with their range or a quarter, whichever is wider."""
    base = defaults(134_515_008, 22_700_000, 100.0, False, 2, False)
    found = merged(base, {"judge": [90.0, 100.0, 200.0], "encoder": []}, "measured here")
    assert found["judge"].to_json() == {"value": 100.0, "low": 80.0, "high": 200.0, "source": "measured here"}
    assert found["encoder"] == base["encoder"]


def test_constants_go_as_the_judge_started_here():
    """On a machine where the judge took twice its constant to start, all starts are taken twice, and rates stay."""
    base = defaults(134_515_008, 22_700_000, 100.0, False, 2, False)
    found = slowed(base, 2.0)
    assert found["start training"].found.value == 2 * base["start training"].found.value
    assert found["start training"].source.endswith("× 2.0 as the judge's start here")
    assert found["judge"] == base["judge"]
    assert slowed(base, 50.0)["start ray"].found.value == 4 * base["start ray"].found.value


def test_parameters_are_counted_from_the_headers(tmp_path):
    """Shapes of all safetensors files of a folder, without reading a weight."""
    header = {"a": {"shape": [3, 4]}, "b": {"shape": [5]}, "__metadata__": {"format": "pt"}}
    data = json.dumps(header).encode()
    for name in ("one.safetensors", "deeper/two.safetensors"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(struct.pack("<Q", len(data)) + data)
    assert model_parameters(tmp_path) == 2 * 17
