"""Adjust: pairs and judgements in, labels out under a named rule, with a report of what changed (`change.json`).

relabel adjust --pairs RUN/pairs --judgements RUN/judgements/JUDGE_ID --rule replace --out RUN/labels/replace
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from relabel.calibration.human_pairs import HumanPairs, read_human_pairs
from relabel.errors import ConfigError, InputError
from relabel.labels import AdjustConfig, AtPrecision, ChangeCounts, Rule, adjust_rows, judgements_of
from relabel.ledger import PLAN, Marker, Plan, Shard, fingerprints, part_name, read_plan
from relabel.lineage import write_queries_seen
from relabel.promises.learn import PROMISE, learn
from relabel.records import JUDGEMENTS, QUARANTINE, Scale
from relabel.storage import Folder
from relabel.tables import MANIFEST, Manifest, counted, read_manifest, read_parts, read_whole

#: Rows a shard where the judgements were not made by `relabel judge` over the same pairs.
SHARD_ROWS = 16_384
CHANGE = "change.json"


class AdjustWorker:
    """A rule in an actor: one shard of pairs in, its labels out.

    Args:
        planned: rows in all and rows a shard where the judgements were planned over the same shards of the same pairs;
            else all judgements go into memory.
    """

    def __init__(
        self,
        judgements: str,
        planned: tuple[int, int] | None,
        rule: Rule,
        pairs_scale: Scale | None,
        judge_scale: Scale,
        judge: str,
    ):
        self._judgements, self._planned = Folder(judgements), planned
        self._rule, self._scales, self._judge = rule, (pairs_scale, judge_scale), judge
        self._whole = None if planned else read_whole(self._judgements, "judgements")

    def __call__(self, pairs: pa.Table, shard: Shard) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
        judged = self._of(pairs, shard)
        labels = adjust_rows(pairs, judged, *self._scales, self._rule, self._judge)
        return labels, QUARANTINE.empty_table(), {"actions": counted(labels["action"])}

    def _of(self, pairs: pa.Table, shard: Shard) -> pa.Table:
        if not self._planned:
            return judgements_of(pairs, self._whole)
        judged = self._judgements.read_table(part_name(shard.index), JUDGEMENTS.names)
        rows, a_shard = self._planned
        if pairs.num_rows < min(a_shard, rows - shard.index * a_shard):  # a piece of it, or without rows set aside
            return judgements_of(pairs, judged)
        return judged


def adjust(config: AdjustConfig, out: Folder, log: Callable[[str], None] = print) -> Manifest:
    """Adjust the labels of `config.pairs` by `config.judgements` into `out`.

    Raises:
        ConfigError: for `at-precision` without human grades to learn its thresholds on.
        InputError: where the judgements are of several judges, or a table is unfinished.
        LedgerError: where rows were lost or doubled, or `out` holds another rule's work.
    """
    from jobs.cluster import connect
    from jobs.shards import Stage, run_stage

    pairs, judgements = Folder(config.pairs), Folder(config.judgements)
    judged, rule = read_manifest(judgements, "judgements"), config.load_rule()
    if judged.scale is None or "judge_id" not in judged.about:
        raise InputError(f"{judgements.uri}/table.json", "no scale or judge_id", "a table that `relabel judge` wrote")
    people, promise = None, None
    if isinstance(rule, AtPrecision):
        people = _human_pairs(config, rule)
        originals = Folder(config.originals) if config.originals else None
        rule, promise = learn(rule, people, judged, originals=originals)
        for sentence in promise["sentences"]:
            log(f"adjust {rule.name}: {sentence}")
    prepared = read_manifest(pairs, "pairs")
    scale = prepared.scale
    plan = _plan_over(pairs, judgements)
    if not plan:
        log(f"adjust: {judgements.uri} was not planned over these pairs: its {judged.rows} rows go into memory")
    connect(log)
    judge = judged.about["judge_id"]
    stage = Stage(
        name=f"adjust {rule.name}",
        kind="labels",
        task_id=_task_id(rule, judge, plan, judgements),
        worker=AdjustWorker,
        arguments={
            "judgements": judgements.uri,
            "planned": (plan.rows, plan.shard_rows) if plan else None,
            "rule": rule,
            "pairs_scale": scale,
            "judge_scale": judged.scale,
            "judge": judge,
        },
        shard_rows=plan.shard_rows if plan else SHARD_ROWS,
        scale=None,
        about={
            "rule": rule.to_json(),
            "relevant_degree": (scale or judged.scale).relevant_degree,
            "judge_id": judge,
            "judge_model": judged.about.get("model"),
            "judge_folder": judged.about.get("judge_folder"),
            "example_queries": sorted(
                {query for about in (judged.about, prepared.about) for query in about.get("example_queries") or ()}
            ),
            "selected_on": _selected_on(judged, [out.uri] if promise else []),
            "pairs": pairs.uri,
            "judgements": judgements.uri,
        },
        summary=_summary,
    )
    manifest = run_stage(stage, pairs, out, log)
    if promise:
        write_queries_seen(out, set(people.queries))
        out.write_json(PROMISE, promise)
    if not out.exists(CHANGE):
        out.write_json(CHANGE, change_of(out, scale, judged.scale).to_json())
    return manifest


def change_of(labels: Folder, pairs_scale: Scale | None, judge_scale: Scale) -> ChangeCounts:
    """What a rule changed, counted over a finished labels table in one streaming pass."""
    total = None
    for rows in read_parts(labels, "labels", batch_rows=65_536):
        counts = ChangeCounts.of(rows, pairs_scale, judge_scale)
        total = counts if total is None else total + counts
    if total is None:
        raise InputError(labels.uri, "a labels table without rows", "at least one row")
    return total


def _plan_over(pairs: Folder, judgements: Folder) -> Plan | None:
    """The plan of the judgements where it was made over exactly these pairs."""
    if not judgements.exists(PLAN):
        return None
    plan = read_plan(judgements)
    return plan if plan.inputs == fingerprints(pairs, read_manifest(pairs, "pairs").parts) else None


def _human_pairs(config: AdjustConfig, rule: AtPrecision) -> HumanPairs:
    if rule.learned or not (config.human and config.human_judgements):
        found = "thresholds that were not learned here" if rule.learned else "no human grades to learn thresholds on"
        raise ConfigError(
            "rule at-precision",
            found,
            "pairs with human grades, and the judge's judgements of them",
            "give --human and --human-judgements, or use promote-negatives with a threshold of your own",
        )
    return read_human_pairs(Folder(config.human_judgements), Folder(config.human))


def _selected_on(judged: Manifest, promised: list[str]) -> list[str]:
    """Folders whose `queries_seen.parquet` lists queries that, besides the judge's, decided these labels."""
    calibration = judged.about.get("calibration")
    return [*promised, *([Folder(calibration).uri.rpartition("/")[0]] if calibration else [])]


def _task_id(rule: Rule, judge: str, plan: Plan | None, judgements: Folder) -> str:
    """Another table of the same judge is another task: it may have judged what the first could not."""
    table = hashlib.sha256(judgements.read_bytes(MANIFEST)).hexdigest()
    facts = [rule.to_json(), judge, plan.shard_rows if plan else None, table]
    return f"{rule.name}-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]}"


def _summary(markers: list[Marker]) -> dict[str, Any]:
    actions = Counter()
    for marker in markers:
        actions.update(marker.facts["actions"])
    return {"actions": dict(actions), "busy_seconds": sum(marker.busy_seconds for marker in markers)}


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["adjust", *sys.argv[1:]]))
