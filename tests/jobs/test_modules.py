"""Every stage and command is a module as well, so that `ray job submit` needs no installed script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli import COMMANDS, STAGES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(STAGES | COMMANDS))
def test_python_m_jobs_runs_the_command_of_that_name(name):
    """`python -m jobs.<stage> --help` is the help of `relabel <stage>`."""
    module = f"jobs.{name.replace('-', '_')}"
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert f"usage: relabel {name} " in done.stdout
