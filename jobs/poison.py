"""Rows that break their stage: found in ever smaller pieces of their shard, set aside with a reason, the rest goes on.

Three kinds: bytes that are no UTF-8; rows for which the worker raises; rows that end the worker's process or engine. Of
the last, what is being tried is written to `attempts/NNNNN.json` beside the markers, since the process that tries does
not live to tell. Only a worker that was started again, or whose engine is dead, writes there: an undisturbed stage pays
nothing.

Once the rows are known the shard's other rows are worked on in one call, so that they get what they would get in a run
in which those rows are refused without harm.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow as pa

from jobs.set_aside import Reasons, Work, set_aside, unreadable
from relabel.engine import EngineDead
from relabel.errors import InputError, RelabelError, in_short
from relabel.ledger import Segment, Shard
from relabel.storage import Folder
from relabel.storage_errors import is_missing
from relabel.untrusted import record

#: Deaths of workers in one stage before it fails, and the same a worker where there are many: nodes that are lost take
#: several of them at once. Those on shards that were finished since without a bad row count no more.
STAGE_DEATHS, DEATHS_A_WORKER = 60, 4
#: Deaths on one shard before it is tried in pieces.
SHARD_DEATHS = 2
#: Deaths that a row must cause alone: once may be a node that was lost at that moment.
ROW_DEATHS = 2
#: Pieces that a suspect is cut into. An engine's start takes a minute, a piece seconds: few deaths, many pieces.
PIECES = 16
#: Rows of one shard that may raise; with more it is the code or the model that is broken.
RAISING_ROWS = 16
#: Characters of what a worker raises that are kept.
SAID = 200
#: Exit code of a worker whose engine is dead.
ENGINE_DEAD = 17


@dataclass
class Attempt:
    """What was tried of a shard by workers that died of it.

    Attributes:
        running: rows [start, stop) that are being tried.
        whole: deaths with the shard as a whole.
        pieces: rows still to be tried in the search; null: no search.
        searches: searches that ended, `poison` rows found in all.
        alone: row → deaths with that row alone.
        deaths: since the stage was started, for its limit (see `most_deaths`).
        said: the last words of an engine.
    """

    shard: int
    running: list[int] | None = None
    whole: int = 0
    pieces: list[list[int]] | None = None
    searches: int = 0
    poison: list[int] = field(default_factory=list)
    alone: dict[str, int] = field(default_factory=dict)
    deaths: int = 0
    said: str = ""

    def died(self, rows: int) -> None:
        """Draw the consequence of a death with `running`."""
        start, stop = self.running
        self.deaths, self.running = self.deaths + 1, None
        if self.pieces is None:
            self.whole += 1
            if self.whole >= SHARD_DEATHS:
                self.pieces = _cut([0, rows])
        elif stop - start > 1:
            self.pieces[:1] = _cut(self.pieces[0])
        else:
            self.alone[str(start)] = self.alone.get(str(start), 0) + 1
            if self.alone[str(start)] >= ROW_DEATHS:
                self.poison.append(start)
                self.pieces.pop(0)


class Guarded:
    """A stage's worker that poison rows cannot stop.

    Args:
        work: the stage's own worker.
        out: the folder that the stage writes; `stage`: its name, for quarantine and errors.
        most_deaths: deaths of workers after which the stage fails.
    """

    def __init__(self, work: Work, out: Folder, stage: str, most_deaths: int = STAGE_DEATHS):
        self._work, self._out, self._stage, self._again = work, out, stage, _started_again()
        self._most_deaths = most_deaths

    def __call__(self, pairs: pa.Table, shard: Shard) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
        reasons = unreadable(pairs)
        attempt = self._read(shard) if self._again else Attempt(shard.index)
        if attempt.running:
            attempt.died(shard.rows)
            self._write(attempt)
            self._check_limit(attempt)
        reasons |= self._search(attempt, reasons, pairs, shard)
        if attempt.whole and attempt.searches > 1 + len(attempt.poison):
            raise RelabelError(
                f"{self._stage}: shard {shard.index}",
                f"rows that end the worker together and not in pieces ({attempt.said or 'it said nothing'})",
                "a shard that the worker lives through",
                "more memory for the worker, or a smaller --shard-rows in another folder",
            )
        try:
            self._begin(attempt, [0, shard.rows], self._again)
            done = self._patiently(reasons, pairs, shard)
        except EngineDead as error:
            self._end(attempt, [0, shard.rows], error)
        attempt.running = None
        if attempt.poison:  # its deaths count: rows that end workers are to be few
            self._write(attempt)
        elif self._again:
            self._out.remove(_name(shard.index))
        return done

    def _search(self, attempt: Attempt, reasons: Reasons, pairs: pa.Table, shard: Shard) -> Reasons:
        """Try what is left of the pieces; the rows that are known to end the worker."""
        while attempt.pieces:
            start, stop = piece = attempt.pieces[0]
            self._begin(attempt, piece, True)
            known = {row: reasons.get(row, ("", "")) for row in {*reasons, *attempt.poison} if start <= row < stop}
            try:
                if len(known) < stop - start:
                    inner = {row - start: reason for row, reason in known.items()}
                    self._patiently(inner, pairs.slice(start, stop - start), _part(shard, start, stop))
            except EngineDead as error:
                self._end(attempt, piece, error)
            attempt.running = None
            attempt.pieces.pop(0)
        if attempt.pieces is not None:
            attempt.pieces, attempt.searches, attempt.whole = None, attempt.searches + 1, SHARD_DEATHS - 1
        said = f", saying {attempt.said}" if attempt.said else ""
        return {row: ("kills-engine", f"alone it ended the worker {ROW_DEATHS} times{said}") for row in attempt.poison}

    def _patiently(self, reasons: Reasons, pairs: pa.Table, shard: Shard) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
        """Work on all rows but those with a reason; where it raises, also without those for which it raises alone."""

        def work(without: Reasons) -> tuple[pa.Table, pa.Table, dict[str, Any]]:
            return set_aside(self._work, without, pairs, shard, self._stage)

        try:
            return work(reasons)
        except BaseException as error:
            if _not_of_a_row(error):
                raise
            print(f"shard {shard.index}: {in_short(error, SAID)}; looking for the rows", file=sys.stderr, flush=True)
            raising = dict(self._raising([0, shard.rows], reasons, pairs, shard))
            if not raising or len(raising) > RAISING_ROWS:
                raise
        return work(reasons | raising)

    def _raising(
        self, rows: list[int], reasons: Reasons, pairs: pa.Table, shard: Shard
    ) -> Iterable[tuple[int, tuple[str, str]]]:
        """Rows [start, stop) for which the worker raises alone, `RAISING_ROWS` + 1 at most, and what it raises."""
        found: Reasons = {}
        for start, stop in _cut(rows):
            inner = {row - start: reason for row, reason in reasons.items() if start <= row < stop}
            try:
                if len(inner) < stop - start:
                    piece = pairs.slice(start, stop - start)
                    set_aside(self._work, inner, piece, _part(shard, start, stop), self._stage)
            except BaseException as error:
                if _not_of_a_row(error):
                    raise
                alone = stop - start == 1
                found |= (
                    {start: ("worker-raises", in_short(error, SAID))}
                    if alone
                    else dict(self._raising([start, stop], reasons, pairs, shard))
                )
            if len(found) > RAISING_ROWS:
                break
        return found.items()

    def _begin(self, attempt: Attempt, rows: list[int], told: bool) -> None:
        attempt.running = list(rows)
        if told:
            self._write(attempt)

    def _end(self, attempt: Attempt, rows: list[int], error: EngineDead) -> None:
        """End this process, whose engine is dead, and leave word."""
        traceback.print_exception(error)
        attempt.running, attempt.said = list(rows), str(error)
        self._write(attempt)
        print("the engine is dead; this actor ends so that another starts", file=sys.stderr, flush=True)
        os._exit(ENGINE_DEAD)

    def _check_limit(self, attempt: Attempt) -> None:
        attempts = _attempts(self._out)
        deaths = sum(one.deaths for one in attempts)
        if deaths >= self._most_deaths:
            raise RelabelError(
                self._stage,
                f"workers that ended {deaths} times, on shards {', '.join(str(one.shard) for one in attempts[:8])}"
                f" ({attempt.said or 'without a word: out of memory, killed, or standing still'})",
                f"fewer than {self._most_deaths} deaths in a stage",
                "see what ends them (RELABEL_WORKER_LOGS=1 shows what they print), then run the same command again: "
                "finished shards are kept",
            )

    def _read(self, shard: Shard) -> Attempt:
        return _attempt(self._out, _name(shard.index)) or Attempt(shard.index)

    def _write(self, attempt: Attempt) -> None:
        self._out.write_json(_name(attempt.shard), asdict(attempt))


def most_deaths(actors: int) -> int:
    """Deaths of a stage's workers, on shards that are not finished or hold a bad row, after which it fails."""
    return max(STAGE_DEATHS, DEATHS_A_WORKER * actors)


def forgive(out: Folder) -> None:
    """Let a stage that starts again know nothing of deaths before: their cause may be gone."""
    for name in (out / "attempts").names(suffix=".json"):
        out.remove(f"attempts/{name}")


def _attempts(out: Folder) -> list[Attempt]:
    found = (_attempt(out, f"attempts/{name}") for name in (out / "attempts").names(suffix=".json"))
    return [attempt for attempt in found if attempt]


def _attempt(out: Folder, name: str) -> Attempt | None:
    """None where there is none, or none any more: a worker that finishes its shard removes its own."""
    try:
        values = out.read_json(name)
    except InputError as error:
        if is_missing(error):
            return None
        raise
    return record(Attempt, values, f"{out.uri}/{name}")


def _name(shard: int) -> str:
    return f"attempts/{shard:05d}.json"


def _cut(rows: list[int]) -> list[list[int]]:
    """[start, stop) in at most `PIECES` pieces of equal size, at least one row each."""
    start, stop = rows
    edges = sorted({start + (stop - start) * piece // PIECES for piece in range(PIECES + 1)})
    return [list(piece) for piece in pairwise(edges)]


def _part(shard: Shard, start: int, stop: int) -> Shard:
    """Rows [start, stop) of a shard as one of their own, with the source that the shard gives them."""
    file, _, first = shard.source.rpartition(":")
    return Shard(shard.index, (Segment(file, int(first) + start, int(first) + stop),))


def _not_of_a_row(error: BaseException) -> bool:
    """Whether an error says something about more than a row. Tokenizers panic by a bare BaseException."""
    return isinstance(error, RelabelError | EngineDead | MemoryError | OSError | KeyboardInterrupt | SystemExit)


def _started_again() -> bool:
    """Whether this process is an actor that Ray started in place of one that ended."""
    import ray

    if not ray.is_initialized():
        return False
    context = ray.get_runtime_context()
    if context.get_actor_id() is None:  # a driver or a task: Ray asserts that only actors ask
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own property calls one that Ray has deprecated
        return context.was_current_actor_reconstructed
