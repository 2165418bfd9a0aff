"""Files of grades and runs: three layouts read, everything wrong in them named by file and row."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from relabel.errors import InputError
from relabel.formats.label_files import read_graders
from relabel.formats.trec import RunLine, read_run


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gpt.txt", "q1 0 d1 3\nq1 0 d2 0\n"),
        ("gpt.qrels", "q1\t0\td1\t3\nq1\t0\td2\t0\n"),
        ("gpt.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t3\nq1\td2\t0.0\n"),
        ("gpt.tsv.gz", "query-id\tcorpus-id\tscore\r\nq1\td1\t3\r\nq1\td2\t0\r\n"),
    ],
)
def test_qrels_of_every_kind_are_one_grader(tmp_path, name, text):
    """TREC and BEIR qrels, with blanks or tabs, plain or gzip, give one grader named after the file."""
    (grader,) = read_graders(written(tmp_path, name, text))
    assert grader.name == "gpt"
    assert grader.grades == {("q1", "d1"): 3, ("q1", "d2"): 0}


def test_a_wide_table_has_a_grader_a_column_and_empty_cells_are_no_grades(tmp_path):
    """Each column is a grader with its own pairs; a cell left empty is a pair that it did not grade."""
    path = written(tmp_path, "labels.tsv", "query-id\tcorpus-id\thuman\tgpt4\nq1\td1\t3\t\nq1\td2\t0\t1\n")
    human, judge = read_graders(path)
    assert (human.name, human.grades) == ("human", {("q1", "d1"): 3, ("q1", "d2"): 0})
    assert (judge.name, judge.grades) == ("gpt4", {("q1", "d2"): 1})
    assert judge.rows == {("q1", "d2"): "labels.tsv:3"}


WIDE = "query-id\tcorpus-id\tgpt4\tllama\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"labels.tsv:1: found ''; wanted TREC qrels of four columns, or the header query-id corpus-id"),
        ("qid,docid,grade\n", r"labels.tsv:1: found 'qid,docid,grade'; wanted TREC qrels of four columns"),
        ("query-id\tcorpus-id\n", r"labels.tsv:1: found 'query-id"),
        ("query-id\tcorpus-id\ta\ta\n", r"labels.tsv:1: found the column 'a' again; wanted a name of its own"),
        ("query-id\tcorpus-id\t\tb\n", r"labels.tsv:1: found the column '' without a name"),
        (f"{WIDE}q\td\t1\n", r"labels.tsv:2: found 3 columns; wanted 4 columns separated by tabs.*correct the row"),
        (f"{WIDE}q\td\t1\tyes\n", r"labels.tsv:2: found 'yes' in the column 'llama'; wanted a grade that is a whole"),
        (f"{WIDE}q\td\t1\t0.5\n", r"labels.tsv:2: found '0.5' in the column 'llama'"),
        (f"{WIDE}q\td\tnan\t1\n", r"labels.tsv:2: found 'nan' in the column 'gpt4'"),
        (f"{WIDE}q\td\t1\t1\nq\td\t2\t1\n", r"labels.tsv:3: found the pair \('q', 'd'\) again, after labels.tsv:2"),
        (f"{WIDE}q\t\t1\t1\n", r"labels.tsv:2: found an empty id"),
        ("query-id\tcorpus-id\tscore\nq\td\t\n", r"labels.tsv:2: found '' in the column 'labels'"),
        ("q 0 d 1\nq 0 e\n", r"labels.tsv:2: found 3 columns; wanted 4 columns separated by blanks"),
    ],
)
def test_what_is_wrong_in_a_file_of_grades_is_named(tmp_path, text, words):
    """Another layout, doubled names or pairs, missing cells and grades that are none are errors with file and row."""
    with pytest.raises(InputError, match=words):
        read_graders(written(tmp_path, "labels.tsv", text))


def test_a_folder_or_nothing_is_no_file_of_grades(tmp_path):
    """A folder and a path without anything are refused."""
    with pytest.raises(InputError, match="found nothing there"):
        read_graders(str(tmp_path / "missing.tsv"))
    written(tmp_path, "labels.tsv", WIDE)
    with pytest.raises(InputError, match="found a folder; wanted one file of grades"):
        read_graders(str(tmp_path))


def test_a_run_is_read_line_by_line(tmp_path):
    """Columns separated by any blanks, plain or gzip, become run lines."""
    path = written(tmp_path, "a.run.gz", "q1 Q0 d1 1 12.5 bm25\nq1\tQ0\td2\t2\t-1e-3\tbm25\n")
    assert list(read_run(path)) == [RunLine("bm25", "q1", "d1", 1, 12.5), RunLine("bm25", "q1", "d2", 2, -0.001)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("q Q0 d 1 2.0\n", r"a.run:1: found 5 columns; wanted 6 columns.*Next: correct the row"),
        ("q Q0 d one 2.0 x\n", r"a.run:1: found the rank 'one' and the score '2.0'; wanted numbers"),
        ("q Q0 d 1 nan x\n", r"a.run:1: found the score 'nan'; wanted a finite number"),
        ("q Q0 d 1 2 x\nq Q0 d 2 1 x\n", r"a.run:2: found the document 'd' again for the query 'q', after a.run:1"),
        ("\n", r"found an empty file; wanted a TREC run"),
    ],
)
def test_what_is_wrong_in_a_run_is_named(tmp_path, text, words):
    """Columns, numbers, repeated documents and an empty file are errors with file and row."""
    with pytest.raises(InputError, match=words):
        list(read_run(written(tmp_path, "a.run", text)))
