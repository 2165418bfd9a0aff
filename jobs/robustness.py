"""Robustness: labelled pairs are perturbed, judged like any others, and the movements of their grades are measured.

    OUT/pairs (originals and variants)  OUT/judgements  OUT/robustness.json

relabel robustness --pairs RUN/held_out --engine vllm --model MODEL --prompt terse-0-3 --out OUT

The judge stage does the judging: same actors, and a killed run goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from jobs.judge import judge
from jobs.summary import movement_table
from relabel.errors import ConfigError, InputError
from relabel.formats.faults import shown
from relabel.ledger import fingerprints
from relabel.prompts import prompt_named
from relabel.robustness.config import RobustnessConfig
from relabel.robustness.movement import measure
from relabel.robustness.variants import chosen_pairs, variants
from relabel.storage import Folder
from relabel.tables import MANIFEST, TableWriter, read_manifest, read_whole

ROBUSTNESS = "robustness.json"


def robustness(config: RobustnessConfig, out: Folder, log: Callable[[str], None] = print) -> dict:
    """Perturb labelled pairs, judge originals and variants, measure how far grades move; returns `robustness.json`.

    Raises:
        InputError: for pairs without scale or labels, and as `judge` does.
        ConfigError: where `out` holds the variants of other pairs, perturbations or seed.
        LedgerError: as `judge` does; another judge in the same folder is refused.
    """
    _write_variants(config, out / "pairs", log)
    manifest = judge(config.judge.model_copy(update={"pairs": (out / "pairs").uri}), out / "judgements", log)
    pairs = read_whole(out / "pairs", "pairs", ["query_id", "doc_id", "label"])
    judgements = read_whole(out / "judgements", "judgements")
    label_scale = read_manifest(out / "pairs", "pairs").scale
    found = measure(
        pairs, judgements, label_scale, manifest.scale, config.perturbations, config.resamples, seed=config.seed
    )
    found["judge"] = {name: manifest.about.get(name) for name in ("judge_id", "engine", "model", "prompt")}
    out.write_json(ROBUSTNESS, found)
    log(movement_table(found))
    return found


def _write_variants(config: RobustnessConfig, out: Folder, log: Callable[[str], None]) -> None:
    """The table of originals and variants, unless it is there already."""
    source = Folder(config.pairs)
    manifest = read_manifest(source, "pairs")
    if manifest.scale is None:
        raise InputError(source.uri, "a pairs table without a scale", "labels with their scale", "prepare it again")
    answer = prompt_named(config.judge.prompt).labels[-1]
    made_of = {
        "inputs": fingerprints(source, manifest.parts),
        "perturbations": config.perturbations,
        "max_pairs": config.max_pairs,
        "seed": config.seed,
        "answer": answer,
    }
    if out.exists(MANIFEST):
        before = read_manifest(out, "pairs").about
        for key, wanted in made_of.items():
            if before.get(key) != wanted:
                where, found = f"{out.uri}/{MANIFEST}: {key}", f"{shown(before.get(key))}, and now {shown(wanted)}"
                raise ConfigError(where, found, "what its variants were made of", "choose another --out")
        return
    chosen = chosen_pairs(source, config.max_pairs, config.seed)
    writer = TableWriter(out, "pairs", manifest.scale)
    writer.write(variants(chosen, config.perturbations, answer, config.seed))
    rows = writer.finish({"source": source.uri} | made_of).rows
    log(f"robustness: {chosen.num_rows:,} labelled pairs became {rows:,} pairs to judge")


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["robustness", *sys.argv[1:]]))
