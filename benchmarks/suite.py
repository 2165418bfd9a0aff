"""All comparisons in one go: each benchmark in a process of its own, one after another, their JSON kept, a table made.

`docs/benchmarks.json` keeps the last result of each comparison on each kind of machine with its date and command; the
table of `docs/benchmarks.md` is made of it and of nothing else. One that was not asked for keeps the results it had.

Run: `python -m benchmarks.suite` (about four hours on two cores), `… --only data-plane judge-alike`, `… --list`.
"""

from __future__ import annotations

import argparse
import json
import string
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import store_requests

ROOT = Path(__file__).parents[1]
RECORD, DOCUMENT = ROOT / "docs" / "benchmarks.json", ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- table: python -m benchmarks.suite -->", "<!-- end of table -->"
#: What the table says of a promise; None: there is none.
HELD = {True: "yes", False: "**no**", None: ""}


@dataclass(frozen=True)
class Comparison:
    """One row: what is compared, what is promised, how, and how a result reads.

    Attributes:
        arguments: module and options, after `python -m benchmarks.`.
        found: a result as text, for the table.
    """

    name: str
    about: str
    promise: str
    arguments: str
    found: Callable[[dict[str, Any]], str]


def _ratio(result: dict[str, Any]) -> str:
    ratios = result["ratio"]
    found = ", ".join(f"{name}: {ratio}" for name, ratio in ratios.items()) if isinstance(ratios, dict) else f"{ratios}"
    return f"{found} ({result['texts']})" if "texts" in result else found


def _alternatives(result: dict[str, Any]) -> str:
    parts = [f"{name}: {ratio} ×" for name, ratio in result["ratio"].items()]
    replies = result["sides"].get("one_by_one", {})
    if "tokens_a_reply" in replies:
        parts.append(
            f"{replies['pairs']} pairs one by one, replies of {replies['tokens_a_reply']:.0f} tokens, "
            f"{replies['replies_with_a_grade']} with a grade"
        )
    failed = [f"{name} fails: {side['fails']}" for name, side in result["sides"].items() if "fails" in side]
    return "; ".join(parts + failed).replace("|", "\\|")


def _data_plane(result: dict[str, Any]) -> str:
    return (
        f"{result['pairs_per_second']:,} pairs/s through judge and adjust over {result['rows']:,} pairs, "
        f"memory ratio {result['ratio']}, peak {result['adjust']['peak_mib_second_half']:,} MiB"
    )


def _many_shards(result: dict[str, Any]) -> str:
    return (
        f"{result['shards']:,} shards: resumed after {result['resume_seconds']} s, driver {result['driver_mib']:,} MiB "
        f"at most, {result['ray']['shards_per_second']} shards/s through Ray Data"
    )


def _requests(result: dict[str, Any]) -> str:
    return "; ".join(store_requests.shown(result["requests"]))


COMPARISONS = (
    Comparison(
        "judge-alike",
        "the judge stage against one bare `vllm.LLM.generate` call over the same prompts, with the judge's options and "
        "environment",
        "≥ 0.97 of its speed",
        "judge_rate --pairs 768 --repetitions 2 --prompt terse-0-3 --max-document-tokens 96",
        _ratio,
    ),
    Comparison(
        "judge-two-engines",
        "the same, two engines of a thread each in the stage against the one of two threads",
        "≥ 0.97 of its speed",
        "judge_rate --pairs 768 --repetitions 1 --actors 2 --shard-rows 96 --prompt terse-0-3 --max-document-tokens 96",
        _ratio,
    ),
    Comparison(
        "judge-as-it-comes",
        "the judge stage against one bare `vllm.LLM.generate` call over the same prompts, as vLLM comes",
        "≥ 0.97 of its speed",
        "judge_rate --pairs 128 --repetitions 1 --prompt terse-0-3 --max-document-tokens 96 --bare as-it-comes",
        _ratio,
    ),
    Comparison(
        "judge-shared",
        "the same where pairs share prefixes: a rubric, a hundred long documents for every query",
        "≥ 1.3 ×",
        "judge_rate --workload shared --pairs 300 --repetitions 1",
        _ratio,
    ),
    Comparison(
        "judge-alternatives",
        "the judge stage with the recipes' prompt against one rubric at a time with a parsed reply, as umbrela judges; "
        "with the same rubric against that and against `ray.data.llm`",
        "≥ 40 ×; not slower",
        "judge_alternatives --pairs 384 --max-document-tokens 80",
        _alternatives,
    ),
    Comparison(
        "engine-settings",
        "the judge's engine against the same with one setting changed",
        "shown",
        "engine_settings --pairs 384 --repetitions 2",
        _ratio,
    ),
    Comparison(
        "judge-training",
        "`train-judge` against transformers' Trainer: all weights, float32, one epoch",
        "≥ 1.5 ×",
        "judge_training --limit 160",
        _ratio,
    ),
    Comparison(
        "reranker-bce",
        "`train-reranker` against CrossEncoderTrainer, pointwise",
        "≥ 1.5 × of its better dtype",
        "reranker_training --pairs 256 --repetitions 3",
        _ratio,
    ),
    Comparison(
        "reranker-listnet",
        "the same, listwise",
        "≥ 1.5 ×",
        "reranker_training --pairs 256 --repetitions 3 --loss listnet --sides ours trainer",
        _ratio,
    ),
    Comparison(
        "cores",
        "two cores of this machine against one, in torch alone: the most that two workers could be of one",
        "shown",
        "cores",
        _ratio,
    ),
    Comparison(
        "reranker-workers",
        "two one-core workers against one, 16 pairs a step",
        "≥ 1.6 ×",
        "reranker_training --compare workers --pairs 256 --repetitions 3",
        _ratio,
    ),
    Comparison(
        "reranker-workers-64",
        "the same, 64 pairs a step, as many as in medquad's recipe",
        "≥ 1.6 ×",
        "reranker_training --compare workers --pairs 768 --batch 64 --warm-up 2 --repetitions 3",
        _ratio,
    ),
    Comparison(
        "reranker-workers-128",
        "the same, 128 pairs a step",
        "≥ 1.6 ×",
        "reranker_training --compare workers --pairs 1280 --batch 128 --warm-up 1 --repetitions 2",
        _ratio,
    ),
    Comparison(
        "reranker-workers-256",
        "the same, 256 pairs a step: groups of eight of 32 queries",
        "≥ 1.6 ×",
        "reranker_training --compare workers --pairs 2560 --batch 256 --warm-up 1 --repetitions 2",
        _ratio,
    ),
    Comparison(
        "data-plane",
        "a million pairs through judge and adjust with the lexical judge, memory of the second half against the first",
        "≥ 20,000 pairs/s, ≤ 1.2",
        "data_plane --rows 1000000",
        _data_plane,
    ),
    Comparison(
        "data-plane-5m",
        "five million pairs: is memory what it was for one?",
        "≥ 20,000 pairs/s, ≤ 1.2",
        "data_plane --rows 5000000",
        _data_plane,
    ),
    Comparison(
        "many-shards",
        "a hundred thousand shards on local disk: driver memory, and a resumed run's start",
        "< 2 GiB, < 60 s",
        "many_shards --shards 100000",
        _many_shards,
    ),
    Comparison(
        "many-shards-s3",
        "the same on a real S3 server on this machine",
        "< 2 GiB, < 120 s",
        "many_shards --shards 100000 --s3",
        _many_shards,
    ),
    Comparison("store-requests", "requests to an S3 server", "counted", "store_requests", _requests),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and render the table; 1 where a benchmark could not be run."""
    names = [comparison.name for comparison in COMPARISONS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--list", action="store_true", help="print commands and render the table, run nothing")
    options = parser.parse_args(arguments)
    failed = False
    for comparison in COMPARISONS:
        if options.list:
            print(f"{comparison.name}: python -m benchmarks.{comparison.arguments}")
        elif comparison.name in options.only:
            print(f"— {comparison.name}", flush=True)
            result = run(comparison)
            failed |= result is None
            if result is not None:
                keep(comparison, result)
    DOCUMENT.write_text(placed(DOCUMENT.read_text(), rendered(recorded())))
    return int(failed)


def recorded() -> dict[str, list[dict[str, Any]]]:
    """Name of a comparison → for each kind of machine when it ran, by which command, its JSON."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {}


def keep(comparison: Comparison, result: dict[str, Any]) -> None:
    """Add a result to the record as it is now: another suite may have added to it while this one ran.

    It takes the place of the one that was measured on the same kind of machine.
    """
    entry = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks.{comparison.arguments}",
        "result": result,
    }
    record = recorded()
    others = [old for old in record.get(comparison.name, []) if old["result"]["machine"] != result["machine"]]
    record[comparison.name] = [*others, entry]
    RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def run(comparison: Comparison) -> dict[str, Any] | None:
    """The JSON of the last line of a benchmark, None where it failed; what it prints is seen."""
    module, *options = comparison.arguments.split()
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    last = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line if line.strip() else last
    if process.returncode:
        print(f"{comparison.name}: ended with code {process.returncode}", file=sys.stderr)
        return None
    return json.loads(last)


def rendered(record: dict[str, list[dict[str, Any]]]) -> str:
    """The record as a Markdown table, a row for every comparison and machine; below it what machine each letter is."""
    lines = ["| what | promised | found | holds | when, load | on | command |", "|---|---|---|---|---|---|---|"]
    machines: list[dict[str, Any]] = []
    for comparison in COMPARISONS:
        about, promise = comparison.about, comparison.promise
        if comparison.name not in record:
            command = f"`python -m benchmarks.{comparison.arguments}`"
            lines.append(f"| {about} | {promise} | not run yet | | | | {command} |")
        for entry in record.get(comparison.name, []):
            result = entry["result"]
            machine, holds = result["machine"], result.get("holds")
            if machine not in machines:
                machines.append(machine)
            held = all(holds.values()) if isinstance(holds, dict) else holds
            load = f", {result['load_average']:.1f}" if "load_average" in result else ""
            when = f"{entry['at'][:10]}{load}"
            where, command = _letter(machines.index(machine)), f"`{entry['command']}`"
            cells = [about, promise, comparison.found(result), HELD[held], when, where, command]
            lines.append(f"| {' | '.join(cells)} |")
    for number, machine in enumerate(machines):
        lines += ["", f"{_letter(number)}: {', '.join(f'{name} {value}' for name, value in machine.items())}."]
    return "\n".join(lines)


def _letter(number: int) -> str:
    return string.ascii_uppercase[number]


def placed(page: str, table: str, begin: str = BEGIN, end: str = END) -> str:
    """A page with the table between its two marks put anew."""
    before, rest = page.split(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.split(end)[1]}"


if __name__ == "__main__":
    sys.exit(main())
