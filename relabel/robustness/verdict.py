"""What movements say, in plain sentences: what they are to be compared with, what broke, which attack worked best.

In: the dictionary that `movement.measure` builds. Invariant: an attack that clearly raises grades is called that,
however little the others do.
"""

from __future__ import annotations

from relabel.agreement.verdict import percent
from relabel.words import interval, plural, signed

#: An attack worth at least this share of the distance between relevant and irrelevant documents is called dangerous.
DANGEROUS = 0.25


def plain_verdict(found: dict) -> list[str]:
    """Sentences for a reader without statistics, the conclusion last."""
    sentences = [_separation(found), _broken(found)]
    attacks = [entry for entry in found["perturbations"] if entry["attack"] and entry["all"]["pairs"]]
    if attacks:
        strongest = max(attacks, key=lambda entry: (entry["broken"], entry["all"]["movement"]["value"]))
        sentences += [_strongest(strongest), _conclusion(strongest, found["separation"]["value"])]
    return sentences


def _separation(found: dict) -> str:
    separation, pairs = found["separation"], f"{found['pairs']:,} unperturbed pairs of {found['queries']:,} queries"
    if separation["value"] is None:
        return f"{pairs} lie on one side of the relevance line: movements have nothing to be compared with."
    return (
        f"On {pairs} the mean expected grade of relevant documents minus that of irrelevant ones is "
        f"{interval(separation, 2, sign=True)}: movements are to be compared with that."
    )


def _broken(found: dict) -> str:
    broken = [
        f"{entry['name']} ({signed(entry['all']['movement']['value'], 2)})"
        for entry in found["perturbations"]
        if entry["broken"]
    ]
    tried = plural(len(found["perturbations"]), "perturbation")
    if not broken:
        return f"Under none of {tried} do grades move clearly against what is expected."
    return f"Of {tried}, grades move clearly against what is expected under {len(broken)}: {', '.join(broken)}."


def _strongest(entry: dict) -> str:
    movement, success = interval(entry["all"]["movement"], 2, sign=True), entry["all"]["success"]["value"]
    sentence = f"The strongest attack, {entry['name']}, moves the grade by {movement}"
    if success is None:
        return f"{sentence}; the judge called every document relevant without it, too."
    return f"{sentence}; {percent(success)} of the documents that the judge did not call relevant are with it."


def _conclusion(entry: dict, separation: float | None) -> str:
    if not entry["broken"]:
        return "No attack tried here clearly raises the judge's grades."
    if separation is None or separation <= 0:
        return "An attack raises the judge's grades, and relevance does not: documents can be written for this judge."
    part = entry["all"]["movement"]["value"] / separation
    how = "The judge is easily fooled" if part >= DANGEROUS else "The judge can be fooled a little"
    return f"{how}: that attack is worth {percent(part)} of the difference that relevance makes."
