"""How fast and in how much memory does a judge train? `train-judge` against the plain Trainer of transformers.

Both sides train all weights of the same model on the same pairs with the same prompts, batch, micro-batch and dtype,
one epoch without validation, each in a process of its own; they take turns and the order flips every time. The
Trainer is used as its documentation shows it: a causal LM, labels on the grade token alone, batches padded to their
longest, its default attention. Where documents have several labelled queries, a further side reads each document once
(`--queries-per-document`).

What is timed: `seconds` of our training record and `train_runtime` of the Trainer: the steps, without start-up or
export. Memory is the greatest sum of all processes of a side (Ray's included), without the files that they map. The
ratio is our pairs a second over the Trainer's, the median over repetitions (wanted: ≥ 1.5).

Run: `python -m benchmarks.judge_training --limit 160`, or with a table of yours (`--pairs`); the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile

import numpy as np
import pyarrow as pa

from benchmarks.graded_groups import write_graded
from benchmarks.sides import hand_over, run_side
from relabel.hardware import facts
from relabel.models import local_model
from relabel.prompts import prompt_named
from relabel.storage import Folder
from relabel.tables import TableWriter, read_manifest, read_whole
from train.graded_examples import graded_examples

WANTED = 1.5
#: Options that all sides share.
SHARED = ("pairs", "model", "prompt", "max_document_tokens", "batch", "micro_batch", "dtype")


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", help="a pairs table with human labels; default: that of benchmarks.graded_groups")
    parser.add_argument("--limit", type=int, default=160, help="pairs of an epoch")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--prompt", default="terse-0-3")
    parser.add_argument("--max-document-tokens", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--micro-batch", type=int, default=16)
    parser.add_argument("--trained-layers", type=int, help="a third side: ours with only so many layers trained")
    parser.add_argument(
        "--queries-per-document", type=int, help="a further side: ours with so many queries of a document together"
    )
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--side", choices=("trainer", "ours"), help="run one side alone, in this process")
    parser.add_argument("--out", help="folder of that side")
    options = parser.parse_args(arguments)
    if options.side:
        found = {"trainer": trainer_side, "ours": our_side}[options.side](options)
        hand_over(found)
        return found
    result = measure(options)
    print(json.dumps(result))
    return result


def measure(options: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory(prefix="relabel-judge-training-") as scratch:
        write_chosen_pairs(options, Folder(scratch))
        return compare(argparse.Namespace(**vars(options) | {"pairs": scratch}))


def write_chosen_pairs(options: argparse.Namespace, out: Folder) -> None:
    """About `limit` graded pairs: all those of some documents, taken evenly over the table, where one is named."""
    if not options.pairs:
        write_graded(out, options.limit, "pairs")
        return
    source = Folder(options.pairs)
    manifest, pairs = read_manifest(source, "pairs"), read_whole(source, "pairs")
    pairs = pairs.filter(pairs["label"].is_valid())
    documents = np.unique(pairs["text"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)[1]
    _, first = np.unique(documents, return_index=True)
    wanted = min(len(first), max(1, round(options.limit * len(first) / pairs.num_rows)))
    chosen = documents[np.sort(first)[np.linspace(0, len(first) - 1, wanted).astype(int)]]
    writer = TableWriter(out, "pairs", manifest.scale)
    writer.write(pairs.filter(pa.array(np.isin(documents, chosen))))
    writer.finish(manifest.about)


def compare(options: argparse.Namespace) -> dict:
    sides = {"ours": ["--side", "ours"], "trainer": ["--side", "trainer"]}
    extra = ["--trained-layers", str(options.trained_layers)] if options.trained_layers else []
    if extra:
        sides[f"ours, {options.trained_layers} layers"] = [*sides["ours"], *extra]
    if options.queries_per_document:
        together = ["--queries-per-document", str(options.queries_per_document)]
        sides[f"ours, {options.queries_per_document} queries a document"] = [*sides["ours"], *together]
    runs: list[dict[str, dict]] = []
    for repetition in range(options.repetitions):
        order = list(sides) if repetition % 2 == 0 else list(reversed(sides))
        runs.append({name: run_side("judge_training", options, SHARED, sides[name]) for name in order})
        print(json.dumps(runs[-1]), flush=True)
    rates = {name: statistics.median(run[name]["pairs_per_second"] for run in runs) for name in sides}
    ratios = [run["ours"]["pairs_per_second"] / run["trainer"]["pairs_per_second"] for run in runs]
    ratio = statistics.median(ratios)
    return {
        "benchmark": "judge_training",
        "ratio": round(ratio, 3),
        "holds": ratio >= WANTED,
        "ratios": [round(one, 3) for one in ratios],
        "pairs_per_second": {name: round(rate, 3) for name, rate in rates.items()},
        "seconds_for_1600_pairs": {name: round(1600 / rate) for name, rate in rates.items()},
        "peak_mib": {name: round(max(run[name]["peak_mib"] for run in runs)) for name in sides},
        "last_loss": {name: runs[-1][name]["loss"] for name in sides},
        "pairs": runs[0]["ours"]["pairs"],
        "mean_tokens": runs[0]["trainer"]["mean_tokens"],
        "batch": options.batch,
        "micro_batch": options.micro_batch,
        "model": options.model,
        "prompt": options.prompt,
        "dtype": options.dtype,
        "load_average": os.getloadavg()[0],
        "machine": facts(),
    }


def our_side(options: argparse.Namespace) -> dict:
    """`train-judge` as users run it, on Ray."""
    from jobs.cluster import connect
    from train.judge import train_judge
    from train.judge_config import JudgeTrainingConfig

    connect()
    together = options.queries_per_document or 1
    config = JudgeTrainingConfig(
        pairs=options.pairs,
        model=options.model,
        prompt=options.prompt,
        max_document_tokens=options.max_document_tokens,
        batch=max(1, options.batch // together),
        micro_batch=max(1, options.micro_batch // together),
        queries_per_document=together,
        trained_layers=options.trained_layers,
        dtype=options.dtype,
        balance="natural",
        validation_fraction=0.0,
        checkpoint_steps=10**6,
    )
    record = train_judge(config, Folder(options.out) / "judge", print)
    pairs, loss = record["pairs_trained"], record["losses"][-1]["loss"]
    return {"pairs": pairs, "pairs_per_second": pairs / record["seconds"], "loss": round(loss, 3)}


def trainer_side(options: argparse.Namespace) -> dict:
    """transformers' Trainer on the same prompts, the grade's token as the only label."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    from relabel.prompts.encoding import PromptEncoder

    folder = local_model(options.model)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    encoder = PromptEncoder(prompt_named(options.prompt), tokenizer, options.max_document_tokens)
    rows = list(graded_examples(Folder(options.pairs), encoder.prompt))
    prompts = encoder.encode(*([row[name] for row in rows] for name in ("query", "title", "text")))
    examples = [
        {
            "input_ids": [*prompt.token_ids, answer := encoder.label_token_ids[row["lowest"]]],
            "labels": [*[-100] * len(prompt.token_ids), answer],
        }
        for prompt, row in zip(prompts, rows, strict=True)
    ]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=options.out,
            per_device_train_batch_size=options.micro_batch,
            gradient_accumulation_steps=options.batch // options.micro_batch,
            dataloader_drop_last=True,
            learning_rate=1e-4,
            num_train_epochs=1,
            bf16=options.dtype == "bfloat16",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=examples,
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100),
    )
    found = trainer.train()
    pairs = found.global_step * options.batch
    return {
        "pairs": pairs,
        "pairs_per_second": pairs / found.metrics["train_runtime"],
        "loss": round(found.training_loss, 3),
        "mean_tokens": round(sum(len(one["input_ids"]) for one in examples) / len(examples), 1),
    }


if __name__ == "__main__":
    main()
