"""What a prompt is: a rubric, a scale, one label a grade, examples or none, and the order of the parts.

A prompt is a template, not a function, so that its hash (`prompt_id`) says everything about it. Instructions come
first, then examples, then the side that repeats most among neighbouring pairs (the query), then the document: engines
share the computation of equal prefixes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from relabel.errors import InputError
from relabel.records import Scale


@dataclass(frozen=True)
class Example:
    """A graded pair that is shown before the one to grade; `label` is one of the prompt's."""

    query: str
    document: str
    label: str


@dataclass(frozen=True)
class Prompt:
    """One way to ask for a grade.

    Attributes:
        name: what recipes call it.
        scale: the grades it asks for and which of them are relevant.
        labels: the answer for each grade of the scale, in its order; each must be one token in place.
        user: the template of the message, with `{query}` and `{document}` once each.
        system: the assessor's role; put before `user` where a chat template has no system role.
        chat: whether the model's chat template is used; False: `user` is the whole prompt.
        examples: graded pairs that come first: turns of the chat, or answered copies of `user` (`few_shot`).
    """

    name: str
    scale: Scale
    labels: tuple[str, ...]
    user: str
    system: str = ""
    chat: bool = True
    examples: tuple[Example, ...] = ()

    def __post_init__(self):
        if len(self.labels) != len(self.scale.grades) or len(set(self.labels)) != len(self.labels):
            raise InputError(
                f"prompt {self.name!r}", f"labels {list(self.labels)}", f"one label a grade of {self.scale.grades}"
            )
        for slot in ("{query}", "{document}"):
            if self.user.count(slot) != 1 or slot in self.system:
                raise InputError(
                    f"prompt {self.name!r}", f"{self.user.count(slot)} × {slot}", f"{slot} once, in `user`"
                )
        if not self.chat and self.system:
            raise InputError(f"prompt {self.name!r}", "a system message without a chat", "all text in `user`")
        for example in self.examples:
            if example.label not in self.labels:
                raise InputError(
                    f"prompt {self.name!r}: example", f"the label {example.label!r}", f"one of {list(self.labels)}"
                )

    @property
    def prompt_id(self) -> str:
        """12 hexadecimal digits over everything that decides what the model reads."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]
