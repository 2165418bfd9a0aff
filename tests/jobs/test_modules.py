"""Every stage and command is a module as well, so that `ray job submit` needs no installed script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli import COMMANDS, STAGES

ROOT = Path(__file__).parents[2]
#: Runs each module as `python -m` would, with `--help`, in one process: ours are imported each time, others once.
HELPS = """
import contextlib, io, json, runpy, sys
found = {}
for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] in ("jobs", "relabel", "train")]:
        del sys.modules[name]
    sys.argv, code, shown = [module, "--help"], None, io.StringIO()
    with contextlib.redirect_stdout(shown):
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
        except Exception as error:
            code = repr(error)
    found[module] = [code, shown.getvalue()]
print(json.dumps(found))
"""


def module_of(name: str) -> str:
    return f"jobs.{name.replace('-', '_')}"


@pytest.fixture(scope="module")
def helps() -> dict[str, list]:
    """Module → exit code and what it printed."""
    modules = [module_of(name) for name in sorted(STAGES | COMMANDS)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore::RuntimeWarning", "-c", HELPS, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", sorted(STAGES | COMMANDS))
def test_python_m_jobs_runs_the_command_of_that_name(name, helps):
    """`python -m jobs.<stage> --help` is the help of `relabel <stage>`."""
    code, shown = helps[module_of(name)]
    assert code == 0
    assert f"usage: relabel {name} " in shown
