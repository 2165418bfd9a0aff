"""Quarantined pairs come back as a pairs table that can be judged."""

from __future__ import annotations

import pytest

from relabel.errors import ConfigError, InputError
from relabel.judges import JudgeConfig
from relabel.quarantined import quarantined_pairs
from relabel.records import Scale
from relabel.storage import Folder
from relabel.tables import Manifest, TableWriter, quarantine_table, read_manifest, read_whole, write_manifest

SCALE = Scale((0, 1), 1)


@pytest.fixture
def judgements(tmp_path, make_pairs):
    """A judgements table over four pairs of which the second and the last are in quarantine."""
    rows = make_pairs([(f"q{row}", "d", "größe\u2028", f'text "{row}"', row % 2) for row in range(4)])
    writer = TableWriter(Folder(tmp_path / "pairs"), "pairs", SCALE)
    writer.write(rows)
    writer.finish()
    folder = Folder(tmp_path / "judgements")
    reasons = [None, ("kills-engine", "x"), None, ("worker-raises", "y")]
    bad = quarantine_table(rows, reasons, "part-00000.parquet:0", "judge")
    folder.write_table("quarantine/part-00000.parquet", bad.slice(0, 1))
    folder.write_table("quarantine/part-00003.parquet", bad.slice(1))
    write_manifest(folder, Manifest("judgements", 4, 2, 2, [], SCALE, {"pairs": str(tmp_path / "pairs")}))
    return folder, rows


def test_they_come_back_whole_and_in_order(judgements, tmp_path):
    """Every column with its type and value, the labels' scale as well."""
    out = Folder(tmp_path / "again")
    quarantined_pairs(judgements[0], out)
    assert read_whole(out, "pairs").equals(judgements[1].take([1, 3]).combine_chunks())
    assert read_manifest(out, "pairs").scale == SCALE


def test_a_table_without_any_says_so(judgements, tmp_path):
    """Nothing to drive again is an error, not an empty table."""
    for name in ("part-00000.parquet", "part-00003.parquet"):
        judgements[0].remove(f"quarantine/{name}")
    with pytest.raises(InputError, match="found no quarantined rows"):
        quarantined_pairs(judgements[0], Folder(tmp_path / "again"))


def test_a_row_that_is_no_pair_is_named(judgements, tmp_path):
    """A quarantine of other rows, e.g. raw lines of `prepare`, is refused with its part."""
    table = judgements[0].read_table("quarantine/part-00003.parquet")
    place = table.schema.get_field_index("row")
    judgements[0].write_table("quarantine/part-00003.parquet", table.set_column(place, table.schema[place], [["q\td"]]))
    with pytest.raises(InputError, match=r"quarantine/part-00003\.parquet: found a quarantined row that is no pair"):
        quarantined_pairs(judgements[0], Folder(tmp_path / "again"))


def test_rows_that_the_table_does_not_count_are_refused(judgements, tmp_path):
    """What lies in quarantine and what the manifest says must agree."""
    folder, rows = judgements
    more = quarantine_table(rows.slice(0, 1), [("worker-raises", "z")], "part-00000.parquet:0", "judge")
    folder.write_table("quarantine/part-00002.parquet", more)
    with pytest.raises(InputError, match=r"quarantine: found 3 rows; wanted the 2 that .*table\.json counts"):
        quarantined_pairs(folder, Folder(tmp_path / "again"))


def test_the_same_pairs_are_written_once_and_others_are_refused(judgements, tmp_path):
    """A command given again goes on; a folder with the pairs of another table, or of a run, is not judged instead."""
    out = Folder(tmp_path / "again")
    first = quarantined_pairs(judgements[0], out)
    before = out.stat("part-00000.parquet")
    assert quarantined_pairs(judgements[0], out) == first
    assert out.stat("part-00000.parquet") == before
    with pytest.raises(ConfigError, match=r"holds 4 pairs of elsewhere; wanted .* the 2 quarantined pairs of .*--out"):
        quarantined_pairs(judgements[0], Folder(tmp_path / "pairs"))


def test_pairs_and_quarantined_exclude_each_other():
    """One source of pairs."""
    with pytest.raises(ConfigError, match="either 'pairs' or 'quarantined', not both"):
        JudgeConfig.load({"pairs": "a", "quarantined": "b"}, "judge")
