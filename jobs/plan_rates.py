"""How fast a recipe's stages go: defaults, over them what earlier runs measured, and what is measured here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jobs.judge import engines_of, resolve
from jobs.plan_counts import Counts
from jobs.rehearsal import Trainer, rehearse_judge
from jobs.run_stages import zero_shot, zero_shot_max_length
from relabel import hardware
from relabel.judges.config import MODEL_FREE, PROMPTED
from relabel.models import local_model
from relabel.planning import rates as known
from relabel.planning.rates import Rate
from relabel.planning.sample import tokens_of
from relabel.planning.uncertain import Uncertain

Log = Callable[[str], None]
Found = dict[str, list[float]]


def settled_rates(counts: Counts, measure: bool, earlier: Found, source: str, log: Log) -> Mapping[str, Rate]:
    """Rates and starts of all stages; fills in `counts.tokens` of a judge that asks no language model.

    Args:
        measure: time judge, encoder and trainings here where `earlier` says nothing of them.
        earlier: what earlier runs measured, and `source`, their names.
    """
    timed = not counts.prompted or (measure and "judge" not in earlier)
    measured, factor = _judge(counts, log) if timed else ({}, 1.0)
    if measure:
        measured |= _trainings(counts, earlier, log)
    rates = known.merged(known.slowed(_defaults(counts), factor), measured, "measured here")
    return known.merged(rates, earlier, source)


def _judge(counts: Counts, log: Log) -> tuple[Found, float]:
    """The judge timed on pairs, and how many times the constant its start took (1 where it has no model); what asks no
    language model also says how many tokens it reads."""
    _, name = resolve(counts.judge)
    log(f"plan: timing the judge {name} on a few pairs")
    samples = {} if counts.prompted else {table: sample.pairs for table, sample in counts.samples.items()}
    rehearsed = rehearse_judge(counts.judge, name, counts.samples["pairs"].shard, samples)
    for table, (tokens, truncated) in rehearsed.lengths.items():
        counts.tokens[table] = tokens_of(counts.samples[table], tokens, truncated, counts.recipe.seed)
    constants = known.STARTS["gpu" if counts.judge.on_gpu else "cpu"]
    modelled = engines_of(counts.judge) - MODEL_FREE
    factor = rehearsed.start / constants["engine" if modelled & PROMPTED else "encoder"] if modelled else 1.0
    stage = constants["stage"] * min(4.0, max(0.5, factor))
    return {"judge": rehearsed.rates, "start judge": [stage + rehearsed.start]}, factor


def _trainings(counts: Counts, earlier: Found, log: Log) -> Found:
    recipe, found = counts.recipe, {}
    with Trainer(recipe.judge_training or recipe.reranker) as trainer:
        pairs = counts.samples[counts.held_out].pairs
        for key, length in {"encoder": zero_shot_max_length(recipe), "encoder in full": None}.items():
            load, rate = trainer.encoder(zero_shot(recipe), pairs, length)
            found |= {key: [rate], "start system": [load]}
        if recipe.judge_training and "train-judge" not in earlier:
            log("plan: timing steps of train-judge")
            training = counts.training(recipe.judge_training, "human")
            found["train-judge"] = trainer.steps(counts.graded, training)
        if counts.rankings and "train-reranker" not in earlier:
            log("plan: timing steps of train-reranker")
            found["train-reranker"] = trainer.steps(counts.rankings[max(counts.rankings)], recipe.reranker)
    return found


def _defaults(counts: Counts) -> dict[str, Rate]:
    judge, modelled = counts.judge, engines_of(counts.judge) - MODEL_FREE
    encoder = known.model_parameters(local_model(counts.recipe.reranker.model))
    size = encoder
    if modelled and judge.engine != "panel":
        size = known.model_parameters(local_model(judge.model))
    fast = hardware.compute_dtype(judge.dtype, judge.on_gpu).value == "bfloat16"
    mean = counts.tokens["pairs"].mean
    found = known.defaults(size, encoder, mean, judge.on_gpu, hardware.cores(), fast)
    engine = "start engine" if modelled & PROMPTED else "start encoder"
    parts = ["start stage", *([engine] if modelled else [])]
    start = Uncertain.within(sum(found[name].found.value for name in parts), 1.4)
    found["start judge"] = Rate(start, found["start stage"].source)
    if not modelled:
        plain = Uncertain.within(known.PLAIN[judge.engine] * mean, known.DEFAULT)
        found["judge"] = Rate(plain, found["judge"].source)
    return found
