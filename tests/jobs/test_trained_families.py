"""A model of each architecture family is trained, merged, and judged by vLLM as its training code would judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from relabel.engine import environment
from relabel.judges import JudgeConfig, load_judge
from relabel.records import PAIRS
from relabel.storage import Folder
from tests.relabel.language_models import FAMILIES, tiny_model
from tests.train.tables import by_document, topic_pairs
from train.graded_examples import EXAMPLES
from train.judge_config import JudgeTrainingConfig
from train.judge_task import JudgeTask
from train.loop import Ranks

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

ROWS = topic_pairs(queries=4, documents=8)
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


@pytest.mark.timeout(900)
def test_trained_merged_and_judged(tmp_path):
    """Llama with an adapter, Gemma and Qwen with all weights: within 0.02 for every pair and grade, the
    mass on the grades included; and training moved the judge, so that agreeing means something."""
    import ray

    own = {family: trained(family, tmp_path / family) for family in FAMILIES}
    pairs = pa.Table.from_pylist([dict.fromkeys(PAIRS.names) | row | {"label_source": "human"} for row in ROWS], PAIRS)
    configs = {
        family: JudgeConfig(
            engine="vllm", model=str(tmp_path / family / "merged"), prompt="terse-0-3", dtype="float32",
            max_document_tokens=32, num_gpus=0, kv_cache_gib=1,
        )
        for family in FAMILIES
    }  # fmt: skip

    def judged(config: JudgeConfig) -> list[list[float]]:
        return load_judge(config).judge(pairs, "pairs:0").judgements["logprobs"].to_pylist()

    actor = ray.remote(_Judging).options(runtime_env={"env_vars": environment(configs[FAMILIES[0]])}).remote()
    for family, config in configs.items():
        found = np.exp(ray.get(actor.call.remote(judged, config)))
        assert np.abs(found - own[family]).max() <= 0.02, family
        shares = own[family] / own[family].sum(1, keepdims=True)
        assert shares.std(0).max() > 0.05, f"{family} says the same of everything"
    ray.kill(actor)


class _Judging:
    """A process with the engine's environment, in which one engine after the other is made."""

    def call(self, function, *arguments):
        return function(*arguments)
