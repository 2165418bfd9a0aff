"""The query stands before and after the document, word for word.

A question that is asked again is not answered by that: a good judge must not give more for it. Judges that compare
words or meanings are drawn to it.
"""

from __future__ import annotations

from relabel.robustness.perturbation import Expectation, Pair, Perturbation, Setting
from relabel.robustness.text_parts import joined


def repeat_query(pair: Pair, setting: Setting) -> Pair:
    query = pair.query.strip()
    return pair._replace(text=joined(query, pair.text, query))


QUERY_REPEATED = Perturbation("query-repeated", Expectation.NOT_HIGHER, repeat_query, attack=True)
