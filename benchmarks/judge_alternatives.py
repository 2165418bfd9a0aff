"""What else would judge these pairs with this model, and how fast? The judge stage against two other ways.

- `one_by_one`: the call pattern of umbrela's judge for local Hugging Face models (its `OSLLMJudge`): one prompt at a
  time, greedy `generate` of up to 100 tokens, the grade parsed from the text. umbrela itself is not run: its import
  needs pyserini and by that Java 21. Same model, pairs, documents' length and dtype; it gets few of the pairs, since it
  is slow. Its prompt is a rubric (`--prompt`), as umbrela's is; ours that of our recipes (wanted: ≥ 40 ×), and, in a
  side of its own, the same rubric.
- `ray_data_llm`: Ray's own batch processor for vLLM, with the same engine options, sampling and token ids (the
  rubric's) as ours (wanted: ours not slower). Its export of vLLM's metrics is off: it needs `ray[serve]`. Where it does
  not run, the result says how it fails.

Each side runs in a process of its own. Start-up is left out on all sides: the judge stage counts from its first shard's
start to its last marker, the processor from the start of its first batch to its last row, the one-by-one loop from its
second prompt on. Ours and Ray's processor, which lie close together, run one after the other `--repetitions` times, in
turn first; the ratio is the median.

Run: `python -m benchmarks.judge_alternatives --pairs 256`; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ray

from benchmarks.judge_rate import pipeline_seconds, prompts_of, write_demo_pairs
from jobs.cluster import connect
from jobs.judge import on_this_cluster, resolve
from relabel.engine import engine_options, environment
from relabel.hardware import facts
from relabel.judges import JudgeConfig
from relabel.models import load_tokenizer, local_model
from relabel.storage import Folder

#: Ours against each other way, pairs a second.
WANTED = {"one_by_one": 40.0, "ray_data_llm": 1.0}
#: Tokens that a reply may have where the grade is read from text.
REPLY_TOKENS = 100


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=3, help="of ours and of Ray's processor")
    parser.add_argument("--one-by-one", type=int, default=12, help="pairs of the one-by-one side")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--prompt", default="graded-0-3", help="of the other ways, and of ours in one side")
    parser.add_argument("--our-prompt", default="terse-0-3")
    parser.add_argument("--max-document-tokens", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64, help="batch size of Ray's processor")
    options = parser.parse_args(arguments)
    connect()
    with tempfile.TemporaryDirectory(prefix="relabel-judge-alternatives-") as scratch:
        result = measure(options, Path(scratch))
    print(json.dumps(result))
    return result


def measure(options: argparse.Namespace, scratch: Path) -> dict:
    pairs = Folder(scratch / "pairs")
    write_demo_pairs(pairs, options.pairs, seed=0)
    config = on_this_cluster(
        JudgeConfig(
            pairs=pairs.uri,
            engine="vllm",
            model=options.model,
            prompt=options.prompt,
            max_document_tokens=options.max_document_tokens,
        )
    )
    dtype = resolve(config)[0]
    prompts, longest, label_ids = prompts_of(config, in_order_of_the_pipeline=True)
    step = max(1, len(prompts) // (options.one_by_one + 1))
    some = prompts[::step][: options.one_by_one + 1]
    alone = ray.get(one_by_one.remote(options.model, dtype, some))
    print(f"one by one: {alone['pairs_per_second']:.3f} pairs/s", flush=True)

    def ours(prompt: str, repetition: int = 0) -> float:
        out = scratch / f"{prompt}-{repetition}"
        return options.pairs / pipeline_seconds(config.model_copy(update={"prompt": prompt}), out)

    recipes, same, processor = ours(options.our_prompt), [], []
    for repetition in range(options.repetitions):
        for side in ("ours", "theirs") if repetition % 2 == 0 else ("theirs", "ours"):
            if side == "ours":
                same.append(ours(options.prompt, repetition + 1))
            else:
                processor.append(ray_data_llm(config, dtype, longest, prompts, label_ids, options.batch))
        print(f"judge stage: {same[-1]:.3f} pairs/s; ray.data.llm: {json.dumps(processor[-1])}", flush=True)
    ratios = {
        "one_by_one": [recipes / alone["pairs_per_second"]],
        "one_by_one_same_prompt": [statistics.median(same) / alone["pairs_per_second"]],
    }
    failed = [side for side in processor if "fails" in side]
    if not failed:
        theirs = [side["pairs_per_second"] for side in processor]
        ratios["ray_data_llm"] = [own / other for own, other in zip(same, theirs, strict=True)]
    ratio = {name: round(statistics.median(found), 2) for name, found in ratios.items()}
    return {
        "benchmark": "judge_alternatives",
        "ratio": ratio,
        "holds": {name: ratio.get(name, 0) >= wanted for name, wanted in WANTED.items()},
        "ratios": {name: [round(one, 3) for one in found] for name, found in ratios.items()},
        "pairs_per_second": {
            options.our_prompt: [round(recipes, 3)],
            options.prompt: [round(rate, 3) for rate in same],
        },
        "sides": {
            "one_by_one": alone,
            "ray_data_llm": failed[0] if failed else processor[0] | {"pairs_per_second": theirs},
        },
        "pairs": options.pairs,
        "tokens": sum(map(len, prompts)),
        "model": options.model,
        "our_prompt": options.our_prompt,
        "prompt": options.prompt,
        "dtype": dtype,
        "load_average": os.getloadavg()[0],
        "machine": facts(),
    }


@ray.remote(num_cpus=1)
def one_by_one(model: str, dtype: str, prompts: list[list[int]]) -> dict[str, Any]:
    """Greedy replies, one prompt at a time on all cores; the first prompt is not timed."""
    import torch
    from transformers import AutoModelForCausalLM

    from relabel.hardware import cores

    torch.set_num_threads(cores())
    folder = local_model(model)
    tokenizer = load_tokenizer(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    judge = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True).to(device)
    started, replies = 0.0, []
    for place, prompt in enumerate(prompts):
        if place == 1:
            started = time.perf_counter()
        ids = torch.tensor([prompt], device=device)
        with torch.inference_mode():
            reply = judge.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=REPLY_TOKENS,
                pad_token_id=tokenizer.eos_token_id,
            )[0, len(prompt) :]
        replies.append((len(reply), re.search(r"[0-3]", tokenizer.decode(reply, skip_special_tokens=True))))
    timed = replies[1:]
    return {
        "pairs_per_second": round(len(timed) / (time.perf_counter() - started), 4),
        "pairs": len(timed),
        "tokens_a_reply": round(sum(length for length, _ in timed) / len(timed), 1),
        "replies_with_a_grade": sum(grade is not None for _, grade in timed),
    }


def ray_data_llm(
    config: JudgeConfig, dtype: str, longest: int, prompts: list[list[int]], label_ids: list[int], batch: int
) -> dict[str, Any]:
    """Ray's processor over the same token ids; its error where it does not run."""
    options = engine_options(local_model(config.model), config, dtype, longest)
    sampling = {"max_tokens": 1, "temperature": 0, "logprob_token_ids": label_ids, "detokenize": False}
    try:
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig

        processor = build_processor(
            vLLMEngineProcessorConfig(
                model_source=options.pop("model"),
                engine_kwargs={name: value for name, value in options.items() if name != "runner"},
                runtime_env={"env_vars": environment(config) | {"VLLM_LOGGING_LEVEL": "WARNING"}},
                batch_size=batch,
                concurrency=config.actors,
                log_engine_metrics=False,
                placement_group_config={"bundles": [{"CPU": config.num_cpus} | ({"GPU": 1} if config.on_gpu else {})]},
                chat_template_stage=False,
                tokenize_stage=False,
                detokenize_stage=False,
            ),
            preprocess=lambda row: {"tokenized_prompt": row["tokens"], "sampling_params": sampling},
            postprocess=lambda row: {"took": row["time_taken_llm"], "finished": time.time()},
        )
        data = ray.data.from_items([{"tokens": prompt} for prompt in prompts])
        rows = processor(data).take_all()
    except Exception as error:  # whatever it is, it is the result
        return {"fails": f"{type(error).__name__}: {''.join(str(error).strip().splitlines()[-1:])[:300]}"}
    seconds = max(row["finished"] for row in rows) - min(row["finished"] - row["took"] for row in rows)
    return {"pairs_per_second": round(len(rows) / seconds, 3), "pairs": len(rows), "batch": batch}


if __name__ == "__main__":
    main()
