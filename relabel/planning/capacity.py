"""The capacity model: what a number of pairs needs on H100s, by judge, from stated assumptions (docs/scale.md).

    python -m relabel.planning.capacity [--price 2.5] [--interruptions 0.1] … [--write docs/scale.md]

    computed tokens a pair = tokens × (1 − shared)                  the shared ones come from the prefix cache
    pairs a second, a GPU  = peak FLOP/s × MFU / (2 × parameters × computed tokens)
    GPU hours              = pairs / that / 3600 × (1 + lost to interruptions) + GPUs × start-up

Everything is an option; what was measured is said to be, the rest is assumed.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from relabel.words import count, value

START, END = "<!-- capacity tables -->", "<!-- end of capacity tables -->"
#: Keys of a LIST request of S3.
LISTED = 1_000


@dataclass(frozen=True)
class Assumptions:
    """What the tables rest on; each is an option of the command.

    Attributes:
        peak: dense bfloat16 FLOP/s of one H100 SXM.
        price: of a GPU hour, any currency; S3's are Amazon's list prices for 1,000 requests.
        start: seconds from an actor's request until it judges: image, imports, weights (measured without the image: 33
            on an H100 for 135 M parameters, docs/experiments.md; larger weights take longer).
        interruptions: of a spot GPU, an hour.
        shard_seconds: work of a shard; two are in flight, so 1.5 of them are lost on average, and a start.
        put_price, get_price: of 1,000 requests.
        gets, puts: requests of one shard from reading to its marker; `scan`: those that find it finished, on a resume
            and at the end, where its marker is not in the index; GET counts HEAD. Counted on a real S3 server:
            `python -m benchmarks.store_requests`.
        indexed: requests for a thousand markers in the index: their file, and the names of markers and parts.
        at_once: requests of a scan that are under way together (`relabel.storage.REQUESTS_AT_ONCE`).
        round_trip: seconds of one request.
        query_pairs: pairs of a query.
        key_bytes: memory of the driver for each query while it looks for keys that come twice.
    """

    peak: float = 989e12
    price: float = 2.5
    start: float = 120.0
    interruptions: float = 0.05
    shard_seconds: float = 60.0
    put_price: float = 0.005
    get_price: float = 0.0004
    gets: float = 5.0
    puts: float = 2.0
    scan: float = 2.0
    indexed: float = 4.0
    at_once: float = 32.0
    round_trip: float = 0.03
    query_pairs: float = 100.0
    key_bytes: float = 24.0


@dataclass(frozen=True)
class Judge:
    """A judge: parameters, tokens of a pair, the share of them that neighbours have in common, FLOP utilisation."""

    name: str
    parameters: float
    tokens: float
    shared: float
    mfu: float
    basis: str


#: Two are measured as they stand: 1,994 pairs/s of 98.6 tokens on an H200 (docs/results.md), whose peak is an H100's,
#: what the cache shared being in its utilisation; and 647 pairs/s of a model of 8 B on an H100 (docs/experiments.md).
#: The others are assumed.
JUDGES = (
    Judge("135 M, terse prompt", 135e6, 98.6, 0.0, 0.054, "measured on an H200: 1,994 pairs/s"),
    Judge("8 B, terse prompt", 8.03e9, 93.8, 0.394, 0.597, "measured on an H100: 647 pairs/s"),
    Judge("1.5 B, rubric", 1.5e9, 400, 0.30, 0.30, "assumed"),
    Judge("7 B, rubric", 7.0e9, 400, 0.30, 0.45, "assumed"),
    Judge("7 B, long documents", 7.0e9, 1_200, 0.15, 0.45, "assumed"),
)
PAIRS = (10e6, 10e9)
GPUS = (8, 64, 512)


def pairs_a_second(judge: Judge, given: Assumptions) -> float:
    """Pairs a second of one GPU while it judges."""
    return given.peak * judge.mfu / (2 * judge.parameters * judge.tokens * (1 - judge.shared))


def lost_share(given: Assumptions) -> float:
    """Work that is paid for twice, as a share of the work."""
    return given.interruptions / 3600 * (1.5 * given.shard_seconds + given.start)


def gpu_hours(judge: Judge, pairs: float, gpus: int, given: Assumptions) -> float:
    """GPU hours that are paid for."""
    work = pairs / pairs_a_second(judge, given) / 3600
    return work * (1 + lost_share(given)) + gpus * given.start / 3600


def tables(given: Assumptions) -> Iterator[str]:
    """The lines of all tables as Markdown."""
    yield from _assumptions(given)
    yield from _judging(given)
    yield from _store(given)
    yield from _driver(given)


def _assumptions(given: Assumptions) -> Iterator[str]:
    yield "| judge | parameters | tokens a pair | shared with neighbours | MFU | pairs/s, a GPU | basis |"
    yield "|---|---|---|---|---|---|---|"
    for judge in JUDGES:
        rate = pairs_a_second(judge, given)
        shown = count(rate) if rate >= 100 else value(rate, 1)
        row = [judge.name, f"{judge.parameters / 1e9:g} B", f"{judge.tokens:g}", f"{judge.shared:.0%}"]
        yield f"| {' | '.join([*row, f'{judge.mfu:.1%}', shown, judge.basis])} |"
    yield ""
    yield (
        f"Peak {given.peak / 1e12:,.0f} TFLOP/s; {given.price:g} an hour and GPU; start-up {given.start:g} s; "
        f"{given.interruptions:g} interruptions an hour and GPU, which cost {lost_share(given):.2%} of the work with "
        f"shards of {given.shard_seconds:g} s."
    )
    yield ""


def _judging(given: Assumptions) -> Iterator[str]:
    heads = [f"wall time on {gpus}" for gpus in GPUS]
    yield f"| pairs | judge | GPU hours | money | {' | '.join(heads)} |"
    yield f"|---|---|---|---|{'---|' * len(GPUS)}"
    for pairs in PAIRS:
        for judge in JUDGES:
            hours = gpu_hours(judge, pairs, GPUS[0], given)
            walls = [_wall(gpu_hours(judge, pairs, gpus, given) / gpus) for gpus in GPUS]
            row = [_millions(pairs), judge.name, _hours(hours), count(hours * given.price), *walls]
            yield f"| {' | '.join(row)} |"
    yield ""


def _store(given: Assumptions) -> Iterator[str]:
    heads = [
        "pairs",
        "judge",
        "rows a shard",
        "shards",
        "requests to S3",
        "their price",
        f"PUT/s of {GPUS[-1]} GPUs",
        "GET/s",
    ]
    yield f"| {' | '.join(heads)} |"
    yield "|---|---|---|---|---|---|---|---|"
    for pairs in PAIRS:
        for judge in JUDGES:
            rows = shard_rows(judge, given)
            shards = -(-pairs // rows)
            gets = given.gets + given.indexed / LISTED
            price = shards / 1000 * (given.puts * given.put_price + gets * given.get_price)
            rate = GPUS[-1] * pairs_a_second(judge, given) / rows
            row = [_millions(pairs), judge.name, count(rows), count(shards), count(shards * (given.puts + gets))]
            row += [value(price, 2), value(rate * given.puts, 1), value(rate * given.gets, 1)]
            yield f"| {' | '.join(row)} |"
    yield ""


def shard_rows(judge: Judge, given: Assumptions) -> int:
    """Rows of a shard that takes `shard_seconds` of one GPU, a power of two."""
    wanted = pairs_a_second(judge, given) * given.shard_seconds
    return 2 ** max(0, round(wanted).bit_length() - 1)


def _driver(given: Assumptions) -> Iterator[str]:
    yield "| pairs in one table | rows a shard | shards | memory to find a key twice | scan by the index | without it |"
    yield "|---|---|---|---|---|---|"
    for pairs in (10e6, 100e6, 1e9, 10e9):
        for judge in (JUDGES[0], JUDGES[2]):
            rows = shard_rows(judge, given)
            shards = -(-pairs // rows)
            listed = 2 * shards / LISTED  # one after another
            indexed = (listed + shards / LISTED * (given.indexed - 2) / given.at_once) * given.round_trip / 3600
            alone = (listed + shards * given.scan / given.at_once) * given.round_trip / 3600
            memory = f"{value(pairs / given.query_pairs * given.key_bytes / 2**30, 2)} GiB"
            row = [_millions(pairs), count(rows), count(shards), memory, _wall(indexed), _wall(alone)]
            yield f"| {' | '.join(row)} |"


def _millions(pairs: float) -> str:
    return f"{pairs / 1e9:g} B" if pairs >= 1e9 else f"{pairs / 1e6:g} M"


def _hours(hours: float) -> str:
    return count(hours) if hours >= 100 else value(hours, 1)


def _wall(hours: float) -> str:
    if hours >= 48:
        return f"{value(hours / 24, 1)} d"
    if hours >= 1:
        return f"{value(hours, 1)} h"
    minutes = hours * 60
    return f"{value(minutes, 1)} min" if minutes >= 1 else f"{value(minutes * 60, 1)} s"


def written(page: str, lines: Sequence[str]) -> str:
    """A page with the tables between its two marks put anew."""
    block = "\n".join([START, *lines, END])
    return re.sub(f"{START}.*?{END}", lambda _: block, page, flags=re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, or put them into a page."""
    parser = argparse.ArgumentParser(prog="python -m relabel.planning.capacity", description="The capacity model.")
    for field in fields(Assumptions):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between the marks of this page")
    options = vars(parser.parse_args(arguments))
    page = options.pop("write")
    lines = list(tables(replace(Assumptions(), **options)))
    if page:
        page.write_text(written(page.read_text("utf-8"), lines), "utf-8")
    else:
        print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
