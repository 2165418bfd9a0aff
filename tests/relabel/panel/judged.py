"""Human pairs with made-up grades and judges that follow them more or less, for tests of panels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from relabel.judges import JudgeConfig, load_judge
from relabel.judges.config import judge_dtype
from relabel.records import PAIRS, Scale
from relabel.storage import Folder
from relabel.tables import TableWriter

SCALE = Scale((0, 1, 2, 3), relevant_from=2)
WORDS = [f"word{number}" for number in range(60)]


def human_pairs(queries: int = 30, docs: int = 20, seed: int = 0) -> pa.Table:
    """Each query asks for six words; a document with a share of them is graded by that share and a little chance."""
    random = np.random.default_rng(seed)
    rows = []
    for query in range(queries):
        asked = random.choice(WORDS, 6, replace=False)
        for doc in range(docs):
            has = int(random.integers(0, 7))
            text = [*random.permutation(asked)[:has], *random.choice(WORDS, 10)]
            grade = int(np.clip(round(has / 2 + random.normal(0, 0.7)), 0, 3))
            rows.append(
                {
                    "query_id": f"q{query}",
                    "doc_id": f"d{query}-{doc}",
                    "query": " ".join(asked),
                    "title": "",
                    "text": " ".join(text),
                    "label": float(grade),
                    "label_source": "human",
                    "query_frequency": None,
                    "first_stage_rank": None,
                    "first_stage_score": None,
                }
            )
    return pa.Table.from_pylist(rows, schema=PAIRS)


def write_table(folder: Path, kind: str, rows: pa.Table, about: dict | None = None, scale: Scale = SCALE) -> Folder:
    """A finished table of these rows."""
    writer = TableWriter(Folder(folder), kind, scale)
    writer.write(rows)
    writer.finish(about)
    return Folder(folder)


def judged_by(config: JudgeConfig, pairs: pa.Table, folder: Path, judge_folder: str | None = None) -> Folder:
    """A judgements table as the stage writes it, made without Ray."""
    from jobs.judge import facts_of

    judge = load_judge(config)
    about = facts_of(config, judge.judge_id, judge_dtype(config).value) | {"judge_folder": judge_folder}
    return write_table(folder, "judgements", judge.judge(pairs, "x:0").judgements, about, judge.scale)
