"""Prompts by name. To add one: copy a file of this folder, change it, add it to `PROMPTS`."""

from __future__ import annotations

import difflib

from relabel.errors import ConfigError
from relabel.prompts.binary import BINARY
from relabel.prompts.few_shot import with_examples
from relabel.prompts.graded_0_3 import GRADED_0_3
from relabel.prompts.graded_0_3_passage_first import GRADED_0_3_PASSAGE_FIRST
from relabel.prompts.graded_1_4 import GRADED_1_4
from relabel.prompts.prompt import Prompt
from relabel.prompts.terse_0_3 import TERSE_0_3

PROMPTS: dict[str, Prompt] = {
    prompt.name: prompt for prompt in (GRADED_0_3, GRADED_0_3_PASSAGE_FIRST, GRADED_1_4, BINARY, TERSE_0_3)
}


def prompt_named(name: str) -> Prompt:
    """The prompt of that name.

    Raises:
        ConfigError: for an unknown name, with the nearest known one.
    """
    if name not in PROMPTS:
        near = difflib.get_close_matches(name, PROMPTS, n=1)
        raise ConfigError("prompt", repr(name), f"one of {', '.join(PROMPTS)}", f"write {near[0]!r}" if near else "")
    return PROMPTS[name]


def asked(prompt: str, examples: str | None) -> Prompt:
    """The prompt of that name with the examples of a file, if there is one; raises as both do."""
    return with_examples(prompt_named(prompt), examples) if examples else prompt_named(prompt)


__all__ = ["PROMPTS", "Prompt", "asked", "prompt_named"]
