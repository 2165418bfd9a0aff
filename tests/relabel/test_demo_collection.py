"""The demo collection: deterministic documents, questions that do not leak between splits, grades that all lead
somewhere, and a BEIR folder that reads back; on every supported Python found on this machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from relabel.demo import SPLITS, build_collection, load_grades, load_questions, write_beir

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def documents():
    """The documents of this Python."""
    return build_collection()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BEIR folder written once, with the summary of the writing."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, write_beir(folder)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def interpreter(version: str) -> str | None:
    """A Python of this version: the running one, one on PATH, or one beside those that pyenv keeps; else None."""
    if version == "{}.{}".format(*sys.version_info[:2]):
        return sys.executable
    kept = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in (shutil.which(f"python{version}"), *map(str, kept)):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    return None


def test_collection_has_the_promised_size_and_unique_ids(documents):
    """There are 2,000 to 5,000 documents, each with an id of its own, a title that starts with it, and a text."""
    assert 2_000 <= len(documents) <= 5_000
    assert len({document.doc_id for document in documents}) == len(documents)
    assert all(document.title.startswith(document.doc_id) for document in documents)
    assert all(len(document.text.split()) >= 4 for document in documents)


def test_documents_are_named_as_users_name_them(documents):
    """Names are public ones: `os.path` and not its platform module, no private parts, one name an object."""
    names = {document.doc_id for document in documents}
    assert {
        "os.path.split",
        "str.splitlines",
        "json.dumps",
        "random.shuffle",
        "socket.socket.connect",
    } <= names
    assert not [name for name in names if name.startswith(("posixpath.", "ntpath.", "builtins."))]
    assert not [name for name in names if re.search(r"(^|\.)_", name)]
    assert "OSError" in names
    assert not names & {"IOError", "EnvironmentError"}


def test_documents_carry_nothing_of_the_machine(documents):
    """No title or text holds a memory address, the interpreter's path or the home folder."""
    traces = (sys.executable, str(Path.home()) + "/")
    for document in documents:
        assert not re.search(r" at 0x[0-9a-f]+", document.title + document.text), document.doc_id
        assert not [trace for trace in traces if trace in document.title + document.text], document.doc_id


def test_two_builds_are_equal_whatever_is_loaded_and_seeded(tmp_path):
    """Another process with another hash seed and a patched `logging` writes the same bytes as this one."""
    write_beir(tmp_path / "here")
    script = (
        "import logging, sys; logging.Logger.shout = lambda self: 'A method that some library adds.'; "
        f"sys.path.insert(0, {str(ROOT)!r}); from relabel.demo import write_beir; write_beir(sys.argv[1])"
    )
    for seed in ("1", "2"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path / seed)], check=True, env={"PYTHONHASHSEED": seed})
        for path in (tmp_path / "here").rglob("*.*"):
            assert path.read_bytes() == (tmp_path / seed / path.relative_to(tmp_path / "here")).read_bytes()


def test_every_split_has_questions_and_ids_are_unique():
    """At least 80 questions, unique ids and texts, and none of the four splits is empty."""
    questions = load_questions()
    assert len(questions) >= 80
    assert len({question.query_id for question in questions}) == len(questions)
    assert Counter(question.split for question in questions).keys() == set(SPLITS)
    assert len({" ".join(words(question.text)) for question in questions}) == len(questions)


def test_no_question_has_a_near_twin_in_another_split():
    """Questions of different splits share at most half of their words."""
    questions = load_questions()
    for first in questions:
        for second in questions:
            if first.split < second.split:
                a, b = set(words(first.text)), set(words(second.text))
                assert len(a & b) <= 0.5 * len(a | b), (first, second)


def test_no_document_is_a_direct_answer_in_two_splits():
    """What a model learns to be the answer in one split is not the answer of another."""
    split_of = {question.query_id: question.split for question in load_questions()}
    splits = defaultdict(set)
    for grade in load_grades():
        if grade.grade == 3:
            splits[grade.doc_id].add(split_of[grade.query_id])
    assert not {doc_id: found for doc_id, found in splits.items() if len(found) > 1}


def test_every_question_has_enough_grades_and_a_helpful_document():
    """Each question has at least ten graded documents, one of them graded 2 or 3; no pair is graded twice."""
    grades = load_grades()
    by_question = defaultdict(dict)
    for grade in grades:
        by_question[grade.query_id][grade.doc_id] = grade.grade
    assert by_question.keys() == {question.query_id for question in load_questions()}
    assert sum(map(len, by_question.values())) == len(grades)
    assert {grade.grade for grade in grades} == {0, 1, 2, 3}
    for query_id, graded in by_question.items():
        assert len(graded) >= 10, query_id
        assert max(graded.values()) >= 2, query_id


def test_each_grade_is_written_or_reported_missing(folder, documents):
    """Grades of documents that this Python has are qrels rows; the others are reported; nothing is lost."""
    _, summary = folder
    known = {document.doc_id for document in documents}
    grades = load_grades()
    assert summary.missing == tuple(grade for grade in grades if grade.doc_id not in known)
    assert sum(summary.grades.values()) + len(summary.missing) == len(grades)
    assert f"{len(summary.missing)} graded pairs not in this Python" in str(summary)


def test_a_grade_of_an_unknown_document_is_reported(tmp_path, monkeypatch, documents):
    """A collection without `os.path.split` leaves its grade out of the qrels and says so."""
    fewer = [document for document in documents if document.doc_id != "os.path.split"]
    monkeypatch.setattr("relabel.demo.beir.build_collection", lambda: fewer)
    summary = write_beir(tmp_path)
    assert ("q001", "os.path.split", 3) in {(g.query_id, g.doc_id, g.grade) for g in summary.missing}
    assert "q001\tos.path.split\t" not in (tmp_path / "qrels" / "test.tsv").read_text(encoding="utf-8")


def test_beir_files_parse_and_refer_to_each_other(folder):
    """Every qrels row has three cells, a query of its split, a document of the corpus and a grade from 0 to 3."""
    path, summary = folder
    corpus = [json.loads(line) for line in (path / "corpus.jsonl").open(encoding="utf-8")]
    queries = [json.loads(line) for line in (path / "queries.jsonl").open(encoding="utf-8")]
    assert {frozenset(row) for row in corpus} == {frozenset({"_id", "title", "text"})}
    assert len(corpus) == summary.documents
    doc_ids = {row["_id"] for row in corpus}
    for split in SPLITS:
        of_split = {row["_id"] for row in queries if row["metadata"]["split"] == split}
        lines = (path / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
        assert lines[0] == "query-id\tcorpus-id\tscore"
        rows = [line.split("\t") for line in lines[1:]]
        assert len(rows) == summary.grades[split]
        assert {query_id for query_id, _, _ in rows} == of_split
        assert all(doc_id in doc_ids and score in {"0", "1", "2", "3"} for _, doc_id, score in rows)


@pytest.mark.parametrize("version", VERSIONS)
def test_supported_pythons_have_the_graded_documents(version, tmp_path):
    """Each supported Python builds the folder with its standard library alone and has 97 % of the graded ids."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    subprocess.run([python, "-S", "-m", "relabel.demo", str(tmp_path)], check=True, cwd=ROOT)
    doc_ids = {json.loads(line)["_id"] for line in (tmp_path / "corpus.jsonl").open(encoding="utf-8")}
    graded = {grade.doc_id for grade in load_grades()}
    assert 2_000 <= len(doc_ids) <= 5_000
    assert len(graded & doc_ids) >= 0.97 * len(graded)
