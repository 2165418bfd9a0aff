"""How fast and in how much memory does a cross-encoder train? `train-reranker` against CrossEncoderTrainer.

Both sides train the same encoder on the same graded pairs with the same loss, batch, learning rate, schedule and length
limit, one epoch without validation, each in a process of its own; they take turns and the order flips every time. The
Trainer is that of sentence-transformers, used as its documentation shows it. All compute in the dtype that ours chooses
on this machine, bfloat16 or float32; the Trainer also in the other one, and the better of its two counts (one that was
not half as fast as the other the first time is not run again: on cores without bfloat16 arithmetic it takes minutes).
With `--compare workers` it is one one-core worker of ours against two, the same batch in all.

What is timed: the steps alone, waiting for their rows included, from the end of the `--warm-up` steps on; on both sides
without start-up, validation or export. Memory is the greatest sum of all processes of a side (Ray's included), without
the files that they map. Ratios are of pairs a second, the median over repetitions (wanted: ≥ 1.5 of the best of theirs;
two workers: ≥ 1.6 of one).

    python -m benchmarks.reranker_training                      # pointwise: bce against BinaryCrossEntropyLoss
    python -m benchmarks.reranker_training --loss listnet       # listwise: against ListNetLoss
    python -m benchmarks.reranker_training --compare workers    # 16 pairs a step; --batch 64 as in medquad's recipe

The Trainer needs `pip install --no-deps -r locks/benchmarks.txt`. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from itertools import pairwise

from benchmarks.graded_groups import GROUP, write_graded
from benchmarks.sides import hand_over, run_side
from relabel.hardware import compute_dtype, facts, has_gpu
from relabel.models import local_model
from relabel.storage import Folder
from relabel.tables import read_whole

WANTED = {"trainer": 1.5, "workers": 1.6}
#: The Trainer in the dtype that ours would not choose.
OTHER_DTYPE = "trainer, other dtype"
#: Side → its options. The Trainer's own default is the model's dropout, 0.1.
SIDES = {
    "trainer": {
        "ours": ["--side", "ours"],
        "trainer": ["--side", "trainer"],
        "ours, dropout 0.1": ["--side", "ours", "--dropout", "0.1"],
        "trainer, dropout 0.1 (its default)": ["--side", "trainer", "--dropout", "0.1"],
        OTHER_DTYPE: ["--side", "trainer", "--dtype", "other", "--max-steps", "10"],
    },
    "workers": {
        "one worker": ["--side", "ours", "--threads", "1", "--workers", "1"],
        "two workers": ["--side", "ours", "--threads", "1", "--workers", "2"],
    },
}
#: Options that all sides share.
SHARED = ("labels", "loss", "warm_up", "model", "max_length", "batch", "learning_rate")


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", choices=tuple(SIDES), default="trainer")
    parser.add_argument("--sides", nargs="*", help="some sides alone, by name")
    parser.add_argument("--loss", choices=("bce", "listnet"), default="bce")
    parser.add_argument("--pairs", type=int, default=384, help="pairs of the epoch, in groups of 8 of a query")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--warm-up", type=int, default=4, help="steps before the clock starts")
    parser.add_argument("--model", default="all-minilm-l6-v2")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16, help="pairs of a step")
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--labels", help="a labels table; default: made of passages of TREC DL, else of the demo")
    parser.add_argument("--side", choices=("trainer", "ours"), help="run one side alone, in this process")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--dtype", default="auto", choices=("auto", "other"), help="this machine's, or not that one")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--max-steps", type=int, default=-1, help="of the Trainer: end before the epoch does")
    parser.add_argument("--out", help="folder of that side")
    options = parser.parse_args(arguments)
    if options.side:
        found = {"trainer": trainer_side, "ours": our_side}[options.side](options)
        hand_over(found)
        return found
    with tempfile.TemporaryDirectory(prefix="relabel-reranker-training-") as scratch:
        source = write_graded(Folder(scratch), options.pairs)
        result = compare(argparse.Namespace(**vars(options) | {"labels": scratch})) | {"texts": source}
    print(json.dumps(result))
    return result


def compare(options: argparse.Namespace) -> dict:
    sides = {name: side for name, side in SIDES[options.compare].items() if name in (options.sides or [name])}
    runs: list[dict[str, dict]] = []
    for repetition in range(options.repetitions):
        order = [name for name in sides if name != OTHER_DTYPE or not runs or may_be_better(runs[0])]
        order = order if repetition % 2 == 0 else order[::-1]
        runs.append({name: run_side("reranker_training", options, SHARED, sides[name]) for name in order})
        print(json.dumps(runs[-1]), flush=True)
    found = {name: [run[name] for run in runs if name in run] for name in sides}
    rates = {name: statistics.median(run["pairs_per_second"] for run in found[name]) for name in sides}
    ratios = ratios_of(options.compare, runs)
    return {
        "benchmark": "reranker_training",
        "compare": options.compare,
        "ratio": {name: round(statistics.median(each), 3) for name, each in ratios.items()},
        "holds": bool(ratios) and all(statistics.median(each) >= WANTED[options.compare] for each in ratios.values()),
        "ratios": {name: [round(one, 3) for one in each] for name, each in ratios.items()},
        "pairs_per_second": {name: round(rate, 2) for name, rate in rates.items()},
        "peak_mib": {name: round(max(run["peak_mib"] for run in found[name])) for name in sides},
        "loss_at_first_and_last": {name: found[name][-1]["loss"] for name in sides},
        "steps_timed": {name: found[name][-1]["steps"] for name in sides},
        "mean_tokens": next((run["mean_tokens"] for run in runs[-1].values() if "mean_tokens" in run), None),
        **{name: getattr(options, name) for name in ("loss", "batch", "max_length", "learning_rate", "model")},
        "load_average": os.getloadavg()[0],
        "machine": facts(),
    }


def may_be_better(first: dict[str, dict]) -> bool:
    """Whether the Trainer's other dtype, after a first run of all sides, is worth another: half as fast at least."""
    if not {"trainer", OTHER_DTYPE} <= first.keys():
        return True
    return first[OTHER_DTYPE]["pairs_per_second"] >= first["trainer"]["pairs_per_second"] / 2


def ratios_of(compared: str, runs: list[dict[str, dict]]) -> dict[str, list[float]]:
    """Ours over theirs in each run, with the same dropout; where both dtypes ran in it, over the better of the two.

    A comparison of which a side did not run (`--sides`) is left out.
    """
    found: dict[str, list[float]] = {}
    for run in runs:
        rates = {name: side["pairs_per_second"] for name, side in run.items()}
        if compared == "workers":
            if len(rates) == 2:
                found.setdefault("two workers / one", []).append(rates["two workers"] / rates["one worker"])
            continue
        trainers = [rate for name, rate in rates.items() if name in ("trainer", OTHER_DTYPE)]
        if trainers and "ours" in rates:
            found.setdefault("ours / trainer", []).append(rates["ours"] / max(trainers))
        default = "trainer, dropout 0.1 (its default)"
        if default in rates and "ours, dropout 0.1" in rates:
            found.setdefault("both with dropout 0.1", []).append(rates["ours, dropout 0.1"] / rates[default])
    return found


def outcome(options: argparse.Namespace, seconds: list[float], losses: list[float]) -> dict:
    """Rate of the steps after the warm-up; mean loss of the first and the last quarter of all steps."""
    timed, quarter = seconds[options.warm_up :], max(1, len(losses) // 4)
    return {
        "steps": len(timed),
        "pairs_per_second": options.batch * len(timed) / sum(timed),
        "loss": [round(statistics.mean(part), 3) for part in (losses[:quarter], losses[-quarter:])],
    }


def dtype(options: argparse.Namespace) -> str:
    """What a side computes in."""
    chosen = compute_dtype("auto", has_gpu()).value
    return chosen if options.dtype == "auto" else {"float32": "bfloat16", "bfloat16": "float32"}[chosen]


def our_side(options: argparse.Namespace) -> dict:
    """`train-reranker` as users run it, on Ray."""
    from jobs.cluster import connect
    from train.reranker import RerankerConfig, train_reranker

    connect()
    config = RerankerConfig(
        labels=options.labels,
        model=options.model,
        architecture="cross-encoder",
        loss=options.loss,
        group=GROUP,
        batch=options.batch // GROUP,
        max_length=options.max_length,
        dropout=options.dropout,
        learning_rate=options.learning_rate,
        dtype=dtype(options),
        workers=options.workers,
        threads=options.threads,
        validation_fraction=0.0,
        checkpoint_steps=10**6,
    )
    curve = train_reranker(config, Folder(options.out) / "reranker", print)["losses"]
    return outcome(options, [point["seconds"] for point in curve], [point["loss"] for point in curve])


def trainer_side(options: argparse.Namespace) -> dict:
    """CrossEncoderTrainer with the same loss, rows in random order."""
    import datasets
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from transformers import TrainerCallback

    dropout = {"hidden_dropout_prob": options.dropout, "attention_probs_dropout_prob": options.dropout}
    model = CrossEncoder(
        str(local_model(options.model)),
        num_labels=1,
        max_length=options.max_length,
        config_kwargs=dropout,
    )
    rows, loss, rows_a_step = theirs(model, options)
    ended: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__) -> None:
            ended.append(time.perf_counter())

    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(
            output_dir=options.out,
            per_device_train_batch_size=rows_a_step,
            dataloader_drop_last=True,
            learning_rate=options.learning_rate,
            warmup_steps=0.1,
            weight_decay=0.01,
            num_train_epochs=1,
            max_steps=options.max_steps,
            bf16=dtype(options) == "bfloat16",
            save_strategy="no",
            logging_steps=1,
            report_to=[],
            disable_tqdm=True,
            use_cpu=not has_gpu(),
        ),
        train_dataset=datasets.Dataset.from_dict(rows),
        loss=loss,
        callbacks=[Clock()],
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    seconds = [0.0, *(later - earlier for earlier, later in pairwise(ended))]
    pairs = [(row["query"], row["text"]) for row in read_whole(Folder(options.labels), "labels").to_pylist()]
    tokens = map(len, model.tokenizer(pairs, truncation=True, max_length=options.max_length)["input_ids"])
    return outcome(options, seconds, losses) | {"mean_tokens": round(statistics.mean(tokens), 1)}


def theirs(model, options: argparse.Namespace) -> tuple[dict[str, list], object, int]:
    """The labels table as columns for the loss, the loss of sentence-transformers, rows of a step."""
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, ListNetLoss

    from train.losses.listnet import TEMPERATURE

    rows = read_whole(Folder(options.labels), "labels").to_pylist()
    if options.loss == "bce":
        columns = {"query": "query", "document": "text", "label": "label"}
        found = {theirs: [row[ours] for row in rows] for theirs, ours in columns.items()}
        return found, BinaryCrossEntropyLoss(model), options.batch
    groups = [rows[start : start + GROUP] for start in range(0, len(rows), GROUP)]
    found = {
        "query": [group[0]["query"] for group in groups],
        "documents": [[row["text"] for row in group] for group in groups],
        "labels": [[row["label"] / TEMPERATURE for row in group] for group in groups],
    }
    return found, ListNetLoss(model, mini_batch_size=options.batch), options.batch // GROUP


if __name__ == "__main__":
    main()
