"""Grades 0–3 in as few tokens as possible, without a chat template: for judges that were fine-tuned on it.

The passage comes first: a causal LM then reads the query knowing the passage, and how likely each of its words is by
then tells much of the grade (the query-likelihood model of Ponte and Croft, SIGIR 1998). Few prefixes are shared so,
but a query is short.
"""

from relabel.prompts.prompt import Prompt
from relabel.records import Scale

TERSE_0_3 = Prompt(
    name="terse-0-3",
    scale=Scale((0, 1, 2, 3), relevant_from=2),
    labels=("0", "1", "2", "3"),
    user="Passage: {document}\nQuery: {query}\nRelevance grade (0-3):",
    chat=False,
)
