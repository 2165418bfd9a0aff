"""How fast things go: measured here just now, in earlier runs on such hardware, or the defaults that are listed below.

A rate is work a second of one actor or worker; a start is the seconds of a stage in which it does no work yet (Ray's
processes, imports, loading, compiling, export). Both have a key, such as `judge` or `start judge`, and a source.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relabel.planning.uncertain import Uncertain


@dataclass(frozen=True)
class Rate:
    """A rate or a start, and where it comes from."""

    found: Uncertain
    source: str

    def to_json(self) -> dict:
        return self.found.to_json() | {"source": self.source}


#: What a measured rate is off by at least: the same stage twice on the same busy machine.
MEASURED = 1.25
#: What a default is off by.
DEFAULT = 2.0
#: FLOP a second that a judge of 135 M parameters reaches, 2 × parameters × tokens: 413 tokens/s on two AVX2 cores in
#: float32, 1,850 on two cores with AMX in bfloat16, 196,900 on an H200 (docs/results.md, docs/experiments.md).
FLOPS = {"core": 0.056e12, "core with bfloat16": 0.25e12, "gpu": 53e12}
#: A trained token costs a forward pass and a backward pass of twice that.
TRAINED = 3.0
#: Seconds in which a stage does no work, measured on two AVX2 cores (`cpu`), and on an H200 with 16 cores (`gpu`,
#: docs/results.md) as far as stages of `trec-dl-gpu` were run there, its `engine`, which is not compiled, on an H100
#: (docs/experiments.md; one that writes queries takes a minute more); the others are those of the cores. `stage` is Ray
#: Data's processes, `engine` and `encoder` an actor's imports and loading, `training` Ray Train's and DeepSpeed's,
#: `system` one encoder in an evaluation.
STARTS: dict[str, dict[str, float]] = {
    "cpu": {
        "ray": 12, "stage": 12, "engine": 45, "encoder": 25, "training": 48, "agreement": 8, "evaluate": 2, "system": 2,
        "adjust": 10, "calculation": 3,
    },
    "gpu": {
        "ray": 12, "stage": 10, "engine": 33, "encoder": 25, "training": 30, "agreement": 8, "evaluate": 2, "system": 2,
        "adjust": 10, "calculation": 3,
    },
}  # fmt: skip
#: Seconds a million parameters to write a checkpoint, or to export the model; the same two cores and their disk.
CHECKPOINT = 0.13
#: Pairs a second that need no model, an actor (docs/results.md: judge 22,085 to 28,284, adjust 75,006 to 86,446).
PLAIN = {"lexical": 25_000, "length": 25_000, "bm25": 10_000, "adjust": 80_000}


def defaults(
    parameters: int, encoder_parameters: int, tokens: float, gpu: bool, cores: int, fast: bool
) -> dict[str, Rate]:
    """Rates where nothing was measured: FLOP a second of the hardware over those of the work; a factor of 2 either way.

    Args:
        parameters: of the judge's language model; `encoder_parameters`: of the re-rankers' encoder.
        tokens: of a pair.
        gpu: whether an actor has a GPU, else `cores`; `fast`: they multiply in bfloat16.
    """
    flops = FLOPS["gpu"] if gpu else FLOPS["core with bfloat16" if fast else "core"] * cores
    device = "a GPU" if gpu else f"{cores} cores"
    forward, encoder = flops / (2 * max(1, parameters)), flops / (2 * max(1, encoder_parameters)) / max(1.0, tokens)
    found = {
        "judge": forward,
        "generate-queries": forward * 2,  # its prompts share all but the document
        "train-judge": forward / TRAINED / max(1.0, tokens),
        "train-judge weak": 2 * forward / TRAINED / max(1.0, tokens),  # pairs of a document share its computation
        "train-reranker": encoder / TRAINED,
        "encoder": encoder,
        "encoder in full": encoder,
        **PLAIN,
    }
    rates = {name: Rate(Uncertain.within(value, DEFAULT), f"default for {device}") for name, value in found.items()}
    kind = "gpu" if gpu else "cpu"
    starts = {
        f"start {name}": Rate(Uncertain.within(value, 1.4), f"measured constant ({kind})")
        for name, value in STARTS[kind].items()
    }
    for name, size in (("judge", parameters), ("reranker", encoder_parameters)):
        seconds = Uncertain.within(CHECKPOINT * size / 1e6, 1.6)
        starts[f"start checkpoint {name}"] = Rate(seconds, "measured constant, by parameters")
    return rates | starts


def slowed(rates: Mapping[str, Rate], factor: float) -> dict[str, Rate]:
    """Rates with their constant starts taken `factor` times (at least a half, at most four): imports and loading go as
    fast as the machine that runs them is and as others leave it."""
    factor = min(4.0, max(0.5, factor))
    if factor == 1.0:
        return dict(rates)
    return {
        key: Rate(rate.found.times(factor), f"{rate.source}, × {factor:.1f} as the judge's start here")
        if key.startswith("start ")
        else rate
        for key, rate in rates.items()
    }


def model_parameters(folder: Path) -> int:
    """Parameters of a model folder, read from the headers of its safetensors files."""
    total = 0
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as stream:
            header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
        for name, tensor in header.items():
            if name != "__metadata__":
                size = 1
                for side in tensor["shape"]:
                    size *= side
                total += size
    return total


def merged(base: Mapping[str, Rate], better: Mapping[str, list[float]], source: str) -> dict[str, Rate]:
    """`base` with what was measured put over it."""
    measured = {key: Rate(Uncertain.of(values, MEASURED), source) for key, values in better.items() if values}
    return {**base, **measured}
