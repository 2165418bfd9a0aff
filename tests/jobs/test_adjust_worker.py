"""The worker of `relabel adjust`: what it makes of a shard, of a piece of one, and of one without some rows."""

from __future__ import annotations

import pytest

from jobs import poison
from jobs.adjust import AdjustWorker
from jobs.poison import Guarded
from relabel.errors import LedgerError
from relabel.labels import load_rule
from relabel.ledger import Segment, Shard, part_name
from relabel.storage import Folder
from tests.relabel.labels.cases import BINARY, GRADED, make_judgements, make_pairs

ROWS = 6
#: The second of two shards of ten rows, which is the shorter one.
SHARD = Shard(1, (Segment("part-00000.parquet", 10, 10 + ROWS),))
KEEP = load_rule({"rule": "keep"})


@pytest.fixture
def pairs():
    return make_pairs([0, 1, 0, 1, 0, 1], queries=1)


@pytest.fixture
def worker(tmp_path, pairs) -> AdjustWorker:
    judged = Folder(tmp_path / "judged")
    judged.write_table(part_name(1), make_judgements(pairs, [[0.7, 0.1, 0.1, 0.1]] * ROWS, GRADED))
    return AdjustWorker(judged.uri, (10 + ROWS, 10), KEEP, BINARY, GRADED, "j1")


def test_judgements_of_other_pairs_are_no_whole_shards(worker, pairs):
    """A whole shard's judgements are all its own."""
    assert worker(pairs, SHARD)[0].num_rows == ROWS
    other = pairs.set_column(pairs.schema.get_field_index("doc_id"), "doc_id", [[f"x{row}" for row in range(ROWS)]])
    with pytest.raises(LedgerError, match="not among the pairs"):
        worker(other, SHARD)


def test_a_row_that_raises_is_found_in_pieces(worker, pairs, tmp_path, monkeypatch):
    """The rest of the shard gets its labels, and the row is quarantined."""

    def work(some, shard):
        if "d0000003" in some["doc_id"].to_pylist():
            raise ValueError("a label that breaks the rule")
        return worker(some, shard)

    monkeypatch.setattr(poison, "_started_again", lambda: False)
    rows, quarantined, _ = Guarded(work, Folder(tmp_path / "out"), "adjust keep")(pairs, SHARD)
    assert rows["doc_id"].to_pylist() == [name for name in pairs["doc_id"].to_pylist() if name != "d0000003"]
    assert quarantined["source"].to_pylist() == ["part-00000.parquet:13"]
