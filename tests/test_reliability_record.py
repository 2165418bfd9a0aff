"""The record of the chaos tests: what is added stays, passes in a row are counted from the last failure."""

from __future__ import annotations

import pytest

from tests.chaos import record, table


def test_tries_add_up(tmp_path):
    path = tmp_path / "record"
    assert record.tries(path) == []
    for test, passed, rows, seconds in [
        ("b", True, None, 4.0),
        ("a", True, 0, 1.0),
        ("a", False, 3, 9.0),
        ("a", True, 0, 2.0),
        ("a", True, None, 3.0),
        ("b", True, None, 6.0),
    ]:
        told = {"fault": f"fault of {test}", "injected": "by hand", "lost": rows, "doubled": rows}
        record.add(path, {"test": test, "passed": passed, "seconds": seconds} | told)
    lines = record.tries(path)
    assert [line["test"] for line in lines] == ["b", "a", "a", "a", "a", "b"]
    assert all(line["cores"] >= 1 and line["code"] == record.code() and line["at"] for line in lines)
    one, other = record.summarised(lines)
    assert (one["test"], one["tried"], one["passed"], one["in_a_row"], one["lost"]) == ("a", 4, 3, 2, 3)
    assert one["seconds"] == 2.5
    assert (other["test"], other["tried"], other["in_a_row"], other["lost"]) == ("b", 2, 2, None)
    assert one["codes"] == [record.code()]
    text = table.rendered(lines)
    assert text.startswith("0 of the 2 tests on record passed 10 times in a row")
    assert "| fault of a | by hand | 4 | 3 | 2 | 3 | 3 | 2 |" in text
    assert "| fault of b | by hand | 2 | 2 | 2 | not counted | not counted | 5 |" in text


def test_the_code_of_a_try_is_a_commit():
    code = record.code()
    if code is None:
        pytest.skip("not in a checkout of git")
    assert len(code.rstrip("+")) >= 7


def test_the_document_shows_the_record():
    lines = record.tries(record.RECORD)
    assert lines
    assert table.rendered(lines) in table.DOCUMENT.read_text("utf-8")
