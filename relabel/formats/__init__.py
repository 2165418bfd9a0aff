"""Dataset formats: one file a format, one line here.

`READERS` turn a dataset into records (queries, documents, labels) for `relabel.prepare`; `WRITERS` turn tables into
the files of other tools (`relabel.formats.export`). To add a format: write its module, with a `READER` or a writer
function, and add its line.
"""

from __future__ import annotations

from relabel.formats import beir, groups, liveqa, medquad, pair_records, sentence_transformers, trec
from relabel.formats.reader import Reader, ReadOptions
from relabel.formats.source import Source
from relabel.formats.writer import Writer

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (beir.READER, trec.READER, pair_records.READER, medquad.READER, liveqa.READER, groups.READER)
}

WRITERS: dict[str, Writer] = {
    writer.name: writer
    for writer in (
        Writer("trec-qrels", ("pairs", "labels"), lambda job: trec.write_qrels(job.rows(), job.out, job.counts)),
        Writer("trec-run", ("rankings", "pairs"), lambda job: trec.write_runs(job.run_lines(), job.out, job.counts)),
        Writer("beir", ("pairs", "labels"), lambda job: beir.write(job.rows(), job.out, job.counts, job.split)),
        Writer("groups", ("pairs", "labels"), lambda job: groups.write(job.rows(), job.out, job.counts, job.scale)),
        Writer(
            "sentence-transformers-pairs",
            ("pairs", "labels"),
            lambda job: sentence_transformers.write_pairs(job.rows(), job.out, job.counts),
        ),
        Writer(
            "sentence-transformers-groups",
            ("pairs", "labels"),
            lambda job: sentence_transformers.write_groups(job.rows(), job.out, job.counts, job.scale, job.negatives),
        ),
    )
}

__all__ = ["READERS", "WRITERS", "ReadOptions", "Reader", "Source", "Writer"]
