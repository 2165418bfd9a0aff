"""The command line: an option for each field, errors with their exit codes, no traceback for a bad input."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict

import pytest

from jobs.cli import COMMANDS, STAGES, main
from jobs.options import add_options, config_values
from relabel import lock
from relabel.errors import ConfigError, InputError
from relabel.storage import Folder


@pytest.mark.parametrize("name", sorted(STAGES))
def test_each_stage_has_an_option_for_each_scalar_field(name, capsys):
    """No scalar field of a stage's configuration is without its option, and each option says what it means."""
    config, _ = STAGES[name].load()
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    nested = {
        "first_stage", "query_folds", "scale", "label_scales", "parameters", "targets", "rules", "judge", "augment",
    }  # fmt: skip
    missing = [
        field for field in config.model_fields if field not in nested and f"--{field.replace('_', '-')}" not in text
    ]
    assert not missing


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_has_a_help_page(name, capsys):
    """`relabel COMMAND --help` works for all of them."""
    with pytest.raises(SystemExit) as stopped:
        main([name, "--help"])
    assert stopped.value.code == 0
    assert name in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["judge", "--pairs", "nowhere", "--engine", "gpt", "--out", "o"], ConfigError, "engine: found 'gpt'"),
        (["judge", "--pairs", "p", "--prompt", "gradd-0-3", "--out", "o"], ConfigError, "write 'graded-0-3'"),
        (["adjust", "--pairs", "p", "--judgements", "j", "--rule", "repalce", "--out", "o"], ConfigError, "'replace'"),
        (["judge", "--engine", "lexical", "--out", "o"], ConfigError, "pairs: found nothing"),
        (["status", "nowhere"], InputError, "neither run.json nor plan.json"),
        (["report", "nowhere"], InputError, "nowhere: found no run.json"),
        (["prepare", "--dataset", "nowhere", "--format", "beir", "--out", ""], InputError, "found an empty address"),
        (
            ["evaluate", "--dataset", "nowhere", "--model", "a", "b", "--out", "o"],
            InputError,
            "nowhere: found no table",
        ),
        (["prepare", "--dataset", "nowhere", "--format", "beir", "--out", "o"], InputError, "nowhere"),
        (["prepare", "--dataset", "ftp://x/y", "--format", "beir", "--out", "o"], InputError, "s3://bucket/prefix"),
        (["prepare", "--format", "beir", "--out", "o"], ConfigError, "dataset: found nothing"),
        (["judge", "--pairs", "nowhere", "--engine", "lexical", "--out", "o"], InputError, "a finished pairs folder"),
        (["train-judge", "--pairs", "nowhere", "--model", "m", "--out", "o"], InputError, "a finished pairs folder"),
        (
            ["train-reranker", "--labels", "nowhere", "--model", "m", "--out", "o"],
            InputError,
            "a finished labels folder",
        ),
        (["generate-queries", "--pairs", "nowhere", "--model", "m", "--out", "o"], InputError, "found no table"),
    ],
)
def test_a_bad_option_exits_with_its_code(arguments, code, message, capsys, tmp_path, monkeypatch):
    """The message is printed alone, before Ray starts, and the exit code tells what kind of error it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jobs.cluster.connect", lambda log=print: pytest.fail("Ray was started first"))
    assert main(arguments) == code.exit_code
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--judgements", "a", "b"], {"judgements": ["a", "b"]}),
        (["--judgements", "a", "--judgements", "b", "c"], {"judgements": ["a", "b", "c"]}),
        ([], {}),
    ],
)
def test_a_list_may_come_in_several_options(arguments, expected):
    """An option that is given twice adds to the list; none of it is lost."""
    config, _ = STAGES["fit-panel"].load()
    parser = argparse.ArgumentParser()
    add_options(parser, config)
    parser.set_defaults(assignments=[])
    assert config_values(parser.parse_args(arguments), config) == expected


def test_the_fields_of_an_inline_part_are_options():
    """A robustness run takes the judge's options beside its own; those given win over the recipe's, the rest stays."""
    parser = argparse.ArgumentParser()
    config, _ = STAGES["robustness"].load()
    add_options(parser, config)
    options = parser.parse_args(["--pairs", "p", "--engine", "lexical", "--max-pairs", "7", "--set", "judge.actors=2"])
    values = config_values(options, config, {"seed": 5, "judge": {"engine": "vllm", "prompt": "binary"}})
    loaded = config.load(values, "relabel robustness")
    assert (loaded.pairs, loaded.max_pairs, loaded.seed, loaded.judge.pairs) == ("p", 7, 5, "")
    assert (loaded.judge.engine, loaded.judge.prompt, loaded.judge.actors) == ("lexical", "binary", 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pairs", "p", "--perturbations", "typo"], "perturbations: found 'typo'; wanted one of planted-start"),
        (["--pairs", "p", "--perturbations", "typos", "typos"], "each perturbation once, not 'typos' twice"),
        (["--pairs", "p", "--engine", "gpt"], "judge.engine: found 'gpt'"),
        (["--pairs", "p", "--set", "judge.pairs=x"], "no 'pairs' in judge"),
        (["--pairs", "p", "--set", "judge=3"], "judge: found 3"),
        (["--engine", "lexical"], "pairs: found nothing"),
    ],
)
def test_a_bad_option_of_robustness_is_refused(arguments, message, capsys):
    """Unknown perturbations and bad keys of the judge are named before anything runs."""
    assert main(["robustness", *arguments, "--out", "o"]) == ConfigError.exit_code
    assert message in capsys.readouterr().err


def test_doctor_finds_what_this_machine_has(capsys):
    """The doctor names versions and hardware, never a secret."""
    assert main(["doctor"]) in (0, 2)
    text = capsys.readouterr().out
    assert "Python 3." in text
    assert "ray 2." in text


def test_doctor_never_prints_a_secret(capsys, monkeypatch):
    """Credentials are reported as set or not set."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-show-me")
    main(["doctor"])
    text = capsys.readouterr().out
    assert "AWS_SECRET_ACCESS_KEY" in text
    assert "do-not-show-me" not in text


@pytest.mark.parametrize(
    ("elsewhere", "unwritten", "warned"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_doctor_warns_where_every_process_would_compile(capsys, monkeypatch, tmp_path, elsewhere, unwritten, warned):
    """Packages without bytecode, as uv installs them where it is not asked, are told with what to type where Python
    will write none; those of `make environment` have it."""
    if elsewhere:
        monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", unwritten)
    main(["doctor", "--packages"])
    text = capsys.readouterr().out
    assert ("python -m compileall -q" in text) == warned
    assert ("ray, torch, transformers, vllm without bytecode" in text) == warned


def test_nested_keys_are_explained(capsys):
    """The help of a stage lists the keys of its nested parts, as `--set` takes them, and those of every rule."""
    for name, keys in (
        ("prepare", ("scale.grades", "first_stage.candidates", "first_stage.positives", "query_folds.keep")),
        ("adjust", ("alpha", "max_entropy", "unjudged_weight")),
    ):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        text = capsys.readouterr().out
        assert not [key for key in keys if key not in text]


def test_agree_runs_from_the_command_line_on_files_alone(tmp_path, capsys):
    """Qrels and a table of two judges, scales by `--set`: the tables are printed, the files written, exit code 0."""
    rows = [(f"q{number // 4}", f"d{number}", number % 4) for number in range(40)]
    (tmp_path / "human.txt").write_text("".join(f"{q} 0 {d} {grade}\n" for q, d, grade in rows))
    labels = "".join(f"{q}\t{d}\t{grade}\t{int(grade > 2)}\n" for q, d, grade in rows)
    (tmp_path / "labels.tsv").write_text(f"query-id\tcorpus-id\tsame\tstrict\n{labels}")
    options = ["--human", f"{tmp_path}/human.txt", "--label-files", f"{tmp_path}/labels.tsv", "--resamples", "100"]
    scale = "scale={grades: [0, 1, 2, 3], relevant_from: 2}"
    strict = "label_scales.strict={grades: [0, 1], relevant_from: 1}"
    assert main(["agree", *options, "--set", scale, "--set", strict, "--out", f"{tmp_path}/out"]) == 0
    printed = capsys.readouterr().out
    assert "agree: the grades of strict are [0, 1], relevant from 1 (as stated)" in printed
    assert "α ordinal" in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["agree.json", "disagreements.tsv"]


def test_the_help_of_keys_by_name_says_where_the_name_goes(capsys):
    """A mapping of names to settings shows NAME in the keys that `--set` takes."""
    with pytest.raises(SystemExit):
        main(["agree", "--help"])
    assert "label_scales.NAME.grades" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    "command",
    [
        ["run", "demo"],
        ["judge", "--pairs", "p", "--engine", "lexical"],
        ["prepare", "--dataset", "d", "--format", "beir"],
    ],
    ids=lambda command: command[0],
)
def test_a_folder_in_which_another_run_is_at_work_is_refused_first(command, tmp_path, monkeypatch, capsys):
    """Before anything is read or started: exit code 7, and who it is; the other's folder is as it was."""
    other = asdict(lock.Holder.here()) | {"owner": "another"}
    Folder(tmp_path).write_json("lock/00000001.json", other)
    monkeypatch.setattr("jobs.cluster.connect", lambda *_: pytest.fail("Ray was started"))
    assert main([*command, "--out", str(tmp_path)]) == 7
    assert f"another run at work in it, process {os.getpid()} on " in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*.*")] == ["00000001.json"]
