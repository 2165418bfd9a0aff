"""The table of docs/benchmarks.md says what the record says, and nothing else."""

from __future__ import annotations

import pytest

from benchmarks import suite
from benchmarks.suite import BEGIN, COMPARISONS, DOCUMENT, END, placed, recorded, rendered


def test_the_document_shows_the_record():
    """What stands between the marks is made of docs/benchmarks.json."""
    record = recorded()
    page = DOCUMENT.read_text()
    assert placed(page, rendered(record)) == page


@pytest.mark.parametrize(("holds", "word"), [(True, "yes"), (False, "**no**"), ({"a": True, "b": False}, "**no**")])
def test_a_broken_promise_is_shown(holds, word):
    """A row says whether its promise holds; rows that were not run say so."""
    result = {"ratio": 0.9, "holds": holds, "load_average": 1.0, "machine": {"cores": 2}}
    entry = {"at": "2026-01-02T03:04:05", "command": "python -m benchmarks.x", "result": result}
    lines = rendered({COMPARISONS[0].name: [entry]}).splitlines()
    assert f"| 0.9 | {word} | 2026-01-02, 1.0 | A | `python -m benchmarks.x` |" in lines[2]
    assert all("not run yet" in line for line in lines[3 : 2 + len(COMPARISONS)])
    assert lines[-1] == "A: cores 2."


def test_a_row_says_on_which_machine():
    """Rows of one machine share a letter, those of another have theirs."""
    record = {}
    for comparison, cores in zip(COMPARISONS[:3], (2, 16, 2), strict=True):
        result = {"ratio": {"a": 2.0}, "sides": {}, "machine": {"cores": cores}}
        record[comparison.name] = [{"at": "2026-01-02T03:04:05", "command": "python", "result": result}]
    lines = rendered(record).splitlines()
    assert [line.split(" | ")[-2] for line in lines[2:5]] == ["A", "B", "A"]
    assert lines[-3:] == ["A: cores 2.", "", "B: cores 16."]


def test_a_result_takes_the_place_of_one_of_the_same_machine(tmp_path, monkeypatch):
    """What another kind of machine gave stays beside it, in a row of its own."""
    monkeypatch.setattr(suite, "RECORD", tmp_path / "benchmarks.json")
    for cores, ratio in ((2, 1.0), (16, 3.0), (2, 2.0)):
        suite.keep(COMPARISONS[0], {"ratio": ratio, "machine": {"cores": cores}})
    (entries,) = recorded().values()
    assert [entry["result"]["ratio"] for entry in entries] == [3.0, 2.0]
    rows = [line.split(" | ") for line in rendered(recorded()).splitlines()[2:4]]
    assert [(row[2], row[-2]) for row in rows] == [("3.0", "A"), ("2.0", "B")]


def test_every_comparison_is_a_benchmark():
    """Names differ, and each command begins with a module that is there."""
    assert len({comparison.name for comparison in COMPARISONS}) == len(COMPARISONS)
    for comparison in COMPARISONS:
        module = comparison.arguments.split()[0]
        assert (DOCUMENT.parents[1] / "benchmarks" / f"{module}.py").exists(), comparison.name


def test_only_the_marked_part_is_replaced():
    """What people wrote around the table stays."""
    assert placed(f"a\n{BEGIN}\nold\n{END}\nb", "new") == f"a\n{BEGIN}\nnew\n{END}\nb"
