"""Relevant or not, answered Yes or No: the cheapest question, for judges that cannot tell four grades apart."""

from relabel.prompts.prompt import Prompt
from relabel.records import Scale

BINARY = Prompt(
    name="binary",
    scale=Scale((0, 1), relevant_from=1),
    labels=("No", "Yes"),
    system=(
        "You assess search results. Say whether the passage answers the query or clearly helps to answer it. "
        "Being on the same topic is not enough. Reply Yes or No."
    ),
    user="Query: {query}\n\nPassage: {document}\n\nDoes the passage answer the query? Yes or No:",
)
