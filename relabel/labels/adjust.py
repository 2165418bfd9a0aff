"""Pairs and their judgements to labels, under one rule: PAIRS + JUDGEMENTS in, LABELS out, in the order of the pairs.

Invariants: every pair leaves exactly once; originals are copied, never changed; a pair without a judgement keeps its
original label with the action `unjudged`; a label is in [0, 1] or null, a weight in [0, 1], and 0 without a label.
Joining and deciding are Arrow and numpy over whole columns.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.errors import InputError, LedgerError
from relabel.labels.rule import TOLERANCE, Action, Decision, Evidence, Rule
from relabel.records import KEY, LABELS, Scale


def adjust_rows(
    pairs: pa.Table,
    judgements: pa.Table,
    pairs_scale: Scale | None,
    judge_scale: Scale,
    rule: Rule,
    judge_id: str,
) -> pa.Table:
    """Labels of one shard.

    Args:
        pairs: rows of `PAIRS`, no key twice, in any order.
        judgements: rows of `JUDGEMENTS` for these pairs; pairs that are missing were quarantined by the judge.
        pairs_scale: scale of `pairs.label`; None only where no pair has a label.
        judge_scale: scale of the judgements.
        rule: a loaded rule, see `relabel.labels.load_rule`.
        judge_id: the judge that all judgements must come from.

    Returns:
        Rows of `LABELS`, one a pair, in the order of `pairs`.

    Raises:
        InputError: for a label outside its scale, or probabilities that do not fit the judge's scale.
        LedgerError: for a key that appears twice, a judgement of an unknown pair or of another judge.
    """
    _one_judge(judgements, judge_id)
    found = _rows_of_judgements(pairs, judgements)
    evidence = _evidence(pairs, judgements, found, pairs_scale, judge_scale)
    decision = decide(rule, evidence)
    judged = judgements.take(pa.array(found, mask=found < 0))
    unlabelled = np.isnan(decision.label)
    columns = {
        "original_label": pairs["label"],
        "original_source": pairs["label_source"],
        "judge_grade": judged["grade"],
        "judge_score": judged["score"],
        "judge_probabilities": judged["probabilities"],
        "judge_id": judged["judge_id"],
        "label": pa.array(decision.label.astype(np.float32), mask=unlabelled),
        "weight": pa.array(decision.weight.astype(np.float32)),
        "rule": pa.repeat(rule.name, pairs.num_rows),
        "action": pa.array([action.word for action in Action], pa.string()).take(pa.array(decision.action)),
    }
    return pa.table([columns.get(name, pairs[name] if name in PASSED_ON else None) for name in LABELS.names], LABELS)


#: Columns that go from pairs to labels as they are.
PASSED_ON = ("query_id", "doc_id", "query", "title", "text", "query_frequency")


def judgements_of(pairs: pa.Table, judgements: pa.Table) -> pa.Table:
    """Those judgements whose pair is among `pairs`, in their order; for judgements of more pairs than a shard's."""
    of_pairs, of_judgements = _key_codes(pairs, judgements)
    return judgements.filter(pa.array(np.isin(of_judgements, of_pairs)))


def decide(rule: Rule, evidence: Evidence) -> Decision:
    """The rule's decision, with what holds for every rule: unjudged pairs keep their label, no label means weight 0."""
    decision = rule.decide(evidence)
    label = np.where(evidence.judged, decision.label, evidence.original)
    weight = np.where(evidence.judged, decision.weight, rule.unjudged_weight)
    return Decision(
        np.clip(label, 0.0, 1.0),
        np.where(np.isnan(label), 0.0, weight),
        np.where(evidence.judged, decision.action, np.int8(Action.UNJUDGED)).astype(np.int8),
    )


def _one_judge(judgements: pa.Table, judge_id: str) -> None:
    others = [name for name in pc.unique(judgements["judge_id"]).to_pylist() if name != judge_id]
    if others:
        raise LedgerError(
            "judgements", f"rows of the judge {others[0]}", f"rows of {judge_id} only", "judge them again"
        )


def _rows_of_judgements(pairs: pa.Table, judgements: pa.Table) -> np.ndarray:
    """For each pair the row of its judgement, int64 [n]; −1 where there is none."""
    of_pairs, of_judgements = _key_codes(pairs, judgements)
    _no_key_twice(of_pairs, pairs, "pairs")
    _no_key_twice(of_judgements, judgements, "judgements")
    order = np.argsort(of_judgements, kind="stable")
    place = np.searchsorted(of_judgements, of_pairs, sorter=order)
    rows = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(of_pairs), np.int64)
    found = np.zeros(len(of_pairs), bool) if not len(order) else of_judgements[rows] == of_pairs
    if found.sum() < len(of_judgements):
        stray = int(np.flatnonzero(~np.isin(of_judgements, of_pairs))[0])
        raise LedgerError(
            "judgements",
            f"a judgement of {_key(judgements, stray)}, which is not among the pairs",
            "judgements of exactly these pairs",
            "judge these pairs",
        )
    return np.where(found, rows, -1)


def _key_codes(pairs: pa.Table, judgements: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that are equal where keys are, int64 [pairs] and int64 [judgements]."""
    columns = [pa.chunked_array(pairs[name].chunks + judgements[name].chunks, pa.string()) for name in KEY]
    query, doc = (_codes(column) for column in columns)
    codes = query * (doc.max(initial=0) + 1) + doc
    return codes[: pairs.num_rows], codes[pairs.num_rows :]


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Equal strings get equal numbers, int64 [n]."""
    return column.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _no_key_twice(codes: np.ndarray, table: pa.Table, where: str) -> None:
    ordered = np.sort(codes)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        first, second = np.flatnonzero(codes == twice[0])[:2]
        raise LedgerError(f"{where}: rows {first} and {second}", f"{_key(table, int(first))} twice", "each key once")


def _key(table: pa.Table, row: int) -> str:
    return f"query {table['query_id'][row].as_py()!r}, document {table['doc_id'][row].as_py()!r}"


def _evidence(
    pairs: pa.Table, judgements: pa.Table, found: np.ndarray, pairs_scale: Scale | None, judge_scale: Scale
) -> Evidence:
    probabilities = _probabilities(judgements, judge_scale)
    degree = judge_scale.degree(judgements["score"].to_numpy().astype(np.float64))
    _within(degree, judgements, "score", judge_scale)
    original = _original_degrees(pairs, pairs_scale)
    none = np.full((1, len(judge_scale.grades)), np.nan)
    return Evidence(
        original=original,
        probabilities=np.concatenate([probabilities, none])[found],
        degree=np.append(degree, np.nan)[found],
        judged=found >= 0,
        original_scale=pairs_scale or judge_scale,
        judge_scale=judge_scale,
    )


def _original_degrees(pairs: pa.Table, scale: Scale | None) -> np.ndarray:
    labels = pairs["label"]
    if scale is None:
        if labels.null_count < len(labels):
            raise InputError("pairs", "labels but no scale in table.json", "the grades that the labels are on")
        return np.full(len(labels), np.nan)
    degrees = scale.degree(labels.to_numpy(zero_copy_only=False).astype(np.float64))
    missing = labels.is_null().to_numpy(zero_copy_only=False)
    _within(np.where(missing, 0.0, degrees), pairs, "label", scale)
    return degrees


def _within(degrees: np.ndarray, table: pa.Table, column: str, scale: Scale) -> None:
    bad = np.flatnonzero(~((degrees >= -TOLERANCE) & (degrees <= 1 + TOLERANCE)))
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f"{_key(table, row)}: {column}",
            repr(table[column][row].as_py()),
            f"a number from {scale.grades[0]} to {scale.grades[-1]}",
        )


def _probabilities(judgements: pa.Table, scale: Scale) -> np.ndarray:
    """The judgements' distributions, float64 [n, grades], each summing to 1."""
    lists, grades = judgements["probabilities"], len(scale.grades)
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    _refuse_row(lengths != grades, judgements, f"one probability for each of the grades {list(scale.grades)}")
    flat = pc.list_flatten(lists).to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, grades)
    total = flat.sum(axis=1)
    _refuse_row(~((flat >= 0).all(axis=1) & (np.abs(total - 1) < 1e-3)), judgements, "probabilities that sum to 1")
    return flat / total[:, None]


def _refuse_row(bad: np.ndarray, judgements: pa.Table, wanted: str) -> None:
    rows = np.flatnonzero(bad)
    if len(rows):
        row = int(rows[0])
        raise InputError(
            f"{_key(judgements, row)}: probabilities", repr(judgements["probabilities"][row].as_py()), wanted
        )
