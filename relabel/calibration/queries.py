"""Splits by query: folds of equal size, and a part that is set aside; the same for the same texts and seed.

A query is known by its fingerprint (`relabel.lineage`), so one text never lies on both sides. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


def shuffled(fingerprints: Sequence[str], seed: int) -> list[str]:
    """The different fingerprints in the order of their hashes with `seed`."""
    return sorted(set(fingerprints), key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest())


def reserved(fingerprints: Sequence[str], share: float, seed: int) -> set[str]:
    """The fingerprints of `share` (in [0, 1]) of the queries, rounded to whole queries."""
    order = shuffled(fingerprints, seed)
    return set(order[: round(share * len(order))])


def folds(fingerprints: Sequence[str], count: int, seed: int) -> np.ndarray:
    """The fold in 0 … `count` − 1 of each row's query, int [rows]; sizes in queries differ by one at most."""
    place = {one: number % count for number, one in enumerate(shuffled(fingerprints, seed + 1))}
    return np.array([place[one] for one in fingerprints], dtype=int)
