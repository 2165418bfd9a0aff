"""Examples in the prompt: graded pairs from a JSON-lines file, shown to the judge before the pair to grade.

    {"query": "how tall is the tower", "document": "The tower is 300 metres tall.", "grade": 3}

Few are enough, and each costs its tokens once for all pairs where the engine shares prefixes. Their queries count as
seen by the judge: they never enter the measurement of its agreement with people.
"""

from __future__ import annotations

import json
from dataclasses import replace

from relabel.errors import InputError
from relabel.lineage import query_fingerprint
from relabel.prompts.prompt import Example, Prompt
from relabel.storage import Folder

#: More examples than this would fill the context of a small judge.
MOST = 32


def with_examples(prompt: Prompt, address: str) -> Prompt:
    """`prompt` with the examples of a file, local or on S3, in the file's order.

    Raises:
        InputError: for a missing file, a line that is no example, a grade off the prompt's scale, or too many.
    """
    folder, _, name = address.rpartition("/")
    try:
        text = Folder(folder or ".").read_bytes(name).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"examples {address}", f"bytes that are no UTF-8 ({error.reason})", "UTF-8") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not 1 <= len(lines) <= MOST:
        raise InputError(f"examples {address}", f"{len(lines)} examples", f"1 to {MOST}")
    return replace(prompt, examples=tuple(_example(prompt, line, f"{address}:{number}") for number, line in lines))


def example_queries(prompt: Prompt) -> set[str]:
    """Fingerprints of the examples' queries."""
    return {query_fingerprint(example.query) for example in prompt.examples}


def _example(prompt: Prompt, line: str, place: str) -> Example:
    wanted = 'an object with "query", "document" and "grade"'
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(place, f"no JSON ({error})", wanted) from None
    if not isinstance(values, dict) or set(values) != {"query", "document", "grade"}:
        found = f"the keys {', '.join(map(str, values))}" if isinstance(values, dict) else type(values).__name__
        raise InputError(place, found, wanted)
    for key in ("query", "document"):
        if not isinstance(values[key], str) or not values[key].strip():
            raise InputError(f"{place}: {key}", repr(values[key]), "text")
    if isinstance(values["grade"], bool) or values["grade"] not in prompt.scale.grades:
        raise InputError(f"{place}: grade", repr(values["grade"]), f"one of {list(prompt.scale.grades)}")
    label = prompt.labels[prompt.scale.grades.index(values["grade"])]
    return Example(values["query"], values["document"], label)
