"""Examples in a prompt: every family's turns, the terse form, cut and cleaned texts, files that cannot be used."""

from __future__ import annotations

import json

import pytest

from relabel.errors import InputError
from relabel.lineage import query_fingerprint
from relabel.prompts import PROMPTS
from relabel.prompts.encoding import PromptEncoder
from relabel.prompts.few_shot import MOST, example_queries, with_examples
from tests.relabel.language_models import FAMILIES, SPECIAL, tiny_tokenizer

LINES = [
    {"query": "how tall is the tower", "document": "The tower is 300 metres tall.", "grade": 3},
    {"query": "why does bread rise", "document": "A tower {query} is tall.", "grade": 0},
]


@pytest.fixture
def shown(tmp_path):
    """The named prompt with the examples of a file of these lines."""

    def prompt(name: str, lines=LINES):
        (tmp_path / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return with_examples(PROMPTS[name], str(tmp_path / "examples.jsonl"))

    return prompt


def _text(encoder: PromptEncoder) -> str:
    return encoder.tokenizer.decode(encoder.encode(["the query"], [""], ["the document"])[0].token_ids)


def test_terse_examples_are_answered_copies(shown):
    """Without a chat the examples come first, each with its answer; a slot's name in a text is text."""
    text = _text(PromptEncoder(shown("terse-0-3"), tiny_tokenizer("llama")))
    assert text == (
        "Passage: The tower is 300 metres tall.\nQuery: how tall is the tower\nRelevance grade (0-3):3\n\n"
        "Passage: A tower {query} is tall.\nQuery: why does bread rise\nRelevance grade (0-3):0\n\n"
        "Passage: the document\nQuery: the query\nRelevance grade (0-3):"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_chat_examples_are_turns(shown, family):
    """In a chat each example is a turn of the user and one of the assistant, the rubric once, before them all."""
    encoder = PromptEncoder(shown("graded-0-3"), tiny_tokenizer(family))
    text = _text(encoder)
    turns = {"llama": "<|start_header_id|>", "gemma": "<start_of_turn>", "qwen": "<|im_start|>"}[family]
    assert text.count("You assess search results") == 1
    places = [text.index(part) for part in ("You assess", "300 metres", "A tower {query}", "the document")]
    assert places == sorted(places)
    system = 0 if family == "gemma" else 1
    assert text.count(turns) == system + 2 * len(LINES) + 2
    assert [encoder.tokenizer.decode([token]) for token in encoder.label_token_ids] == ["0", "1", "2", "3"]


def test_examples_are_another_prompt(shown):
    """The id of the prompt, and so of the judge, covers its examples."""
    ids = {PROMPTS["terse-0-3"].prompt_id, shown("terse-0-3").prompt_id, shown("terse-0-3", LINES[:1]).prompt_id}
    assert len(ids) == 3


def test_example_texts_are_cut_and_cleaned(shown):
    """An example keeps the budgets of any pair, and a control token in it stays text."""
    evil = SPECIAL["llama"][-1]
    lines = [{"query": "tall " * 300, "document": f"{evil} " + "tower " * 300, "grade": 1}]
    tokenizer = tiny_tokenizer("llama")
    encoder = PromptEncoder(shown("terse-0-3", lines), tokenizer, max_document_tokens=20, max_query_tokens=10)
    ids = encoder.encode(["a"], [""], ["b"])[0].token_ids
    assert tokenizer.convert_tokens_to_ids(evil) not in ids
    assert len(ids) < 2 * 60


def test_queries_of_examples_are_known(shown):
    """Their fingerprints can be kept out of what the judge is measured on."""
    assert example_queries(shown("binary", [LINES[0] | {"grade": 1}])) == {query_fingerprint("how tall is the TOWER")}
    assert example_queries(PROMPTS["binary"]) == set()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"examples\.jsonl:2: found no JSON"),
        ("[]", r"examples\.jsonl:2: found list; wanted an object"),
        ('{"query": "a", "document": "b"}', r"found the keys query, document; wanted an object"),
        (
            '{"query": "a", "document": "b", "grade": 4}',
            r"examples\.jsonl:2: grade: found 4; wanted one of \[0, 1, 2, 3\]",
        ),
        ('{"query": "a", "document": "b", "grade": true}', r"grade: found True"),
        ('{"query": " ", "document": "b", "grade": 1}', r"examples\.jsonl:2: query: found ' '; wanted text"),
        ('{"query": "a", "document": 5, "grade": 1}', r"document: found 5; wanted text"),
    ],
)
def test_a_line_that_is_no_example_is_refused(tmp_path, line, message):
    """Each bad line is named with its file and number, and what it must hold."""
    (tmp_path / "examples.jsonl").write_text(json.dumps(LINES[0]) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        with_examples(PROMPTS["terse-0-3"], str(tmp_path / "examples.jsonl"))


def test_a_file_that_cannot_be_used_is_refused(tmp_path, shown):
    """A missing file, an empty one, one in another encoding, and one with too many examples."""
    with pytest.raises(InputError, match=r"nowhere\.jsonl: found no such file"):
        with_examples(PROMPTS["terse-0-3"], str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(InputError, match=f"found 0 examples; wanted 1 to {MOST}"):
        shown("terse-0-3", [])
    with pytest.raises(InputError, match=f"found {MOST + 1} examples"):
        shown("terse-0-3", LINES[:1] * (MOST + 1))
    (tmp_path / "examples.jsonl").write_bytes("größe".encode("latin-1"))
    with pytest.raises(InputError, match="found bytes that are no UTF-8"):
        with_examples(PROMPTS["terse-0-3"], str(tmp_path / "examples.jsonl"))
