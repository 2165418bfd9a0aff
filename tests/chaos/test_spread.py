"""Must hold: four vLLM actors on three nodes say what one says."""

from __future__ import annotations

import pytest

from relabel.storage import Folder
from tests.chaos.scenes import done_by, judged, meanwhile, nodes, settings, write_table


@pytest.mark.timeout(900)
@pytest.mark.chaos(
    fault="four vLLM engines on three nodes",
    injected="four actors with an engine each, spread over raylets",
)
def test_spread_engines(cluster, make_pairs, tmp_path, troubled, tally):
    """Keys are exact, probabilities within 0.02, with real weights."""
    write_table(Folder(tmp_path / "pairs"), make_pairs, rows=128)
    common = {"engine": "vllm", "kv_cache_gib": 1, "dtype": "float32", "max_document_tokens": 64}
    one = settings(Folder(tmp_path / "pairs"), actors=1, num_gpus=0, num_cpus=1, **common)
    troubled()
    whole, out = Folder(tmp_path / "whole"), Folder(tmp_path / "out")
    judged(one, whole)
    troubled(gate=str(tmp_path / "gate"), gated=0)
    with meanwhile(lambda: len(list(tmp_path.glob("gate-*"))) == 4, (tmp_path / "gate").touch):
        judged(one.model_copy(update={"actors": 4, "threads": 1}), out)
    assert len({worker["process"] for worker in done_by(out)}) == 4
    assert len(nodes(out)) >= 2
    tally.near_tables(whole, out)
