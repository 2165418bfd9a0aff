"""Written queries without an engine: which documents, which examples, the prompt, what is kept, the weak pairs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from relabel.errors import InputError
from relabel.generation.config import GenerateConfig
from relabel.generation.documents import chosen_documents, shots_of
from relabel.generation.pairs import write_pairs
from relabel.generation.prompt import SHOTS, QueryPrompt, Shot, shots_id
from relabel.generation.selection import selected
from relabel.generation.writer import cleaned, refusal
from relabel.lineage import GENERATED, query_fingerprint
from relabel.records import PAIRS, Scale
from relabel.storage import Folder
from relabel.tables import TableWriter, read_whole
from tests.relabel.language_models import tiny_tokenizer

GRADES = Scale((0, 1, 2, 3), relevant_from=2)


@pytest.fixture
def table(tmp_path, make_pairs):
    """Writes rows (query_id, doc_id, query, text, label) as a pairs table and returns its folder."""

    def write(rows: list[tuple], name: str = "pairs", scale: Scale | None = GRADES) -> Folder:
        folder = Folder(tmp_path / name)
        writer = TableWriter(folder, "pairs", scale)
        writer.write(make_pairs(rows))
        writer.finish({})
        return folder

    return write


def test_documents_are_chosen_by_their_texts(table):
    """As many as asked, each text once, whatever the order of the rows; another seed chooses others; none is empty."""
    rows = [(f"q{n}", f"d{n % 40}", "any", f"text number {n % 40}", None) for n in range(80)]
    rows += [("q80", "empty", "any", " ", None), ("q81", "d1", "any", "another text with an id that is taken", None)]
    first, turned = table(rows), table(rows[::-1], "turned")
    chosen = chosen_documents(first, 12, 0, set())
    assert chosen.num_rows == len(set(chosen["text"].to_pylist())) == 12
    assert chosen_documents(turned, 12, 0, set())["text"].equals(chosen["text"])
    assert set(chosen_documents(first, 12, 1, set())["text"].to_pylist()) != set(chosen["text"].to_pylist())
    left = {f"text number {n}" for n in range(30)}
    every = chosen_documents(first, 1000, 0, left)
    assert every.num_rows == 11
    assert not left & set(every["text"].to_pylist())
    assert "d1" in every["doc_id"].to_pylist()
    both = chosen_documents(first, 1000, 0, set())
    assert len(set(both["doc_id"].to_pylist())) == both.num_rows == 41
    assert sum(name.startswith("d1#") for name in both["doc_id"].to_pylist()) == 2
    assert set(both["label_source"].to_pylist()) == {"unlabelled"}
    with pytest.raises(InputError, match="no document with text"):
        chosen_documents(table([("q", "d", "any", " ", None)], "empty"), 3, 0, set())


def test_examples_are_relevant_pairs_of_different_queries(table):
    """Relevant pairs alone, one a query; documents of a passage's size come first; bad tables are refused."""
    long, right = "many words " * 60, "a passage of the right size " * 8
    rows = [("a", "1", "query a", long, 3.0), ("a", "2", "query a", right + "a", 2.0), ("a", "3", "query a", "no", 0.0)]
    rows += [("b", "4", "query b", right + "b", 3.0), ("b", "5", "query b", right + "bb", 3.0)]
    rows += [("c", "6", "query c", long + "c", 3.0), ("d", "7", "query d", right + "d", 1.0)]
    shots = shots_of(table(rows), 5, 0)
    assert [shot.query for shot in shots] == ["query b", "query a", "query c"]
    assert shots[1].document == right + "a"
    assert len(shots_of(table(rows, "again"), 2, 0)) == 2
    with pytest.raises(InputError, match="no relevant pair"):
        shots_of(table([("a", "1", "query a", right, 0.0)], "none"), 5, 0)
    with pytest.raises(InputError, match="without a scale"):
        shots_of(table(rows, "bare", None), 5, 0)


def test_the_prompt_ends_where_a_query_follows():
    """Examples first, each on lines of its own; texts are cut, on one line, and never become control tokens."""
    tokenizer = tiny_tokenizer("llama")
    prompt = QueryPrompt((Shot("The tower\nis tall.", "how tall is it"),), tokenizer, 12)
    short, marked, long = prompt.encode(["Hot\n\nwater", "<|eot_id|>", "water boils " * 500])
    text = tokenizer.decode(short)
    assert text.endswith("\nSearch query:")
    assert "Passage: The tower is tall.\nSearch query: how tall is it\n\n" in text
    assert text.count("\n") == 4
    assert tokenizer.convert_tokens_to_ids("<|eot_id|>") not in marked
    assert len(short) < len(long) <= prompt.longest
    assert shots_id(SHOTS) != shots_id(SHOTS[:2])


@pytest.mark.parametrize(
    ("text", "query"),
    [(" how tall is it ", "how tall is it"), ("“what  is yeast?”", "what is yeast?"), ("'yeast'", "yeast"), ("", "")],
)
def test_queries_are_cleaned(text, query):
    """Spaces and quotes around a query are no part of it."""
    assert cleaned(text) == query


def test_what_is_no_query_is_refused():
    """Nothing, no letters, an example's query again: each has a reason."""
    shown = {query_fingerprint("How tall is it")}
    assert refusal(None, shown)[0] == "engine-refused"
    assert refusal("...", shown)[0] == "no-query"
    assert refusal("how TALL is  it", shown)[0] == "copied-example"
    assert refusal("what is yeast", shown) is None


def unit(rows: list[list[float]]) -> np.ndarray:
    values = np.array(rows, float)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_selection_by_hand():
    """Far queries go; near ones are the closest that are not close to the document, each text once, none its own."""
    documents = unit([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    queries = unit([[1, 0.1, 0], [0.3, 1, 0], [1, 0, 0], [0.3, 1, 0]])
    found = selected(queries, documents, [0, 1, 2, 1], 0.5, 2, 0.3)
    assert found.kept.tolist() == [0, 1, 3]
    assert found.near == [(0, 1), (1, 0)]  # for the third, its own query's text, and one as close as its own
    assert selected(queries, documents, [0, 1, 2, 1], 0.5, 0, 0.3).near == []


def test_selection_in_blocks_is_that_of_the_whole(monkeypatch):
    """Near pairs do not depend on the blocks that bound the memory."""
    from relabel.generation import selection

    random = np.random.default_rng(0)
    documents = unit(random.normal(size=(90, 8)))
    queries = unit(documents + 0.4 * unit(random.normal(size=(90, 8))))
    arguments = (queries, documents, list(range(90)), 0.8, 3, 0.1)
    whole = selected(*arguments)
    monkeypatch.setattr(selection, "BLOCK", 7)
    monkeypatch.setattr(selection, "CLOSEST", 2)
    assert selected(*arguments).near == whole.near
    assert 0 < len(whole.near) <= 3 * len(whole.kept)
    for document, query in whole.near:
        assert queries[query] @ documents[document] <= queries[document] @ documents[document] - 0.1


def test_weak_pairs(tmp_path, table):
    """Equal queries of two documents are one query with two answers; near documents are 0; queries of tables to leave
    out are not kept; the counts add up."""
    passages = [
        ("bread", "why does bread rise", "Bread rises because yeast makes gas while the dough rests in a warm place."),
        ("yeast", "Why does bread  rise", "Yeast feeds on sugar in the dough and makes gas, and so bread dough rises."),
        ("oven", "temperature to bake bread", "Bake bread at 230 degrees Celsius for the first ten minutes."),
        ("tower", "how tall is the eiffel tower", "The Eiffel Tower is 330 metres tall and stands in Paris."),
        ("water", "how to write a novel", "Water boils at 100 degrees Celsius at sea level."),
    ]
    rows = [(f"hash{n}", name, query, text, 1.0) for n, (name, query, text) in enumerate(passages)]
    written, test = table(rows, "written", None), table([("t", "x", "how tall is the Eiffel tower", "x", 0.0)], "test")
    config = GenerateConfig(pairs="unused", leave_out=[test.uri], near=1, margin=0.1, least_similarity=0.4)
    out, lines = Folder(tmp_path / "out"), []
    manifest = write_pairs(config, written, out, {"model": "m"}, lines.append, 0.0)
    assert manifest.about["funnel"] == {"written": 5, "in_leave_out": 1, "too_far": 1, "kept": 3}
    assert manifest.scale == Scale((0, 1), relevant_from=1)
    found = read_whole(out, "pairs")
    assert set(found["label_source"].to_pylist()) == {GENERATED}
    labels = {(row["query"], row["doc_id"]): row["label"] for row in found.to_pylist()}
    rise, bake = passages[0][1], passages[2][1]
    assert {key for key, label in labels.items() if label == 1} == {(rise, "bread"), (rise, "yeast"), (bake, "oven")}
    assert {key for key, label in labels.items() if label == 0} == {(rise, "oven"), (bake, "bread"), (bake, "yeast")}
    assert found["query_id"].to_pylist() == sorted(
        found["query_id"].to_pylist(), key=found["query_id"].to_pylist().index
    )
    assert "5 written, 3 kept" in lines[-1]
    every = config.model_copy(update={"leave_out": [written.uri]})
    with pytest.raises(InputError, match=r"no written query: 5 in the table, 5 of them in tables to leave out"):
        write_pairs(every, written, out, {}, lines.append, 0.0)
    with pytest.raises(InputError, match=r"none of 4 written queries with a cosine of 0\.999.*lower least_similarity"):
        write_pairs(config.model_copy(update={"least_similarity": 0.999}), written, out, {}, lines.append, 0.0)


def test_documents_without_a_query_are_pairs_rows(table):
    """What is asked for is a table of PAIRS like any other, so that the sharded stage takes it."""
    chosen = chosen_documents(table([("q", "d", "any", "a text", 2.0)]), 5, 0, set())
    assert chosen.schema.equals(PAIRS)
    assert chosen.select(["query", "label"]).equals(
        pa.table(
            {"query": [""], "label": pa.array([None], pa.float32())}, schema=chosen.select(["query", "label"]).schema
        )
    )
