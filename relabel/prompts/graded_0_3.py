"""Four grades 0–3 after the scale that TREC Deep Learning assessors used, in our own words."""

from relabel.prompts.prompt import Prompt
from relabel.records import Scale

GRADED_0_3 = Prompt(
    name="graded-0-3",
    scale=Scale((0, 1, 2, 3), relevant_from=2),
    labels=("0", "1", "2", "3"),
    system=(
        "You assess search results. Given a query and a passage, you say how well the passage serves a person who "
        "typed the query, on this scale:\n"
        "3 = the passage is about the query and gives the exact answer.\n"
        "2 = the passage answers the query in part, or the answer is hidden among other things.\n"
        "1 = the passage is on the topic of the query but does not answer it.\n"
        "0 = the passage has nothing to do with the query.\n"
        "Judge only what the passage says. Reply with one digit."
    ),
    user="Query: {query}\n\nPassage: {document}\n\nGrade (0, 1, 2 or 3):",
)
