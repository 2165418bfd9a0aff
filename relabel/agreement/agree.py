"""`relabel agree`: a judge against people's grades, and files of other judges' grades beside it on the same pairs.

In: people's grades (a pairs table, any qrels file, or a wide table with a column `human`), a judgements table, files
of grades (`relabel.formats.label_files`), TREC run files; out: `agree.json` and `disagreements.tsv`. Invariants: all
judges are measured on the pairs that all of them and people graded, and what that leaves out is counted; labels made
by a judge are refused, and queries that the judge has seen in training are left out.

Run: `relabel agree --human QRELS --judgements DIR --label-files labels.tsv --runs a.run b.run --out DIR`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import Field

from relabel.agreement.agree_systems import order_of_systems
from relabel.agreement.agree_tables import all_tables
from relabel.agreement.common_pairs import Common, common_pairs
from relabel.agreement.disagreements import examples, furthest_apart, with_texts, write_disagreements
from relabel.agreement.graders import HUMAN, THE_JUDGE, Judge, People, read_judgements, read_label_files, read_people
from relabel.agreement.judge_comparison import Draws, Rater, compared, measured
from relabel.config import Config
from relabel.errors import ConfigError
from relabel.evidence.circularity import unchecked_lineage
from relabel.formats.label_files import Grader, Pair
from relabel.records import ScaleConfig
from relabel.storage import Folder

AGREE = "agree.json"


class AgreeConfig(Config):
    """What `relabel agree` needs.

    Attributes:
        human: people's grades: a pairs table, a qrels file (TREC or BEIR), or a wide table with a column `human`.
        scale: scale of the human grades where they are a file; a table says its own.
        judgements: judgements table of the judge; may be left out where there are label_files.
        label_files: files of other judges' grades: qrels, or wide tables with a column a judge.
        label_scales: scale of a judge of label_files, by its name; without it, it is told from the grades and printed.
        judges: which judges of label_files are measured; without it, all of them.
        reference: the judge that the others are compared with; without it, that of judgements, else the first.
        pairs: pairs table with the texts; without it, `human` where it is a table, else what judgements were made over.
        judge_folder: the trained judge, whose training queries are left out; without it, the one of judgements.
        runs: TREC run files of systems to be ordered; without it, rankings are built over the judged pairs.
        zero_shot: untrained encoder among the rankings built here: a package model or folder.
        rbo_p: persistence p of rank-biased overlap.
        disagreements: pairs that disagreements.tsv lists.
        resamples: bootstrap resamples of the queries.
        permutations: random sign assignments of the paired tests.
        confidence: confidence level of the intervals.
        seed: seed of bootstrap, tests and the random ranking.
    """

    human: str
    scale: ScaleConfig | None = None
    judgements: str | None = None
    label_files: list[str] = Field(default_factory=list)
    label_scales: dict[str, ScaleConfig] = Field(default_factory=dict)
    judges: list[str] = Field(default_factory=list)
    reference: str | None = None
    pairs: str | None = None
    judge_folder: str | None = None
    runs: list[str] = Field(default_factory=list)
    zero_shot: str | None = None
    rbo_p: float = Field(default=0.8, gt=0, lt=1)
    disagreements: int = Field(default=100, ge=0)
    resamples: int = Field(default=1000, ge=100)
    permutations: int = Field(default=10_000, ge=100)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    seed: int = 0


def agree(config: AgreeConfig, out: Folder, log: Callable[[str], None] = print) -> dict:
    """Measure judges against people side by side; writes `agree.json` and `disagreements.tsv`, returns the former.

    Raises:
        CircularEvidence: for labels made by a judge, and where the judge has seen every query.
        ConfigError: where there is no judge, or a name that does not exist.
        InputError: for a file or table that cannot be read, and where no pair was graded by all.
    """
    people = read_people(config.human, config.scale.scale() if config.scale else None)
    judges, columns = _judges(config, people)
    reference = _reference(config, judges)
    seen_by = next((judge.about for judge in judges if judge.about), {})
    if config.judge_folder:
        seen_by = {**seen_by, "judge_folder": config.judge_folder}
    trained = seen_by.get("judge_folder")
    common = common_pairs(people, judges, config.pairs, seen_by)
    human = np.array([people.grades[key] for key in common.keys])
    raters = {judge.name: _rater(judge, common.keys) for judge in judges}
    query_ids = [query_id for query_id, _ in common.keys]
    draws = Draws(config.resamples, config.permutations, config.confidence, config.seed)
    for judge in judges:
        if judge.name != THE_JUDGE:
            words = f"{list(judge.scale.grades)}, relevant from {judge.scale.relevant_from}"
            log(f"agree: the grades of {judge.name} are {words} ({judge.scale_reason})")
    entries = [
        _described(judge, people) | {"agreement": measured(human, raters[judge.name], query_ids, people.scale, draws)}
        for judge in judges
    ]
    first = entries[0]["agreement"]
    worst = _worst(config.disagreements, common, human, raters[reference], people)
    found = {
        "human": {"where": people.where, "scale": people.scale.to_json(), "sources": people.sources},
        "pairs": len(common.keys),
        "queries": first["queries"],
        "left_out": common.left_out,
        "confidence": config.confidence,
        "resamples": config.resamples,
        "interval": first["interval"],
        "relevant_share": first["relevant_share"],
        "majority": _majority(people, human),
        "judges": entries,
        "reference": reference,
        "comparisons": compared(human, raters, reference, query_ids, people.scale, draws),
        "systems": order_of_systems(
            {HUMAN: (people.grades, people.scale)} | {judge.name: (judge.grades, judge.scale) for judge in judges},
            common.keys,
            common.texts,
            config.runs,
            config.zero_shot,
            config.rbo_p,
            draws,
            log,
        ),
        "disagreements": examples(worst),
        "warnings": [*unchecked_lineage(trained), *_warnings(people, columns)],
    }
    out.write_json(AGREE, found)
    write_disagreements(worst, out)
    _print(found, log)
    return found


def _judges(config: AgreeConfig, people: People) -> tuple[list[Judge], list[Grader]]:
    if not config.judgements and not config.label_files:
        raise ConfigError("agree", "no judge", "a judgements table or files of grades",
                          "add --judgements DIR or --label-files FILE")  # fmt: skip
    scales = {name: scale.scale() for name, scale in config.label_scales.items()}
    others, columns = read_label_files(config.label_files, scales, config.judges, people.scale)
    if config.judgements and any(judge.name == THE_JUDGE for judge in others):
        found = f"a file's judge named {THE_JUDGE!r}, as that of judgements is"
        raise ConfigError("label_files", found, "one name a judge", "rename the file or column")
    judges = [*([read_judgements(config.judgements)] if config.judgements else []), *others]
    if not judges:
        raise ConfigError("label_files", "only a column of people's grades", "a column of a judge")
    return judges, columns


def _described(judge: Judge, people: People) -> dict:
    return {
        "name": judge.name,
        "where": judge.where,
        "scale": judge.scale.to_json(),
        "scale_reason": judge.scale_reason,
        "grade_by_grade": len(judge.scale.grades) == len(people.scale.grades),
        "about": {name: judge.about.get(name) for name in ("judge_id", "engine", "model", "prompt")},
    }


def _reference(config: AgreeConfig, judges: Sequence[Judge]) -> str:
    names = [judge.name for judge in judges]
    if config.reference is None:
        return names[0]
    if config.reference not in names:
        raise ConfigError("reference", repr(config.reference), f"one of {', '.join(names)}")
    return config.reference


def _rater(judge: Judge, keys: Sequence[Pair]) -> Rater:
    grades = np.array([judge.grades[key] for key in keys])
    return Rater(grades, judge.distributions(keys), judge.scale, judge.probabilities is not None)


def _majority(people: People, human: np.ndarray) -> dict:
    """What the commonest grade and the commoner side of the relevance boundary reach without a judge."""
    grades, counts = np.unique(human, return_counts=True)
    relevant = float(np.mean(human >= people.scale.relevant_from))
    return {
        "answer": str(int(grades[counts.argmax()])),
        "accuracy": float(counts.max() / len(human)),
        "binary_accuracy": max(relevant, 1 - relevant),
        "mean_absolute_error": float(np.mean(np.abs(human - grades[counts.argmax()]))),
    }


def _worst(number: int, common: Common, human: np.ndarray, rater: Rater, people: People) -> list[dict]:
    expected = people.scale.grade(rater.expected_degree())
    return list(with_texts(furthest_apart(common.keys, human, rater.grades, expected, number), common.texts))


def _warnings(people: People, columns: Sequence[Grader]) -> list[str]:
    """Grades that are not people's, and files whose people say something else."""
    lines = [
        f"{count:,} human grades come from {source!r}, which does not mean people: the agreement is worth as much as "
        f"that source."
        for source, count in sorted(people.sources.items())
        if source != "human"
    ]
    for column in columns:
        both = [key for key in column.grades if key in people.grades]
        other = sum(column.grades[key] != people.grades[key] for key in both)
        if other:
            lines.append(f"{other:,} of {len(both):,} grades of {column.where} differ from those of {people.where}.")
    return lines


def _print(found: dict, log: Callable[[str], None]) -> None:
    left = found["left_out"]
    missing = left["human_pairs"] - found["pairs"]
    log(f"agree: {found['pairs']:,} pairs of {found['queries']} queries were graded by people and by all judges")
    log(f"agree: {missing:,} of the {left['human_pairs']:,} human pairs are left out")
    for name, count in left["without_a_grade_of"].items():
        if count:
            log(f"agree: {name} did not grade {count:,} of the human pairs")
    if left["queries_seen"]:
        log(f"agree: {left['pairs_of_seen_queries']:,} pairs of {left['queries_seen']} queries that the judge has seen "
            f"in training are left out")  # fmt: skip
    for table in all_tables(found):
        log(f"\n{table.caption}")
        for line in table.lines():
            log(f"  {line}")
    log("")
    for line in [*found["systems"]["notes"], *found["warnings"]]:
        log(f"agree: {line}")
