"""Models of each architecture family, trained or with a classification head, judge in vLLM as they do in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.judge import actor_environment
from relabel.engine import settings_with_reasons
from relabel.judges import JudgeConfig, load_judge
from relabel.records import PAIRS
from relabel.storage import Folder
from tests.relabel.classifiers import CLASSIFIERS, tiny_classifier
from tests.relabel.language_models import FAMILIES, tiny_model
from tests.train.tables import by_document, topic_pairs
from train.graded_examples import EXAMPLES
from train.judge_config import JudgeTrainingConfig
from train.judge_task import JudgeTask
from train.loop import Ranks

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

ROWS = topic_pairs(queries=4, documents=8)
PAIRS_OF_ROWS = pa.Table.from_pylist(
    [dict.fromkeys(PAIRS.names) | row | {"label_source": "human"} for row in ROWS], PAIRS
)
STEPS = 30
METHODS = dict(zip(FAMILIES, ("lora", "full", "full"), strict=True))


def trained(family: str, folder: Path) -> np.ndarray:
    """Train a tiny model of the family, export it below `folder`, and return its own probabilities [pairs, grades]."""
    import torch

    base = tiny_model(family, folder / "base", heads=2)
    config = JudgeTrainingConfig(
        pairs="unused", model=str(base), prompt="terse-0-3", method=METHODS[family], max_document_tokens=32,
        learning_rate=1e-2,
    )  # fmt: skip
    task = JudgeTask(config, Folder(folder / "supervision"))
    model = task.build_model()
    examples = pa.Table.from_pylist(
        [row | {"lowest": row["label"], "highest": row["label"]} for row in ROWS], schema=EXAMPLES
    )
    optimizer, batch = torch.optim.AdamW(task.parameter_groups(model)), task.collate(by_document(examples))
    for _ in range(STEPS):
        optimizer.zero_grad()
        task.loss(model, batch).backward()
        optimizer.step()
    with torch.inference_mode():
        probabilities = np.exp(task._logprobs(model, Ranks(0, 1, "cpu"), examples))
    task.export(model, folder, "float32")
    return probabilities


class _Judging:
    """A process with the engine's environment, in which one engine after the other is made."""

    def judged(self, pairs: pa.Table, config: JudgeConfig) -> pa.Table:
        return load_judge(config).judge(pairs, "pairs:0").judgements

    def compiled(self) -> dict[str, int]:
        """What torch has compiled."""
        from torch._dynamo.utils import counters

        return dict(counters["stats"])


@pytest.fixture(scope="module")
def in_vllm():
    """An actor that judges pairs by a configuration in its process, as `relabel judge` does."""
    import ray

    options = {"runtime_env": {"env_vars": actor_environment(JudgeConfig(num_gpus=0, kv_cache_gib=1))}}
    actor = ray.remote(_Judging).options(**options).remote()
    yield actor
    ray.kill(actor)


def _judged(actor, pairs: pa.Table, config: JudgeConfig) -> pa.Table:
    import ray

    return ray.get(actor.judged.remote(pairs, config))


@pytest.mark.timeout(900)
def test_trained_merged_and_judged(tmp_path, in_vllm):
    """Llama with an adapter, Gemma and Qwen with all weights: within 0.02 for every pair and grade, the
    mass on the grades included; and training moved the judge, so that agreeing means something."""
    own = {family: trained(family, tmp_path / family) for family in FAMILIES}
    for family in FAMILIES:
        config = JudgeConfig(
            engine="vllm", model=str(tmp_path / family / "merged"), prompt="terse-0-3", dtype="float32",
            max_document_tokens=32, num_gpus=0, kv_cache_gib=1,
        )  # fmt: skip
        found = np.exp(_judged(in_vllm, PAIRS_OF_ROWS, config)["logprobs"].to_pylist())
        assert np.abs(found - own[family]).max() <= 0.02, family
        shares = own[family] / own[family].sum(1, keepdims=True)
        assert shares.std(0).max() > 0.05, f"{family} says the same of everything"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("family", CLASSIFIERS)
def test_classified_by_the_pooling_runner(family, tmp_path, in_vllm):
    """Encoders (with and without segments) and a language model with four outputs, each taken by vLLM unasked: the
    same distributions, cut texts included, and an id of their own."""
    folder = tiny_classifier(family, tmp_path)
    config = JudgeConfig(
        engine="classifier", model=str(folder), dtype="float32", num_gpus=0, kv_cache_gib=1, max_query_tokens=8,
        max_document_tokens=12,
    )  # fmt: skip
    plain = load_judge(config.model_copy(update={"runner": "transformers"})).judge(PAIRS_OF_ROWS, "pairs:0").judgements
    found = _judged(in_vllm, PAIRS_OF_ROWS, config)
    same = ["query_id", "doc_id", "grade", "prompt_tokens", "truncated"]
    assert found.select(same) == plain.select(same)
    ours, theirs = (np.array(table["logprobs"].to_pylist()) for table in (found, plain))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert theirs.std(0).max() > 0.01, f"{family} says the same of everything"
    assert any(plain["truncated"].to_pylist())
    assert found["judge_id"][0] != plain["judge_id"][0]


def test_nothing_is_compiled(tmp_path, in_vllm):
    """A judge that is not compiled, as the log says, starts no compiler for anything."""
    import ray

    config = JudgeConfig(
        engine="vllm", model=str(tiny_model("llama", tmp_path / "base", heads=2)), prompt="terse-0-3", dtype="float32",
        max_document_tokens=32, num_gpus=0, kv_cache_gib=1,
    )  # fmt: skip
    assert _judged(in_vllm, PAIRS_OF_ROWS, config).num_rows == PAIRS_OF_ROWS.num_rows
    assert "not compiled" in settings_with_reasons(config)
    assert ray.get(in_vllm.compiled.remote()) == {}
