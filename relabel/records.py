"""The Arrow schemas that flow between stages: pairs, judgements, labels, quarantine, rankings.

Each table is a folder: `part-*.parquet` beside `table.json`, which names the kind, counts the rows and carries what
holds for the whole table (label scale, judge id, rule). Anyone can read it with plain pyarrow. Invariant: no stage
adds a column that is not declared here.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from relabel.config import Config
from relabel.errors import InputError

#: The key of a row in pairs, judgements and labels.
KEY = ("query_id", "doc_id")

#: One candidate pair. `label` is in the units of the table's `Scale`, null where nobody labelled the pair.
PAIRS = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),  # "" where documents have none
        pa.field("text", pa.string(), nullable=False),
        pa.field("label", pa.float32()),
        pa.field("label_source", pa.string(), nullable=False),  # human, known-answer, top-hits, given, unlabelled, …
        pa.field("query_frequency", pa.int64()),  # how often the query is asked, null where unknown
        pa.field("first_stage_rank", pa.int32()),  # 1 = best, null where the pair came from no ranking
        pa.field("first_stage_score", pa.float32()),
    ]
)

#: One judgement: a distribution over the prompt's grades (`table.json` lists them in order).
JUDGEMENTS = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("grade", pa.int32(), nullable=False),  # the most probable grade; of a panel or calibrated the median
        pa.field("score", pa.float32(), nullable=False),  # the expected grade
        pa.field("probabilities", pa.list_(pa.float32()), nullable=False),  # over the grades, sums to 1
        pa.field("logprobs", pa.list_(pa.float32()), nullable=False),  # of the grade tokens, natural log, raw
        pa.field("off_label_mass", pa.float32(), nullable=False),  # probability of any other token
        pa.field("prompt_tokens", pa.int32(), nullable=False),
        pa.field("truncated", pa.bool_(), nullable=False),  # the document was cut to the token budget
        pa.field("judge_id", pa.string(), nullable=False),
    ]
)

#: One training label with its history. `label` is a relevance degree in [0, 1]; `original_label` keeps its own scale.
LABELS = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("query_frequency", pa.int64()),
        pa.field("original_label", pa.float32()),
        pa.field("original_source", pa.string(), nullable=False),
        pa.field("judge_grade", pa.int32()),  # null where the pair was quarantined by the judge
        pa.field("judge_score", pa.float32()),
        pa.field("judge_probabilities", pa.list_(pa.float32())),
        pa.field("judge_id", pa.string()),
        pa.field("label", pa.float32()),  # null: not to be trained on
        pa.field("weight", pa.float32(), nullable=False),  # 0: not to be trained on
        pa.field("rule", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),  # kept, replaced, promoted, demoted, dropped, blended, …
    ]
)

#: One row that could not go on, whole, so that it can be driven again.
QUARANTINE = pa.schema(
    [
        pa.field("stage", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # file:row
        pa.field("query_id", pa.string()),
        pa.field("doc_id", pa.string()),
        pa.field("reason", pa.string(), nullable=False),  # a short fixed word, e.g. empty-text
        pa.field("detail", pa.string(), nullable=False),
        pa.field("row", pa.string(), nullable=False),  # the row as JSON (bytes that are no UTF-8 backslash-escaped)
    ]
)

#: One line of a ranked list.
RANKINGS = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
    ]
)

SCHEMAS = {
    "pairs": PAIRS,
    "judgements": JUDGEMENTS,
    "labels": LABELS,
    "quarantine": QUARANTINE,
    "rankings": RANKINGS,
}


@dataclass(frozen=True)
class Scale:
    """Grades in ascending order, and the least grade that counts as relevant.

    Example:
        >>> Scale((0, 1, 2, 3), relevant_from=2).degree(3)
        1.0
    """

    grades: tuple[int, ...]
    relevant_from: int

    def __post_init__(self):
        if len(self.grades) < 2 or list(self.grades) != sorted(set(self.grades)):
            raise InputError("scale", f"grades {list(self.grades)}", "two or more different grades, ascending")
        if self.relevant_from not in self.grades[1:]:
            raise InputError("scale", f"relevant_from {self.relevant_from}", f"one of {list(self.grades[1:])}")

    def degree(self, grade):
        """Relevance degree in [0, 1] of a grade (number or numpy array): linear from the lowest to the highest."""
        return (grade - self.grades[0]) / (self.grades[-1] - self.grades[0])

    def grade(self, degree):
        """The grade, perhaps between two of them, of a degree in [0, 1]; what `degree` undoes."""
        return self.grades[0] + degree * (self.grades[-1] - self.grades[0])

    @property
    def relevant_degree(self) -> float:
        """The degree from which a pair counts as relevant."""
        return self.degree(self.relevant_from)

    def to_json(self) -> dict:
        return {"grades": list(self.grades), "relevant_from": self.relevant_from}

    @classmethod
    def from_json(cls, value: dict) -> Scale:
        return cls(tuple(int(grade) for grade in value["grades"]), int(value["relevant_from"]))


class ScaleConfig(Config):
    """The grades of a dataset's labels, ascending, and the least grade that counts as relevant."""

    grades: list[int]
    relevant_from: int

    def scale(self) -> Scale:
        """Raises InputError for grades that are no scale."""
        return Scale(tuple(self.grades), self.relevant_from)


def checked(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """`table` with exactly the columns of `schema`, cast where Arrow can do it without loss.

    Raises:
        InputError: for a missing column, a type that does not fit, or a null where none is allowed.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            raise InputError(
                where, f"columns {', '.join(table.column_names)}", f"a column {field.name!r} ({field.type})"
            )
        column = table.column(field.name)
        if column.type != field.type:
            try:
                column = column.cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise InputError(f"{where}: {field.name}", f"{column.type} ({error})", str(field.type)) from None
        if not field.nullable and column.null_count:
            row = column.is_null().combine_chunks().index(True).as_py()
            raise InputError(f"{where}: row {row}", f"null in {field.name!r}", "a value in every row")
        columns.append(column)
    return pa.table(columns, schema=schema)
