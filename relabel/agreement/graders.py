"""People and judges as `agree` compares them: grades by pair with their scale, from tables and files of grades.

In: pairs and judgements tables, and files that `relabel.formats.label_files` reads. Invariants: labels made by a judge
are never taken for people's; a grade off its scale is an error that names its place; a column `human` of a wide table
is people and no judge.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from relabel.agreement.grade_scales import scale_of
from relabel.errors import ConfigError, InputError
from relabel.evidence.circularity import refuse_judge_labels
from relabel.formats.label_files import Grader, Pair, read_graders
from relabel.records import Scale
from relabel.storage import Folder
from relabel.tables import MANIFEST, keys_of, read_manifest, read_whole

#: The column of a wide table that holds people's grades.
HUMAN = "human"
#: The name of the judge of a judgements table.
THE_JUDGE = "the judge"


@dataclass(frozen=True)
class People:
    """Grades by people.

    Attributes:
        where: address of the table or file.
        grades: grade of each pair, on `scale`.
        sources: where the grades come from, with their numbers.
        pairs: the pairs table, where they came in one.
    """

    where: str
    grades: dict[Pair, int]
    scale: Scale
    sources: dict[str, int]
    pairs: pa.Table | None = None


@dataclass(frozen=True)
class Judge:
    """Grades by one judge.

    Attributes:
        grades: its grade of each pair, on `scale`.
        scale_reason: why it is this scale.
        rows: row of each pair in `probabilities`, where the judge gave distributions.
        probabilities: [rows, grades of the scale]; None: hard grades only.
        about: facts of its judgements table; empty for a file.
    """

    name: str
    where: str
    grades: dict[Pair, int]
    scale: Scale
    scale_reason: str
    rows: dict[Pair, int] = field(default_factory=dict)
    probabilities: np.ndarray | None = None
    about: dict = field(default_factory=dict)

    def distributions(self, keys: Sequence[Pair]) -> np.ndarray:
        """[pairs, grades of the scale]; all mass on the grade where the judge gave no distribution."""
        if self.probabilities is not None:
            return self.probabilities[[self.rows[key] for key in keys]]
        grades = np.array([self.grades[key] for key in keys])
        return (grades[:, None] == np.array(self.scale.grades)).astype(float)


def read_people(uri: str, scale: Scale | None) -> People:
    """People's grades from a pairs table, a qrels file, or the column `human` of a wide table.

    Args:
        scale: of a file; a table says its own.

    Raises:
        CircularEvidence: for labels made by a judge.
        ConfigError: for a file without a `scale`, or a table with one.
        InputError: for a table without a scale or labels, and for a grade off the scale.
    """
    folder = Folder(uri)
    if folder.exists(MANIFEST):
        return _people_of_table(folder, scale)
    graders = read_graders(uri)
    chosen = graders if len(graders) == 1 else [grader for grader in graders if grader.name == HUMAN]
    if not chosen:
        names = ", ".join(grader.name for grader in graders)
        raise InputError(uri, f"the columns {names}", f"a column {HUMAN!r}", "name the people's column so")
    if scale is None:
        raise ConfigError("human", f"{uri}, a file that does not say its scale", "the key `scale`",
                          "e.g. --set scale='{grades: [0, 1, 2, 3], relevant_from: 2}'")  # fmt: skip
    (grader,) = chosen
    for pair, grade in grader.grades.items():
        if grade not in scale.grades:
            raise InputError(grader.rows[pair], f"the human grade {grade}", f"one of {list(scale.grades)}",
                             "correct it, or state another `scale`")  # fmt: skip
    return People(grader.where, grader.grades, scale, {HUMAN: len(grader.grades)})


def _people_of_table(folder: Folder, scale: Scale | None) -> People:
    if scale is not None:
        raise ConfigError("scale", f"a scale beside the table {folder.uri}", "none: the table says its own",
                          "leave `scale` out")  # fmt: skip
    own = read_manifest(folder, "pairs").scale
    if own is None:
        raise InputError(folder.uri, "a table without a scale", "a pairs table with human labels")
    pairs = refuse_judge_labels(read_whole(folder, "pairs"), folder.uri)
    pairs = pairs.filter(pc.is_valid(pairs["label"]))
    labels = pairs["label"].to_numpy()
    wrong = np.flatnonzero(~np.isin(labels, own.grades))
    if len(wrong):
        key = (pairs["query_id"][wrong[0]].as_py(), pairs["doc_id"][wrong[0]].as_py())
        raise InputError(f"{folder.uri}: {key}", f"the label {labels[wrong[0]]:g}", f"one of {list(own.grades)}")
    grades = dict(zip(keys_of(pairs), map(int, labels.tolist()), strict=True))
    return People(folder.uri, grades, own, dict(Counter(pairs["label_source"].to_pylist())), pairs)


def read_judgements(uri: str) -> Judge:
    """The judge of a judgements table, called `the judge`.

    Raises:
        InputError: for a table without a scale.
    """
    folder = Folder(uri)
    manifest = read_manifest(folder, "judgements")
    if manifest.scale is None:
        raise InputError(folder.uri, "a table without a scale", "judgements with their grades")
    table = read_whole(folder, "judgements", ["query_id", "doc_id", "grade", "probabilities"])
    keys = keys_of(table)
    return Judge(
        THE_JUDGE,
        folder.uri,
        dict(zip(keys, table["grade"].to_pylist(), strict=True)),
        manifest.scale,
        "of the judge's prompt",
        {key: row for row, key in enumerate(keys)},
        np.array(table["probabilities"].to_pylist(), float).reshape(len(keys), len(manifest.scale.grades)),
        manifest.about,
    )


def read_label_files(
    files: Sequence[str], scales: Mapping[str, Scale], chosen: Sequence[str], human: Scale
) -> tuple[list[Judge], list[Grader]]:
    """The judges of files of grades, and the columns of people's grades among them.

    Args:
        scales: name of a judge → its scale, where the file's grades would not tell it.
        chosen: names of the judges that are wanted; empty: all.
        human: the scale of people's grades.

    Raises:
        ConfigError: for two judges of one name, and for a chosen or scaled name that no file has.
        InputError: for a file that cannot be read, and a grade off its scale.
    """
    graders = [grader for uri in files for grader in read_graders(uri)]
    people = [grader for grader in graders if grader.name == HUMAN]
    graders = [grader for grader in graders if grader.name != HUMAN]
    places: dict[str, str] = {}
    for grader in graders:
        if grader.name in places:
            found = f"two judges named {grader.name!r} ({places[grader.name]}, {grader.where})"
            raise ConfigError("label_files", found, "one name a judge", "rename a file or column")
        places[grader.name] = grader.where
    for option, names in (("judges", chosen), ("label_scales", scales)):
        unknown = [name for name in names if name not in places]
        if unknown:
            raise ConfigError(option, f"{unknown[0]!r}", f"one of {', '.join(places) or 'none: add label_files'}")
    wanted = [grader for grader in graders if not chosen or grader.name in chosen]
    judges = []
    for grader in wanted:
        scale, reason = scale_of(grader, scales.get(grader.name), human)
        judges.append(Judge(grader.name, grader.where, grader.grades, scale, reason))
    return judges, people
