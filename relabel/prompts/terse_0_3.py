"""Grades 0–3 in as few tokens as possible, without a chat template: for judges that were fine-tuned on it."""

from relabel.prompts.prompt import Prompt
from relabel.records import Scale

TERSE_0_3 = Prompt(
    name="terse-0-3",
    scale=Scale((0, 1, 2, 3), relevant_from=2),
    labels=("0", "1", "2", "3"),
    user="Query: {query}\nPassage: {document}\nRelevance grade (0-3):",
    chat=False,
)
