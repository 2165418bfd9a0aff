"""Queries written by a real small model in vLLM, through the sharded stage, and read by the judge's training."""

from __future__ import annotations

import pytest

from jobs.generate_queries import generate_queries
from relabel.errors import ConfigError
from relabel.generation import GenerateConfig
from relabel.lineage import query_fingerprint
from relabel.prompts import PROMPTS
from relabel.storage import Folder
from relabel.tables import read_manifest, read_whole
from tests.jobs.stage_runs import write_pairs
from train.graded_examples import graded_examples

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

PASSAGES = (
    "The Eiffel Tower is 330 metres tall and stands in Paris. It was built from 1887 to 1889.",
    "Bread rises because yeast makes gas while the dough rests in a warm place.",
    "Water boils at 100 degrees Celsius at sea level; on high mountains it boils at a lower temperature.",
    "The heart pumps blood through the body and beats about 100,000 times a day.",
    "Photosynthesis turns carbon dioxide and water into sugar and oxygen with the energy of sunlight.",
    "A mortgage is a loan to buy a house, which the lender may take if it is not paid back.",
)


@pytest.mark.timeout(900)
def test_queries_are_written_checked_and_learned_from(tmp_path, s3, make_pairs):
    """On S3, in several shards: books balance, each kept query belongs to its passage, training can read the pairs; a
    second call does nothing; another model is refused, another threshold works on what was written."""
    base = Folder(s3)
    write_pairs(base / "pairs", make_pairs([("q", f"d{n}", "unused", text, None) for n, text in enumerate(PASSAGES)]))
    config = GenerateConfig(
        pairs=(base / "pairs").uri, dtype="float32", kv_cache_gib=1, shard_rows=3, least_similarity=0.3, near=1,
        examples=2,
    )  # fmt: skip
    out = base / "weak"
    manifest = generate_queries(config, out, lambda line: None)
    written = read_manifest(out / "written", "pairs")
    assert written.rows_in == len(PASSAGES) == written.rows + written.quarantined
    assert written.about["shards"] == 2
    assert written.about["tokens"] > 100 * len(PASSAGES)
    funnel = manifest.about["funnel"]
    assert funnel["kept"] >= 3, read_whole(out / "written", "pairs")["query"].to_pylist()
    assert funnel["written"] == written.rows == funnel["kept"] + funnel["too_far"] + funnel["in_leave_out"]
    rows = read_whole(out, "pairs").to_pylist()
    own = {row["text"]: row["query"] for row in read_whole(out / "written", "pairs").to_pylist()}
    relevant = [row for row in rows if row["label"] == 1]
    assert len(relevant) == funnel["kept"]
    assert all(query_fingerprint(own[row["text"]]) == query_fingerprint(row["query"]) for row in relevant)
    examples = list(graded_examples(out, PROMPTS["terse-0-3"]))
    assert {(row["lowest"], row["highest"]) for row in examples} <= {(2, 3), (0, 1)}
    again = generate_queries(config, out, (lines := []).append)
    assert again == manifest
    assert lines == [f"generate-queries: done already in {out.uri}"]
    with pytest.raises(ConfigError, match=r"max_query_tokens: found 16, and now 8; .*choose another --out"):
        generate_queries(config.model_copy(update={"max_query_tokens": 8}), out, lines.append)
    out.remove("table.json")
    fewer = generate_queries(config.model_copy(update={"least_similarity": -1.0, "near": 0}), out, lines.append)
    assert fewer.about["funnel"]["kept"] == fewer.rows == written.rows
    assert any("are done already" in line for line in lines)
