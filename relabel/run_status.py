"""How far a run is, from its folder alone: so it can be asked from another machine, on S3, and after a crash.

Shards tell by their markers what was done, when, and by which worker; trainings by their newest checkpoint; a plan
(`relabel plan --out RUN`) tells what is left in all. Nothing is asked of Ray, so a worker counts as alive where it
finished a shard within a few shards' time. Pure functions of files and of the time `now` (seconds since 1970).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from relabel.ledger import PLAN, Marker, finished_shards, read_plan
from relabel.lock import is_held
from relabel.planning.estimate import ESTIMATE
from relabel.progress import duration
from relabel.storage import Folder
from relabel.tables import MANIFEST, read_manifest
from relabel.words import count, value

#: Seconds that count as recent, at least; and shards' times, where shards take longer.
RECENT_SECONDS, RECENT_SHARDS = 120.0, 3.0
STATE = "state.json"


@dataclass(frozen=True)
class TableStatus:
    """A sharded table.

    Attributes:
        shards, rows: in all; `shards_done`, `rows_done`: of them.
        quarantined: rows by reason.
        rate: rows a second lately, None before the first shard; `seconds_left`: at that rate.
        alive: workers that finished a shard lately; None where markers do not name workers.
        restarts: workers that took the place of a dead one.
        quiet: seconds since the last shard was finished, None before the first.
        complete: the table is finished and reconciled.
    """

    shards: int
    shards_done: int
    rows: int
    rows_done: int
    quarantined: Mapping[str, int]
    rate: float | None = None
    alive: int | None = None
    restarts: int = 0
    quiet: float | None = None
    recent: float = RECENT_SECONDS
    complete: bool = False

    @property
    def seconds_left(self) -> float | None:
        return (self.rows - self.rows_done) / self.rate if self.rate else None


def table_status(folder: Folder, now: float) -> TableStatus:
    """The status of a sharded table: of its manifest where it is complete, else of its markers."""
    plan = read_plan(folder)
    if folder.exists(MANIFEST):
        manifest = read_manifest(folder)
        reasons = manifest.about.get("quarantined_by_reason") or {}
        if manifest.quarantined and not reasons:
            reasons = {"unnamed": manifest.quarantined}
        return TableStatus(
            len(plan.shards), len(plan.shards), manifest.rows_in, manifest.rows_in, reasons, complete=True
        )
    return status_of(list(finished_shards(folder, plan).values()), len(plan.shards), plan.rows, now)


def status_of(markers: list[Marker], shards: int, rows: int, now: float) -> TableStatus:
    """The status of an unfinished table from the markers of its finished shards."""
    done, bad = sum(marker.rows_in for marker in markers), _reasons(markers)
    if not markers:
        return TableStatus(shards, 0, rows, 0, bad)
    newest = max(marker.finished for marker in markers)
    window = max(RECENT_SECONDS, RECENT_SHARDS * max(marker.busy_seconds for marker in markers))
    lately = [marker for marker in markers if marker.finished > newest - window]
    spent = newest - min(marker.started for marker in lately)
    workers = {marker.worker for marker in lately if now - marker.finished <= window}
    named = any("worker" in marker.facts for marker in markers)
    return TableStatus(
        shards,
        len(markers),
        rows,
        done,
        bad,
        rate=sum(marker.rows_in for marker in lately) / max(spent, 1e-9),
        alive=len(workers) if named else None,
        restarts=_restarts(markers),
        quiet=now - newest,
        recent=window,
    )


def _reasons(markers: Iterable[Marker]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for marker in markers:
        found.update(marker.quarantined_by_reason)
    return dict(found)


def _restarts(markers: Iterable[Marker]) -> int:
    """An actor that Ray makes again keeps its id and gets another process."""
    processes = defaultdict(set)
    for node, actor, process in (marker.worker for marker in markers):
        if actor:
            processes[actor].add((node, process))
    return sum(len(found) - 1 for found in processes.values())


def table_lines(name: str, found: TableStatus) -> Iterator[str]:
    """A table in words: shards and rows, then rate, workers and time left, then what was quarantined and why."""
    state = ", complete" if found.complete else ""
    yield (
        f"{name}: {count(found.shards_done)} of {count(found.shards)} shards, "
        f"{count(found.rows_done)} of {count(found.rows)} rows{state}"
    )
    if not found.complete:
        yield f"  {_going(found)}"
    if found.quarantined:
        reasons = ", ".join(f"{count(rows)} {reason}" for reason, rows in sorted(found.quarantined.items()))
        yield f"  quarantined: {reasons}"


def _going(found: TableStatus) -> str:
    if found.rate is None:
        return "no shard is finished yet: the first comes after a worker has started and done it"
    restarts = f", {count(found.restarts)} restarted" if found.restarts else ""
    if found.shards_done == found.shards:
        return f"{_rate(found.rate)} rows/s lately, all shards done: it is being reconciled, or was stopped before"
    if found.quiet > found.recent:
        return (
            f"nothing finished for {duration(found.quiet)}: it was stopped, or waits for machines "
            f"({_rate(found.rate)} rows/s before{restarts})"
        )
    alive = "" if found.alive is None else f", {count(found.alive)} worker(s) alive{restarts}"
    return f"{_rate(found.rate)} rows/s lately{alive}, about {duration(found.seconds_left)} left"


def _rate(rate: float) -> str:
    return count(rate) if rate >= 100 else value(rate, 1)


def run_lines(folder: Folder, record: Mapping[str, Any], now: float) -> Iterator[str]:
    """A whole run in words: its stages, its unfinished tables and trainings, what is left as planned."""
    state = f"finished {record['finished']}" if record.get("finished") else "not finished"
    at_work = is_held(folder, now)
    yield f"{record['name']}: started {record['started']}, {state}"
    for stage in record["stages"]:
        took = f"{stage['seconds']:>9.1f} s"
        begun = stage.get("begun")
        if stage["finished"]:
            said = "done"
        else:
            said = "under way" if at_work else "interrupted"
            said += f", begun {duration(now - _seconds(begun))} ago" if begun else ""
        yield f"  {stage['name']:<32} {took}  {said}"
    plans = folder.names(suffix=PLAN, recursive=True)
    for name in sorted({name.rpartition("/")[0] for name in plans}):
        yield from (f"  {line}" for line in table_lines(name, table_status(folder / name, now)))
    for name, at in sorted(_trainings(folder).items()):
        yield f"  {name}: {_training(at)}"
    if not record.get("finished") and folder.exists(ESTIMATE):
        left = planned_left(folder.read_json(ESTIMATE), record["stages"], now if at_work else None)
        yield f"  as planned about {duration(left)} left in all"


def planned_left(estimate: Mapping[str, Any], stages: Iterable[Mapping[str, Any]], now: float | None) -> float:
    """Seconds that the plan gives to what is not finished, less what was spent on it already.

    Args:
        now: Unix seconds while the run is at work; None where nobody is, and no time is spent.
    """
    known = {stage["name"]: stage for stage in stages}
    left = 0.0
    for planned in estimate["stages"]:
        stage = known.get(planned["stage"], {})
        if stage.get("finished") or "done_seconds" in planned or planned["stage"] == "start":
            continue
        spent = stage.get("seconds", 0.0)
        if now is not None and stage.get("begun"):
            spent += now - _seconds(stage["begun"])
        left += max(0.0, planned["seconds"]["value"] - spent)
    return left


def _trainings(folder: Folder) -> dict[str, dict[str, Any]]:
    """Name of a training that is not finished → state of its newest checkpoint, {} before the first."""
    found = {}
    for name in ("judge_weak", "judge", *(f"rerankers/{one}" for one in _rerankers(folder))):
        out = folder / name
        if not out.exists("training-started.json") or out.exists("training.json"):
            continue
        steps = sorted(path for path in (out / "checkpoints").names("step-", recursive=True) if path.endswith(STATE))
        found[name] = (out / "checkpoints").read_json(steps[-1]) if steps else {}
    return found


def _rerankers(folder: Folder) -> list[str]:
    inside = (folder / "rerankers").names(suffix="training-started.json", recursive=True)
    return sorted({path.split("/")[0] for path in inside})


def _training(state: Mapping[str, Any]) -> str:
    if not state:
        return "no checkpoint yet"
    rate = f", {value(state['pairs'] / state['seconds'], 1)} pairs/s" if state.get("seconds") else ""
    loss = f", loss {value(state['losses'][-1])}" if state.get("losses") else ""
    return f"checkpoint of step {count(state['step'])}{rate}{loss}"


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
