"""The environment: locks hold versions and no addresses, the GPU extra resolves, imports stay light."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("lock", ["cpu", "gpu"])
def test_a_lock_pins_every_package_and_names_no_address(lock):
    """Each line is `name==version`, with a marker at most."""
    lines = (ROOT / "locks" / f"{lock}.txt").read_text().splitlines()
    assert len(lines) > 100
    assert not [line for line in lines if not re.match(r"^[A-Za-z0-9._\[\],-]+==\S+( ; .+)?$", line)]
    assert not [line for line in lines if "://" in line]


def test_the_gpu_extra_resolves_without_being_installed(tmp_path):
    """The official vLLM and everything else of the extra have versions that fit together."""
    subprocess.run(["locks/make", "gpu", str(tmp_path / "gpu.txt")], cwd=ROOT, check=True, timeout=300)
    text = (tmp_path / "gpu.txt").read_text()
    assert re.search(r"^vllm==", text, re.MULTILINE)
    assert re.search(r"^ray\[?", text, re.MULTILINE)


def test_a_wheel_holds_every_module_and_its_data(tmp_path):
    """Who installs the project without its checkout gets all of it: subpackages, recipes, templates, grades."""
    folders = ("relabel", "train", "jobs")
    source = tmp_path / "source"
    for name in folders:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    wanted = {
        str(path.relative_to(source)) for name in folders for path in (source / name).rglob("*") if path.is_file()
    }
    build = [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--no-build-isolation"]
    subprocess.run([*build, "--python", sys.executable, "-o", tmp_path, source], check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    assert wanted - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_the_library_loads_neither_ray_nor_vllm_nor_torch():
    """Importing every module of `relabel` that is no engine leaves the heavy packages alone."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "relabel").rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]
    code = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        "print(sorted({'ray', 'vllm', 'torch'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
