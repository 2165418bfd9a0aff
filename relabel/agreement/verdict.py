"""Plain-word sentences about a judge's agreement with people: what it beats, what beats it, whether to trust it.

In: the dictionary of `agreement.agreement`. Invariant: a judge that is no better than chance, or worse than a
scorer that costs nothing, is called that, whatever the other numbers say.
"""

from __future__ import annotations

#: Below this many queries the sentences say that the intervals are wide.
FEW_QUERIES = 30
#: A grade given to at least this share of the pairs is pointed out.
ONE_GRADE_SHARE = 0.9


def trust(agreement: dict) -> str:
    """Whether the judge may relabel: no, doubtful or yes.

    `no`: not clearly above chance, or clearly below a scorer that costs nothing; `doubtful`: not clearly above all of
    them, or compared with none; `yes` otherwise. Clearly: the interval of the value (of the paired difference)
    leaves 0.5 (0) out.
    """
    headline = headline_auc(agreement)
    if not _above(headline["pooled"], 0.5):
        return "no"
    differences = [
        other["auc"][headline["threshold"]][view]
        for other in agreement["comparisons"]
        for view in ("difference", "difference_within_query")
    ]
    if any(difference["high"] is not None and difference["high"] < 0 for difference in differences):
        return "no"
    return "yes" if differences and all(_above(difference, 0.0) for difference in differences) else "doubtful"


def headline_auc(agreement: dict) -> dict:
    """The judge's AUC at the grade from which people call a document relevant: {threshold, pooled, within_query}."""
    threshold = str(agreement["human_scale"]["relevant_from"])
    return {"threshold": threshold} | agreement["auc"][threshold]


def plain_verdict(agreement: dict) -> list[str]:
    """Sentences for a reader without statistics, the conclusion last."""
    sentences = [
        f"On {agreement['pairs']:,} held-out pairs of {agreement['queries']:,} queries "
        f"the judge's {_compared(agreement, 'pooled')}.",
        f"Inside a query, where a re-ranker works, its {_compared(agreement, 'within_query')}.",
    ]
    exact, majority, kappa = agreement["accuracy"], agreement["majority"], agreement["kappa"]["unweighted"]
    sentences.append(
        f"It gives the reference grade ({agreement['compared']}) in {percent(exact['value'])} of the pairs; "
        f"always answering {majority['answer']} would in {percent(majority['accuracy'])}. "
        f"Cohen's κ is {with_interval(kappa)}: {_kappa_words(kappa)}."
    )
    grade, share = max(agreement["judge_grades"].items(), key=lambda entry: entry[1])
    if share >= ONE_GRADE_SHARE:
        sentences.append(f"It answers {grade} for {percent(share)} of the pairs: it hardly tells documents apart.")
    others = sorted(source for source in agreement["human_sources"] if source != "human")
    if others:
        sentences.append(f"The grades that it is compared with come from {' and '.join(others)}, not from people.")
    if agreement["queries"] < FEW_QUERIES:
        sentences.append(f"{agreement['queries']} queries are few: the intervals are wide.")
    return [*sentences, _conclusion(agreement)]


def with_interval(interval: dict) -> str:
    """`0.62 [0.55, 0.69]`, without the interval where there is none, `undefined` without a value."""
    if interval["low"] is None or interval["high"] is None:
        return number(interval["value"])
    return f"{number(interval['value'])} [{number(interval['low'])}, {number(interval['high'])}]"


def number(value: float | None) -> str:
    """Two digits, with a real minus sign and no negative zero."""
    return "undefined" if value is None else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _conclusion(agreement: dict) -> str:
    return {
        "no": "The judge should not be trusted to relabel.",
        "doubtful": "It is not shown that the judge is better than what costs nothing: its labels may bring nothing.",
        "yes": "The judge is better than chance and than every scorer beside it on these pairs; "
        "whether its labels train a better re-ranker, only the ranking on human judgements can tell.",
    }[trust(agreement)]


def _compared(agreement: dict, view: str) -> str:
    headline = headline_auc(agreement)
    relations: dict[str, list[str]] = {_relation(headline[view], 0.5): ["chance"]}
    for other in agreement["comparisons"]:
        values = other["auc"][headline["threshold"]]
        difference = values["difference" if view == "pooled" else "difference_within_query"]
        relations.setdefault(_relation(difference, 0.0), []).append(
            f"{other['name']} ({number(values[view]['value'])})"
        )
    words = [f"{relation} {_list(names)}" for relation, names in relations.items()]
    return f"AUC(≥{headline['threshold']}) is {with_interval(headline[view])}: {'; '.join(words)}"


def _relation(interval: dict, bound: float) -> str:
    if _above(interval, bound):
        return "better than"
    if interval["high"] is not None and interval["high"] < bound:
        return "worse than"
    return "not distinguishable from"


def _kappa_words(interval: dict) -> str:
    if interval["low"] is None:
        return "agreement beyond chance cannot be told"
    if interval["low"] > 0:
        return "more agreement than two unrelated graders would have"
    return "no agreement beyond that of two unrelated graders"


def _above(interval: dict, bound: float) -> bool:
    return interval["low"] is not None and interval["low"] > bound


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
