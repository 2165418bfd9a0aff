"""`ray job submit` as the README documents it, on a real head with its job server and with results on a real S3 server:
small upload, progress in the job's log, a stop in the middle that ends cleanly, and a second submission that goes on.
"""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
import yaml

from relabel.demo import write_beir
from relabel.records import KEY
from relabel.storage import Folder
from relabel.tables import keys_of, read_manifest, read_whole
from tests.chaos.scenes import Actors, done_by
from tests.jobs.stage_runs import markers, shards_done, write_pairs
from tests.ray_head import RayHead, joined, ray_head

ROOT = Path(__file__).parents[2]
PAIRS, SHARD_ROWS = 2000, 10
SHARDS = PAIRS // SHARD_ROWS
SMALL, LARGE = (f"--engine lexical --shard-rows {rows}" for rows in (SHARD_ROWS, PAIRS // 4))
#: Shards after which the job is stopped.
ENOUGH = 3
#: Pairs of the jobs with real engines.
ENGINE_PAIRS = 480
#: Ray Data hands out nothing before all actors are ready; else the first engine may have done all by then.
ALL_READY_FIRST = "RAY_DATA_DEFAULT_WAIT_FOR_MIN_ACTORS_S=600"
#: The command `ray`, loaded, which takes seconds, and waiting for a line on its input before it does what it is told.
WAITING_RAY = (
    "import sys; from ray.scripts.scripts import cli; print('loaded', flush=True); sys.stdin.readline(); cli()"
)
#: Files that lie in a checkout and must stay there, and how large they are.
LEFT_AT_HOME = {
    ".git/objects/pack/pack-1.pack": 30 << 20,
    ".venv/lib/torch.so": 30 << 20,
    "runs/shop/pairs/part-00000.parquet": 30 << 20,
    ".env": 100,
    "relabel-s3.env": 100,
    ".aws/credentials": 100,
    "auth_token": 64,
    "keys/node.pem": 1700,
    "tests/large.bin": 1 << 20,
}


@pytest.fixture(scope="module")
def head(s3_environment):
    with ray_head(cpus=6) as running:
        yield running


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of this project as it lies on an engineer's machine, with what has no business on a cluster."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for name, size in LEFT_AT_HOME.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(random.Random(name).randbytes(size))
    return folder


@pytest.fixture(scope="module")
def shop(checkout, s3_environment, tmp_path_factory) -> None:
    """`shop.yaml` in the checkout: the demo's recipe, small and without a language model, its collection on S3."""
    folder, data = tmp_path_factory.mktemp("shop"), Folder(f"s3://{s3_environment.bucket}/shop")
    write_beir(folder)
    for path in folder.rglob("*"):
        if path.is_file():
            data.write_bytes(str(path.relative_to(folder)), path.read_bytes())
    recipe = yaml.safe_load((ROOT / "jobs" / "recipes" / "demo.yaml").read_text("utf-8"))
    for section in ("prepare", "human", "held_out", "test"):
        recipe[section] |= {"dataset": data.uri, "max_queries": 6}
    del recipe["judge_training"]
    recipe |= {"name": "shop", "judge": {"engine": "lexical"}, "adjust": {"rules": []}}
    recipe["reranker"] |= {"epochs": 1}
    recipe["evaluate"] |= {"resamples": 100, "permutations": 100}
    (checkout / "shop.yaml").write_text(yaml.safe_dump(recipe), "utf-8")


@pytest.mark.timeout(900)
@pytest.mark.chaos(fault="job stopped and submitted again", injected="`ray job stop` in the middle, on a real Ray head")
def test_a_stopped_job_is_submitted_again_and_goes_on(head, checkout, s3_environment, make_pairs, tally):
    """The documented line uploads little and shows progress; stopped in the middle it keeps its shards and leaves no
    process; submitted again it skips them, and its table is that of an undisturbed job. No log holds a secret."""
    bucket = f"s3://{s3_environment.bucket}/job-submit"
    write_pairs(Folder(f"{bucket}/pairs"), make_pairs(_rows()))
    whole, stopped = Folder(f"{bucket}/whole"), Folder(f"{bucket}/stopped")
    with _waiting_ray(head, ["job", "stop", "--address", head.address, "stopped"], checkout) as stop:
        said = [_submit(head, checkout, "stopped", _judging(stopped))]
        _until(lambda: shards_done(stopped) >= ENOUGH and ", " in _progress(head, "stopped"), head, "stopped")
        said.append(stop())
    assert _job(head, "stopped")["status"] == "STOPPED"
    kept = markers(stopped)
    assert ENOUGH <= len(kept) < SHARDS
    log = _log(head, "stopped")
    assert re.search(rf"judge: [\d,]+ of {PAIRS:,} pairs \(\d+%\), [\d,.]+/s, .+ left", log)
    assert "stopped; finished work is kept. To go on: relabel judge" in log
    _until(lambda: not _left_over(head), head, "stopped", "STOPPED")

    said += [_submit(head, checkout, "again", _judging(stopped))]
    said += [_submit(head, checkout, "whole", _judging(whole, LARGE))]
    for name in ("again", "whole"):
        _until(lambda name=name: _job(head, name)["status"] == "SUCCEEDED", head, name, "SUCCEEDED")
    done = re.search(rf"judge: (\d+) of {SHARDS} shards are done already, going on with (\d+)", _log(head, "again"))
    assert done, _log(head, "again")
    assert int(done[1]) == len(kept)
    assert int(done[1]) + int(done[2]) == SHARDS
    assert {index: markers(stopped)[index] for index in kept} == kept
    tally.same_tables(whole, stopped)
    assert read_manifest(whole).quarantined == 1

    _check_upload(head)
    secrets = {s3_environment.secret_key, s3_environment.access_key, head.environment["RAY_AUTH_TOKEN"]}
    assert _files_with(secrets, head.folder) == []
    assert not [text for text in said for secret in secrets if secret in text]
    stored = Folder(bucket)
    assert not [
        name for name in stored.names(recursive=True) for one in secrets if one.encode() in stored.read_bytes(name)
    ]


@pytest.mark.timeout(1500)
@pytest.mark.chaos(
    fault="job on three nodes with four engines",
    injected="`ray job submit` twice to a head that two raylets joined: one judge actor, then four",
)
def test_a_job_on_three_nodes_says_what_one_actor_says(checkout, s3_environment, make_pairs, tally):
    """Real weights: keys and quarantine exact, probabilities within 0.02; four actors, which one node cannot hold."""
    bucket = f"s3://{s3_environment.bucket}/job-nodes"
    write_pairs(Folder(f"{bucket}/pairs"), make_pairs(_rows(ENGINE_PAIRS)))
    one, four = Folder(f"{bucket}/one"), Folder(f"{bucket}/four")
    options = "--engine vllm --prompt terse-0-3 --max-document-tokens 64 --kv-cache-gib 1 --dtype float32 --threads 1"
    with ray_head(cpus=2) as head, joined(head, cpus=2), joined(head, cpus=2):
        for out, actors in ((one, 1), (four, 4)):
            name = f"{actors}-actors"
            judging = _judging(out, f"{options} --shard-rows 16 --actors {actors}")
            _submit(head, checkout, name, ["env", ALL_READY_FIRST, *judging])
            judges, at_once = Actors(), []
            _until(partial(_ended, head, name, judges, at_once), head, name, "SUCCEEDED", 600)
            assert max(at_once) >= actors
        assert sum("/raylet/raylet " in line for line in _commands(head)) == 3
    difference = tally.near_tables(one, four)
    assert len({worker["process"] for worker in done_by(one)}) == 1
    engines = len({worker["process"] for worker in done_by(four)})
    print(f"{engines} engines judged; largest difference of a probability: {difference:.6f}")
    assert engines >= 2


@pytest.mark.timeout(1200)
@pytest.mark.chaos(
    fault="job of a whole recipe stopped and submitted again",
    injected="`ray job stop` while it trains, on a real Ray head",
)
def test_the_documented_job_runs_a_recipe(head, checkout, shop, s3_environment, tally):
    """The README's line as it stands but for the addresses. Training waits for judging; submitted again after a stop,
    the job finds done what was done, and ends with a report."""
    out = Folder(f"s3://{s3_environment.bucket}/job-recipe/run")
    job = [out.uri if word.startswith("s3://") else word for word in documented()[1]]
    assert job[:4] == ["python", "-m", "jobs.run", "shop.yaml"]
    _submit(head, checkout, "recipe", job)
    _until(lambda: (out / "rerankers" / "keep").exists("supervision/validation.parquet"), head, "recipe")
    _ray(head, ["job", "stop", "--address", head.address, "recipe"], checkout)
    assert _job(head, "recipe")["status"] == "STOPPED"
    assert not out.exists("report.html")
    _until(lambda: not _left_over(head), head, "recipe", "STOPPED")

    _submit(head, checkout, "recipe-again", job)
    _until(lambda: _job(head, "recipe-again")["status"] == "SUCCEEDED", head, "recipe-again", "SUCCEEDED", 600)
    done = [line for line in _log(head, "recipe-again").splitlines() if line.endswith("done already")]
    assert {"— judge: done already", "— adjust keep: done already"} <= set(done), done
    assert out.read_bytes("report.html").decode().rstrip().endswith("</html>")
    stages = {stage["name"]: stage for stage in out.read_json("run.json")["stages"]}
    assert stages["judge"]["finished"] <= stages["train-reranker keep"]["begun"]
    [judged] = {name.split("/")[0] for name in (out / "judgements").names(recursive=True)}
    tally.rows(keys_of(read_whole(out / "pairs", "pairs", list(KEY))), out / "judgements" / judged)


@pytest.mark.chaos(fault="job server asked without a token", injected="a request to a real Ray head")
def test_the_job_server_asks_for_the_token(head):
    """Without the token nobody gets as far as the list of jobs."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{head.address}/api/jobs/", timeout=30)
    assert refused.value.code in (401, 403)


def _rows(pairs: int = PAIRS) -> list[tuple]:
    chance = random.Random(5)
    words = [f"word{number}" for number in range(300)]
    rows = [
        (f"q{i // 20}", f"d{i}", f"what is {words[i // 20 % 300]}", " ".join(chance.choices(words, k=40)), i % 2)
        for i in range(pairs - 1)
    ]
    return [*rows, ("q0", "empty", "what is it", "   ", 0)]


def documented() -> tuple[list[str], list[str]]:
    """The words of the README's `ray job submit`, and those of the job that it submits."""
    text = (ROOT / "README.md").read_text("utf-8").replace("\\\n", " ")
    [(submit, job)] = re.findall(r"^(ray job submit .*?) -- (python -m jobs\.run .*)$", text, re.MULTILINE)
    return shlex.split(submit), shlex.split(job)


def _judging(out: Folder, options: str = SMALL) -> list[str]:
    """A job that judges the pairs beside `out`."""
    pairs = f"{out.uri.rpartition('/')[0]}/pairs"
    return ["python", "-m", "jobs.judge", "--pairs", pairs, "--out", out.uri, *options.split()]


def _submit(head: RayHead, checkout: Path, name: str, job: list[str]) -> str:
    words = [head.address if word == "http://localhost:8265" else word for word in documented()[0]]
    assert head.address in words
    return _ray(head, [*words[1:], "--no-wait", "--submission-id", name, "--", *job], checkout)


def _ray(head: RayHead, words: list[str], folder: Path) -> str:
    """`ray WORDS` as a person with the token types it in `folder`; what it says."""
    command = [sys.executable, "-m", "ray.scripts.scripts", *words]
    done = subprocess.run(command, cwd=folder, env=_as_a_person(head), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:] + head.said()
    return done.stdout + done.stderr


@contextmanager
def _waiting_ray(head: RayHead, words: list[str], folder: Path) -> Iterator[Callable[[], str]]:
    """`ray WORDS`, loaded: called, it runs at once, so that the job does not end meanwhile; gives what it says."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, "-c", WAITING_RAY, *words]
    with subprocess.Popen(command, cwd=folder, env=_as_a_person(head), **pipes) as process:

        def go() -> str:
            said = process.communicate("now\n", timeout=300)[0]
            assert process.returncode == 0, said[-2000:] + head.said()
            return said

        try:
            assert "loaded" in process.stdout.readline()
            yield go
        finally:
            process.kill()


def _as_a_person(head: RayHead) -> dict[str, str]:
    """The environment of someone at another machine who has the token."""
    clean = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "PYTHONPATH")}
    return clean | head.environment


def _job(head: RayHead, name: str, part: str = "") -> dict:
    request = urllib.request.Request(
        f"{head.address}/api/jobs/{name}{part}",
        headers={"Authorization": f"Bearer {head.environment['RAY_AUTH_TOKEN']}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _log(head: RayHead, name: str) -> str:
    return _job(head, name, "/logs")["logs"]


def _progress(head: RayHead, name: str) -> str:
    return " ".join(re.findall(r"judge: [\d,]+ of .* left", _log(head, name)))


def _until(condition: Callable[[], bool], head: RayHead, name: str, fine: str = "RUNNING", seconds: float = 400):
    """Wait for a condition; fails, with the job's log, where the job ends otherwise or time runs out."""
    end = time.monotonic() + seconds
    while not condition():
        status = _job(head, name)["status"]
        assert status in ("PENDING", "RUNNING", fine), (status, _log(head, name)[-3000:])
        assert time.monotonic() < end, (status, _log(head, name)[-3000:])
        time.sleep(0.3)


def _ended(head: RayHead, name: str, judges: Actors, at_once: list[int]) -> bool:
    """Whether a job has ended well; adds how many judge actors live now."""
    at_once.append(len(judges.now()))
    return _job(head, name)["status"] == "SUCCEEDED"


def _left_over(head: RayHead) -> list[str]:
    """Processes of a job that has ended: its driver, actors and tasks; Ray Data's own actors stay with the head."""
    left = r"jobs\.(judge|run)|ray::(Map|Read|_wrapper|JobSupervisor|.*Train)"
    return [line for line in _commands(head) if re.search(left, line)]


def _commands(head: RayHead) -> list[str]:
    """Command lines of all processes of this Ray that live."""
    lines = []
    for process in head.processes():
        with suppress(psutil.NoSuchProcess):
            lines.append(" ".join(process.cmdline()))
    return lines


def _check_upload(head: RayHead) -> None:
    """What arrived of the working directory is the code and the recipes alone."""
    (package,) = [
        path for path in head.folder.glob("session_2*/runtime_resources/working_dir_files/*") if path.is_dir()
    ]
    files = [path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    names = {str(path.relative_to(package)) for path in files}
    assert {"jobs/run.py", "jobs/recipes/medquad.yaml", "relabel/report/page.html.j2", "train/loop.py"} <= names
    assert not names & set(LEFT_AT_HOME)
    assert {name.split("/")[0] for name in names if "/" in name} == {"jobs", "relabel", "train"}
    size = sum(path.stat().st_size for path in files)
    print(f"uploaded: {len(files)} files, {size:,} bytes")
    assert size < 2 << 20


def _files_with(secrets: set[str], folder: Path) -> list[tuple[str, str]]:
    """(file, first characters of the secret) of every file below a folder that holds one of the secrets."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            found += [(str(path), secret[:4]) for secret in secrets if secret.encode() in data]
    return found
