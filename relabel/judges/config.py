"""What decides a judgement, and what only decides how fast it comes; the judge's id covers the first alone."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from relabel.engine import ENGINE_SPEED, EngineConfig
from relabel.hardware import Choice, compute_dtype
from relabel.panel.record import read_panel
from relabel.prompts import prompt_named
from relabel.records import Scale
from relabel.storage import Folder

#: Fields that decide how fast judgements come and not what they are.
JUDGE_SPEED = ENGINE_SPEED | {"batch_size"}
#: Engines that ask a language model with a prompt.
PROMPTED = frozenset({"vllm", "transformers"})
#: Engines that load no model.
MODEL_FREE = frozenset({"lexical", "length", "bm25"})


class JudgeConfig(EngineConfig):
    """Configuration of a judge and of the stage that runs it.

    Attributes:
        pairs: address of the pairs table; a recipe fills it in.
        quarantined: address of a judgements table: judge its quarantined pairs alone, in place of `pairs`.
        engine: `vllm`, `transformers` (the reference), `encoder` (similarity), `classifier`
            (one output a grade), `bm25`, `lexical` or `length` (no model), `panel` (several judges).
        model: package model, model folder or S3 address; for `panel` what `fit-panel` wrote; not used by engines
            without a model.
        collection: pairs table whose documents give word statistics, `bm25` only.
        prompt: name of a prompt; engines that ask nothing take its scale.
        examples: address of a JSON-lines file of graded pairs that the prompt shows first; null: none.
        max_document_tokens, max_query_tokens: budgets; what is longer is cut and marked.
        calibration: address of a `calibration.json` that was fitted for this judge; null: raw distributions.
        batch_size: prompts or texts a forward pass; not used by vLLM.
        runner: what computes a `classifier`: `vllm` (its pooling runner) or `transformers`; `auto`: vLLM for the
            architectures that it was tested with.
    """

    pairs: str = ""
    quarantined: str = ""
    engine: Literal["vllm", "transformers", "encoder", "classifier", "bm25", "lexical", "length", "panel"] = "vllm"
    model: str = "smollm2-135m-instruct"
    collection: str = ""
    prompt: str = "graded-0-3"
    examples: str | None = None
    max_document_tokens: int = Field(256, ge=8, le=100_000)
    max_query_tokens: int = Field(96, ge=4, le=100_000)
    calibration: str | None = None
    batch_size: int = Field(16, ge=1)
    runner: Literal["auto", "vllm", "transformers"] = "auto"

    @model_validator(mode="after")
    def _known_prompt(self) -> JudgeConfig:
        prompt_named(self.prompt)
        return self

    @model_validator(mode="after")
    def _one_source(self) -> JudgeConfig:
        if self.pairs and self.quarantined:
            raise ValueError("either 'pairs' or 'quarantined', not both")
        return self

    @model_validator(mode="after")
    def _runner_of_a_classifier(self) -> JudgeConfig:
        if self.runner != "auto" and self.engine != "classifier":
            raise ValueError(
                f"no 'runner' with the engine {self.engine}: it says what computes the engine 'classifier'"
            )
        return self


def judge_dtype(config: JudgeConfig) -> Choice:
    """The dtype that a judge computes in, and why; `none` where it has no model."""
    if config.engine in MODEL_FREE:
        return Choice("none", "no model")
    if config.engine == "panel":
        return Choice("none", "each member has its own")
    if config.engine == "encoder" and config.dtype == "auto":
        return Choice("float32", "a pair's score must not depend on its batch")
    return compute_dtype(config.dtype, config.on_gpu)


def judge_scale(config: JudgeConfig) -> Scale:
    """The grades that a judge gives: the prompt's; a panel's own."""
    if config.engine == "panel":
        return read_panel(Folder(config.model)).judge_scale
    return prompt_named(config.prompt).scale
