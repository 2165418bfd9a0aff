"""What metrics say, in sentences: warnings before believing them, and what relabelling brought.

In: the dictionary that `comparison.compare` builds. Invariant: a re-ranker below the zero-shot encoder or the
first stage is named, with or without significance.
"""

from __future__ import annotations

from relabel.evidence.metrics import CUTOFF, TIE_ORDERS
from relabel.words import interval

#: From this share of queries with ties in reach of the top 10 a system is warned about.
TIED_SHARE = 0.1
#: Below this many queries the report says that they are few.
FEW_QUERIES = 30


def warnings(found: dict) -> list[str]:
    """What a reader must know before believing a value: ties, constant scores, few queries, regressions."""
    lines, kinds = [], kinds_of(found)
    for system in found["systems"]:
        ties = system["ties"]
        if ties["constant"]:
            lines.append(
                f"{system['name']} gives all documents of {ties['constant']} of {ties['queries']} queries the same "
                f"score: it does not rank them. Their values are those of a random order."
            )
        if ties["tied"] > TIED_SHARE * max(ties["queries"], 1) and ties["tied"] > ties["constant"]:
            lines.append(
                f"{system['name']} has equal scores in reach of the top {CUTOFF} in {ties['tied']} of "
                f"{ties['queries']} queries: values there are means over {TIE_ORDERS} random orders of these documents."
            )
        if len(reached := system.get("trainings", ())) > 1:
            lines.append(
                f"{system['name']}: means over {len(reached)} trainings with different seeds, which reach "
                f"{found['primary']} of {min(reached):.3f} to {max(reached):.3f}; intervals and tests are over queries."
            )
    if found["queries"] < FEW_QUERIES:
        lines.append(f"{found['queries']} test queries are few: only large differences can be told from chance.")
    if found["queries_without_relevant"]:
        lines.append(
            f"{found['queries_without_relevant']} of {found['queries']} test queries have no relevant document, "
            f"{found['queries_without_gain']} of them none above the lowest grade: RR, AP and P are 0 there for every "
            f"system, and without a grade above the lowest nDCG is 0 too."
        )
    lines += [
        f"Re-ranker {name} orders every test query as the zero-shot encoder does: its training changed nothing, and "
        f"what sets it apart from others is what training did to them."
        for name in unchanged(found)
    ]
    for test in primary_tests(found):
        re_ranker, reference = kinds[test["system"]] == "re-ranker", kinds[test["reference"]]
        if test["difference"]["value"] < 0 and re_ranker and reference != "re-ranker":
            lines.append(sentence(test, f"the {test['reference']}"))
    return lines


def findings(found: dict) -> list[str]:
    """What relabelling brought: adjusted against original labels, one sentence a test, on the primary measure."""
    kinds = kinds_of(found)
    between = [test for test in primary_tests(found) if kinds[test["reference"]] == "re-ranker"]
    if not between:
        return ["No re-ranker on adjusted labels was compared with one on the original labels."]
    still = unchanged(found)
    return [
        sentence(test, f"re-ranker {test['reference']} on the original labels")
        + (" It is the zero-shot encoder unchanged." if test["system"] in still else "")
        for test in between
    ]


def powered_findings(powered: dict) -> list[str]:
    """What a judge of the ungraded queries adds to people's grades, a sentence a system."""
    return [
        f"Over {one['human_queries']} graded and {one['judged_queries']} ungraded queries, with the judge's help, the "
        f"{powered['measure']} of {name} is {interval(one['value'])}; from the graded ones alone "
        f"{interval(one['human_only'])}."
        for name, one in powered["values"].items()
    ]


def unchanged(found: dict) -> list[str]:
    """Re-rankers whose values equal the zero-shot encoder's for every query and measure, in order."""
    kinds = kinds_of(found)
    against = [test for test in found["tests"] if kinds[test["reference"]] == "zero-shot"]
    moved = {test["system"] for test in against if test["better"] or test["worse"]}
    return [name for name in dict.fromkeys(test["system"] for test in against) if name not in moved]


def kinds_of(found: dict) -> dict[str, str]:
    """System name → `first stage`, `zero-shot` or `re-ranker`."""
    return {system["name"]: system["kind"] for system in found["systems"]}


def primary_tests(found: dict) -> list[dict]:
    return [test for test in found["tests"] if test["measure"] == found["primary"]]


def sentence(test: dict, which: str) -> str:
    """One test in words; `which` says what the reference is."""
    difference = test["difference"]
    shown = round(difference["value"], 3) + 0.0
    how = "better" if shown > 0 else "worse"
    if shown == 0:
        relation = "equals"
    elif test["significant"]:
        relation = f"is significantly {how} than"
    else:
        relation = f"is {how} than, but not significantly different from,"
    bounds = "" if difference["low"] is None else f" [{difference['low']:+.3f}, {difference['high']:+.3f}]"
    change = f"{shown:+.3f}{bounds}".replace("-", "−")
    return (
        f"Re-ranker {test['system']} {relation} {which}: {test['measure']} {test['value']:.3f} against "
        f"{test['reference_value']:.3f}, difference {change}, corrected p {probability(test['p_holm'])}."
    )


def probability(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
