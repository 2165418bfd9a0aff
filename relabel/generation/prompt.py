"""What the model reads before it writes a query: some documents with their queries, then the document.

The few-shot form of InPars (Bonifacio et al. 2022, arXiv:2202.05144) in words of this project: a plain completion, so
that base and instruct models of any family serve, cut at the line's end.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import astuple, dataclass
from typing import Any

from relabel.prompts.encoding import TextCutter

DOCUMENT, QUERY = "Passage: ", "\nSearch query:"


@dataclass(frozen=True)
class Shot:
    """A document and a query that it answers."""

    document: str
    query: str


#: Examples where there are no human grades.
SHOTS = (
    Shot(
        "Bread dough rises because yeast turns sugar into carbon dioxide. The gas is held by strands of gluten, so "
        "that the dough grows; at room temperature this takes one to two hours.",
        "how long does bread dough take to rise",
    ),
    Shot(
        "A suspension bridge carries its deck on cables that hang between two towers. The cables pull on blocks of "
        "concrete in the ground at both ends, which are called anchorages.",
        "what is an anchorage of a bridge",
    ),
    Shot(
        "Dogs may not eat chocolate. It contains theobromine, which they break down slowly; signs of poisoning are "
        "vomiting, restlessness and a fast heartbeat, mostly within twelve hours.",
        "symptoms of chocolate poisoning in dogs",
    ),
)


class QueryPrompt:
    """Token ids of the prompt for each document.

    Args:
        shots: the examples, in order.
        tokenizer: a fast tokenizer of transformers.
        max_document_tokens: budget of a document, and of each document and query of the examples.
    """

    def __init__(self, shots: tuple[Shot, ...], tokenizer: Any, max_document_tokens: int):
        self._tokenizer, self._cutter, self._budget = tokenizer, TextCutter(tokenizer), max_document_tokens
        documents, _ = self._cutter.cut([_line(shot.document) for shot in shots], max_document_tokens)
        queries, _ = self._cutter.cut([_line(shot.query) for shot in shots], max_document_tokens)
        self._head = "".join(
            f"{DOCUMENT}{document}{QUERY} {query}\n\n" for document, query in zip(documents, queries, strict=True)
        )
        self.longest = len(self._tokens([f"{self._head}{DOCUMENT}{QUERY}"])[0]) + max_document_tokens + 16

    def encode(self, documents: list[str]) -> list[list[int]]:
        """Token ids of each prompt, none longer than `longest`."""
        texts, _ = self._cutter.cut([_line(document) for document in documents], self._budget)
        ids = self._tokens([f"{self._head}{DOCUMENT}{text}{QUERY}" for text in texts])
        for row, text in enumerate(texts):
            while len(ids[row]) > self.longest:
                text = text[: int(len(text) * 0.9)]
                ids[row] = self._tokens([f"{self._head}{DOCUMENT}{text}{QUERY}"])[0]
        return ids

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        return self._tokenizer(texts, padding=False, truncation=False)["input_ids"]


def shots_id(shots: tuple[Shot, ...]) -> str:
    """12 hexadecimal digits over the examples and the form of the prompt."""
    return hashlib.sha256(json.dumps([DOCUMENT, QUERY, *map(astuple, shots)]).encode()).hexdigest()[:12]


def _line(text: str) -> str:
    """On one line, so that a line's end always ends the query."""
    return " ".join(text.split())
