"""The scale of a grader whose file does not say it: as the user states it, else told from the grades that occur.

Pure functions. Invariant: a grade that the scale does not have is an error that names file, row and column; a scale
that was told from the grades carries the reason, which is printed.
"""

from __future__ import annotations

from relabel.errors import InputError
from relabel.formats.label_files import Grader
from relabel.records import Scale

STATED = "as stated"


def scale_of(grader: Grader, stated: Scale | None, human: Scale) -> tuple[Scale, str]:
    """The scale of a grader's grades, and why it is this one.

    Without a stated scale: the people's, where their grades hold all that occur, but 0 and 1 where nothing else occurs;
    otherwise 0 to the highest grade that occurs, relevant from the first grade whose degree is not below that of the
    people's first relevant grade.

    Raises:
        InputError: for a grade off the scale, or grades that no scale can be told from.
    """
    if not grader.grades:
        raise InputError(grader.where, "no grade", "at least one graded pair", "leave the column out with --judges")
    occurring = sorted(set(grader.grades.values()))
    if stated:
        for pair, grade in grader.grades.items():
            if grade not in stated.grades:
                raise InputError(
                    f"{grader.rows[pair]}, column {grader.name!r}",
                    f"the grade {grade}",
                    f"one of {list(stated.grades)}",
                    f"correct it, or state another scale: --set label_scales.{grader.name}="
                    f"'{{grades: […], relevant_from: …}}'",
                )
        return stated, STATED
    if set(occurring) <= {0, 1}:
        return Scale((0, 1), 1), "only 0 and 1 occur"
    if set(occurring) <= set(human.grades):
        return human, "all grades that occur are on the human scale"
    if occurring[0] < 0:
        pair = next(pair for pair, grade in grader.grades.items() if grade == occurring[0])
        raise InputError(
            f"{grader.rows[pair]}, column {grader.name!r}",
            f"the grade {occurring[0]}",
            f"one of the human scale's {list(human.grades)}, or grades from 0",
            f"state the scale: --set label_scales.{grader.name}='{{grades: […], relevant_from: …}}'",
        )
    grades = tuple(range(occurring[-1] + 1))
    top = grades[-1]
    least = next(grade for grade in grades[1:] if grade / top >= human.relevant_degree - 1e-9)
    return Scale(grades, least), (
        f"0 to the highest grade that occurs; relevant from {least}, the first that is as high on its scale as "
        f"{human.relevant_from} on the human one"
    )
