"""Dataset formats: one file a format, one line here.

`READERS` turn a dataset into records (queries, documents, labels) for `relabel.prepare`; `WRITERS` turn tables into
the files of other tools (`relabel.formats.export`). To add a format: write its module, with a `READER` or a writer
function, and add its line.
"""

from __future__ import annotations

from relabel.formats import beir, groups, liveqa, medquad, pair_records, trec
from relabel.formats.reader import Reader, ReadOptions
from relabel.formats.source import Source

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (beir.READER, trec.READER, pair_records.READER, medquad.READER, liveqa.READER, groups.READER)
}

__all__ = ["READERS", "ReadOptions", "Reader", "Source"]
