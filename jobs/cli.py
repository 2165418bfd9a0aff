"""The command line: `relabel <stage> …`, one subcommand a stage, options made from the stage's configuration.

Exit codes: 0 done; 1 unexpected failure; 2 bad input; 3 bad recipe or option; 4 gate; 5 circular evidence; 6 ledger
does not add up; 7 another run is at work in the folder; 130 stopped by Ctrl-C (the same command goes on where it
stopped).
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from jobs import interrupt
from jobs.options import add_nested, add_options, config_values
from relabel import __version__
from relabel.errors import RelabelError
from relabel.lock import held
from relabel.secrets import redacted
from relabel.storage import Folder
from relabel.tables import MANIFEST, read_manifest

INTERRUPTED = 130
#: Libraries' progress bars and notices would stand between our own lines; who wants them sets these.
QUIET = {"TQDM_DISABLE": "1", "DS_LOG_LEVEL": "error"}


@dataclass(frozen=True)
class Stage:
    """A stage on the command line.

    Attributes:
        config, function: where they are, as `module:name`.
        section: of a recipe, which it takes its configuration from.
        reads: where it runs on Ray, the option that names its table, which is that table's kind.
    """

    config: str
    function: str
    help: str
    section: str | None = None
    reads: str | None = None

    def load(self) -> tuple[type, Any]:
        return _named(self.config), _named(self.function)


STAGES = {
    "prepare": Stage(
        "relabel.prepare:PrepareConfig", "relabel.prepare:prepare", "a dataset becomes a pairs table", "prepare"
    ),
    "generate-queries": Stage(
        "relabel.generation:GenerateConfig",
        "jobs.generate_queries:generate_queries",
        "a language model writes queries for documents: weak labels",
        "generation",
        reads="pairs",
    ),
    "train-judge": Stage(
        "train.judge_config:JudgeTrainingConfig",
        "train.judge:train_judge",
        "fine-tune a small LLM on human grades",
        "judge_training",
        reads="pairs",
    ),
    "judge": Stage(
        "relabel.judges:JudgeConfig", "jobs.judge:judge", "grade pairs with a judge", "judge", reads="pairs"
    ),
    "fit-panel": Stage(
        "relabel.panel.fit:FitPanelConfig", "relabel.panel.fit:fit_panel", "several judges become one, on human grades"
    ),
    "calibrate": Stage(
        "relabel.calibration.fit:CalibrateConfig",
        "relabel.calibration.fit:calibrate",
        "fit probabilities to human grades",
        "calibration",
    ),
    "robustness": Stage(
        "relabel.robustness.config:RobustnessConfig",
        "jobs.robustness:robustness",
        "how far a judge's grades move when pairs are perturbed",
        "robustness",
    ),
    "adjust": Stage("relabel.labels:AdjustConfig", "jobs.adjust:adjust", "judgements become labels under a rule"),
    "train-reranker": Stage(
        "train.reranker:RerankerConfig",
        "train.reranker:train_reranker",
        "train a re-ranker on labels",
        "reranker",
        reads="labels",
    ),
    "evaluate": Stage(
        "relabel.evidence.evaluate:EvaluateConfig",
        "relabel.evidence.evaluate:evaluate",
        "measure on human judgements",
        "evaluate",
    ),
    "agree": Stage(
        "relabel.agreement.agree:AgreeConfig", "relabel.agreement.agree:agree", "judges against people, side by side"
    ),
    "export": Stage(
        "relabel.formats.export:ExportConfig", "relabel.formats.export:export", "write a table in another format"
    ),
}
#: Stages that run on Ray but do not join the cluster themselves.
NEEDS_RAY = frozenset({"train-judge", "train-reranker"})
#: Commands of their own: name → module with `add_arguments(parser)` and `command(options) -> int`.
COMMANDS = {
    "run": ("jobs.run_command", "run all stages of a recipe"),
    "plan": ("jobs.plan", "what a recipe will take: rows, tokens, actor hours, wall time, money"),
    "demo": ("jobs.demo", "the whole job on a collection made from this machine's Python documentation"),
    "report": ("jobs.report", "write a run's HTML report again"),
    "status": ("jobs.status", "how far a run is"),
    "doctor": ("jobs.doctor", "check this machine and its settings"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # progress must be seen through a pipe, too
    interrupt.remember()
    try:
        return _run(arguments)
    except RelabelError as error:
        print(f"relabel: {redacted(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(
            f"\nrelabel: stopped; finished work is kept. To go on: relabel {redacted(shlex.join(arguments))}",
            file=sys.stderr,
        )
        return INTERRUPTED


def _run(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="relabel", description=__doc__.partition("\n\n")[0].split(": ", 1)[1])
    parser.add_argument("--version", action="version", version=f"relabel {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = arguments[0] if arguments else None
    for name, stage in STAGES.items():
        sub = commands.add_parser(name, help=stage.help, description=stage.help)
        if name == asked:
            _add_stage(sub, name, stage)
    for name, (module, text) in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text)
        if name == asked:
            import_module(module).add_arguments(sub)
    options = parser.parse_args(arguments)
    if options.command in STAGES:
        return _run_stage(options, STAGES[options.command])
    return import_module(COMMANDS[options.command][0]).command(options)


def _add_stage(parser: argparse.ArgumentParser, name: str, stage: Stage) -> None:
    config, function = stage.load()
    parser.description = (function.__doc__ or stage.help).partition("\n\n")[0]
    if stage.section:
        parser.add_argument("--recipe", metavar="FILE", help=f"take the section {stage.section!r} of a recipe first")
    parser.add_argument("--out", required=True, metavar="URI", help="folder to write: local or s3://bucket/prefix")
    add_options(parser, config)
    if name == "adjust":
        from relabel.labels import RULES

        for rule in RULES.values():
            add_nested(parser, f"rule {rule.name}", rule)


def _run_stage(options: argparse.Namespace, stage: Stage) -> int:
    config_class, function = stage.load()
    base = {}
    if getattr(options, "recipe", None):
        from jobs.recipe import section_values

        base = section_values(options.recipe, stage.section)
    config = config_class.load(config_values(options, config_class, base), f"relabel {options.command}")
    out = Folder(options.out)
    with held(out):
        table = stage.reads and getattr(config, stage.reads)
        if table and not out.exists(MANIFEST):  # Ray takes long to start, so a table that is not there is said first
            read_manifest(Folder(table), stage.reads)
        if options.command in NEEDS_RAY:
            from jobs.cluster import connect

            connect()
        function(config, out)
    return 0


def _named(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(module), name)


if __name__ == "__main__":
    sys.exit(main())
