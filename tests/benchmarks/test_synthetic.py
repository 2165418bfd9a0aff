"""What the benchmarks stand on: seeded synthetic pairs, and memory of a whole process tree."""

from __future__ import annotations

import os
import subprocess
import sys

import pyarrow.compute as pc
import pytest

from benchmarks.process_tree import MemorySampler, own_mib, pss_mib
from benchmarks.synthetic import write_pairs
from relabel.storage import Folder
from relabel.tables import read_whole


def test_synthetic_pairs_are_seeded_and_as_long_as_promised(tmp_path):
    """The same seed gives the same pairs; documents have 100 words on average; no key comes twice."""
    tables = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_pairs(Folder(tmp_path / name), 5000, seed, chunk_rows=1024)
        tables.append(read_whole(Folder(tmp_path / name), "pairs"))
    assert tables[0].equals(tables[1])
    assert not tables[0]["text"].equals(tables[2]["text"])
    words = pc.list_value_length(pc.split_pattern(tables[0]["text"], " "))
    assert 97 < pc.mean(words).as_py() < 104
    assert len(pc.unique(tables[0]["doc_id"])) == 5000


def test_rows_of_a_synthetic_query_are_contiguous(tmp_path):
    """A query has twenty rows with one text, wherever chunks are cut."""
    write_pairs(Folder(tmp_path), 1000, 0, chunk_rows=333)
    table = read_whole(Folder(tmp_path), "pairs")
    assert table["query_id"].to_pylist() == sorted(table["query_id"].to_pylist())
    texts = table.group_by("query_id").aggregate([("query", "count"), ("query", "count_distinct")])
    assert set(texts["query_count"].to_pylist()) == {20}
    assert set(texts["query_count_distinct"].to_pylist()) == {1}


@pytest.mark.parametrize("measure", [pss_mib, own_mib])
def test_memory_of_a_child_counts(measure):
    """A child that holds 200 MiB raises the tree's memory by about as much, and leaves when it ends."""
    program = "import sys; held = b'x' * (200 << 20); print(len(held), flush=True); sys.stdin.read()"
    with MemorySampler(0.05, measure) as memory:
        before, first = memory.now, measure(os.getpid())
        child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdout.readline()
        held = measure(os.getpid())
        child.communicate()
        after = measure(os.getpid())
    assert held - first > 190
    assert held - after > 190
    assert memory.peak(before, memory.now) < held + 50
