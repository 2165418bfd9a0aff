"""Prompts to token ids: chat template, token budget, grade tokens checked in place. Training and judging share it.

Invariants: no prompt is longer than `max_prompt_tokens`; each grade is exactly one token where the answer starts;
text of a query or document never becomes a control token of the model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from relabel.errors import InputError
from relabel.models import load_tokenizer, local_model
from relabel.prompts import asked
from relabel.prompts.prompt import Prompt

#: Stand-ins for query and document while the chat template is rendered once.
QUERY_SLOT, DOCUMENT_SLOT = "QUERYSLOT7f3a", "DOCUMENTSLOT7f3a"
#: A token of running text has fewer characters than this on average: longer texts are cut before tokenizing.
CHARACTERS_A_TOKEN = 24
#: Tokens that a join of three pieces may cost more than the pieces alone.
JOIN_SLACK = 16


@dataclass(frozen=True)
class EncodedPrompt:
    """Token ids of one prompt, ready for an engine, and whether its query or document was cut."""

    token_ids: list[int]
    truncated: bool


class TextCutter:
    """Texts from outside for one tokenizer: no control tokens in them, and none longer than a budget."""

    def __init__(self, tokenizer: Any):
        self._tokenizer, self._control = tokenizer, _control_pattern(tokenizer)

    def cut(self, texts: list[str], budget: int) -> tuple[list[str], list[bool]]:
        """Texts without control tokens, cut to `budget` tokens, and which of them were cut."""
        texts = [self._control.sub(lambda match: " ".join(match.group()), text) for text in texts]
        cut = [len(text) > budget * CHARACTERS_A_TOKEN for text in texts]
        texts = [text[: budget * CHARACTERS_A_TOKEN] for text in texts]
        long = [row for row, text in enumerate(texts) if len(text.encode("utf-8", "surrogatepass")) > budget]
        if long:
            offsets = self._tokenizer(
                [texts[row] for row in long], add_special_tokens=False, return_offsets_mapping=True
            )["offset_mapping"]
            for row, spans in zip(long, offsets, strict=True):
                if len(spans) > budget:
                    texts[row], cut[row] = texts[row][: spans[budget - 1][1]], True
        return texts, cut


class PromptEncoder:
    """Turns pairs into token ids for one prompt and one tokenizer.

    Args:
        prompt: what is asked.
        tokenizer: a fast tokenizer of transformers.
        max_document_tokens: budget of title and text together.
        max_query_tokens: budget of the query.

    Raises:
        InputError: where the tokenizer has no chat template but the prompt needs one, or a grade's label is not one
            token in place.
    """

    def __init__(self, prompt: Prompt, tokenizer: Any, max_document_tokens: int = 256, max_query_tokens: int = 96):
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(f"tokenizer {type(tokenizer).__name__}", "a slow tokenizer", "one with a tokenizer.json")
        self.prompt, self.tokenizer = prompt, tokenizer
        self.max_document_tokens, self.max_query_tokens = max_document_tokens, max_query_tokens
        self._cutter = TextCutter(tokenizer)
        rendered = _rendered(prompt, tokenizer, self._examples())
        self._pieces = re.split(f"({QUERY_SLOT}|{DOCUMENT_SLOT})", rendered)
        self._add_special_tokens = not prompt.chat
        self.label_token_ids = self._label_token_ids()
        self.max_prompt_tokens = (
            len(self._tokens([self._joined("", "")])[0]) + max_document_tokens + max_query_tokens + JOIN_SLACK
        )

    def encode(self, queries: list[str], titles: list[str], texts: list[str]) -> list[EncodedPrompt]:
        """Token ids of each pair, in order; the three lists have equal length."""
        documents = [f"{title}\n{text}" if title else text for title, text in zip(titles, texts, strict=True)]
        queries, queries_cut = self._cutter.cut(queries, self.max_query_tokens)
        documents, documents_cut = self._cutter.cut(documents, self.max_document_tokens)
        ids = self._tokens([self._joined(*pair) for pair in zip(queries, documents, strict=True)])
        for row, tokens in enumerate(ids):
            while len(tokens) > self.max_prompt_tokens:
                shrinking = documents if documents[row] else queries
                shrinking[row] = shrinking[row][: int(len(shrinking[row]) * 0.9)]
                tokens = self._tokens([self._joined(queries[row], documents[row])])[0]
                documents_cut[row] = True
            ids[row] = tokens
        return [
            EncodedPrompt(tokens, query_cut or document_cut)
            for tokens, query_cut, document_cut in zip(ids, queries_cut, documents_cut, strict=True)
        ]

    def _examples(self) -> list[tuple[str, str]]:
        """Message and answer of each example, its texts cut as those of any pair."""
        queries, _ = self._cutter.cut([example.query for example in self.prompt.examples], self.max_query_tokens)
        documents, _ = self._cutter.cut(
            [example.document for example in self.prompt.examples], self.max_document_tokens
        )
        return [
            (_filled(self.prompt.user, query, document), example.label)
            for query, document, example in zip(queries, documents, self.prompt.examples, strict=True)
        ]

    def _joined(self, query: str, document: str) -> str:
        fill = {QUERY_SLOT: query, DOCUMENT_SLOT: document}
        return "".join(fill.get(piece, piece) for piece in self._pieces)

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=self._add_special_tokens, padding=False, truncation=False)[
            "input_ids"
        ]

    def _label_token_ids(self) -> list[int]:
        context = self._joined("how tall is the tower", "The tower is 300 metres tall.")
        before = self._tokens([context])[0]
        ids = []
        for label in self.prompt.labels:
            after = self._tokens([context + label])[0]
            if after[:-1] != before:
                pieces = self.tokenizer.convert_ids_to_tokens(after[len(before) :])
                raise InputError(
                    f"prompt {self.prompt.name!r}: label {label!r}",
                    f"the tokens {pieces} in place, with {len(after) - len(before)} added to the prompt's",
                    "exactly one token a grade",
                    "choose another prompt or another label for this tokenizer",
                )
            ids.append(after[-1])
        if len(set(ids)) != len(ids):
            raise InputError(f"prompt {self.prompt.name!r}", f"grade tokens {ids}", "a different token for each grade")
        return ids


def encoder_of(config: Any) -> PromptEncoder:
    """The encoder of a judge's configuration (`model`, `prompt`, `examples` and the token budgets); raises as
    `local_model` and `PromptEncoder` do."""
    tokenizer = load_tokenizer(local_model(config.model))
    prompt = asked(config.prompt, config.examples)
    return PromptEncoder(prompt, tokenizer, config.max_document_tokens, config.max_query_tokens)


def _filled(template: str, query: str, document: str) -> str:
    """A prompt's message; texts that contain a slot's name are left as they are."""
    fill = {"{query}": query, "{document}": document}
    return "".join(fill.get(piece, piece) for piece in re.split(r"(\{query\}|\{document\})", template))


def _rendered(prompt: Prompt, tokenizer: Any, examples: list[tuple[str, str]]) -> str:
    user = _filled(prompt.user, QUERY_SLOT, DOCUMENT_SLOT)
    if not prompt.chat:
        return "".join(f"{message}{answer}\n\n" for message, answer in examples) + user
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            f"prompt {prompt.name!r}", "a tokenizer without a chat template", "an instruct model", "use 'terse-0-3'"
        )
    turns = [
        {"role": role, "content": content}
        for message, answer in [*examples, (user, "")]
        for role, content in (("user", message), ("assistant", answer))
    ][:-1]
    first = turns[0]["content"]
    alone = [{"role": "user", "content": f"{prompt.system}\n\n{first}" if prompt.system else first}, *turns[1:]]
    if prompt.system:
        with_system = [{"role": "system", "content": prompt.system}, *turns]
        try:
            rendered = _chat(tokenizer, with_system)
        except Exception as error:  # templates refuse a role by an exception of their own making
            if "role" not in str(error).lower():
                raise
            rendered = ""
        if prompt.system in rendered:
            return rendered
    return _chat(tokenizer, alone)


def _chat(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)


def _control_pattern(tokenizer: Any) -> re.Pattern:
    """Matches what the tokenizer would read as a control token if it stood in a document."""
    tokens = {str(token) for token in tokenizer.all_special_tokens}
    tokens |= {token.content for token in tokenizer.added_tokens_decoder.values()}
    tokens = {token for token in tokens if len(token) > 1 and not token.isspace()}
    return re.compile("|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True)) or r"(?!)")
