"""The rubric of `graded-0-3` with the passage before the query: for long passages that several queries are judged on.

Pairs that share a passage then share all of its computation; with `graded-0-3` they share the rubric alone.
"""

from dataclasses import replace

from relabel.prompts.graded_0_3 import GRADED_0_3

GRADED_0_3_PASSAGE_FIRST = replace(
    GRADED_0_3,
    name="graded-0-3-passage-first",
    user="Passage: {document}\n\nQuery: {query}\n\nGrade (0, 1, 2 or 3):",
)
