"""deploy/: the RayJob is one that KubeRay and Kubernetes take, the image pins what locks/gpu.txt says, neither holds a
secret, and all three descriptions of a cluster agree.
"""

from __future__ import annotations

import copy
import fnmatch
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.kuberay_schema import RAYJOB

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
#: Kubernetes releases that the pods are checked against: the oldest that is still supported somewhere, and a new one.
RELEASES = ("1.30", kubernetes_validate.latest_version())
SECRETS = {
    "access key": r"A(KIA|SIA)[A-Z0-9]{16}",
    "secret": r"(?i)(secret_access_key|password|session_token|auth_token)\w*\s*[:=]\s*[^\s…]",
    "private key": r"BEGIN [A-Z ]*PRIVATE KEY",
}


@pytest.fixture
def job() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "deploy" / "kuberay-rayjob.yaml").read_text("utf-8"))


def lock() -> dict[str, str]:
    """Package → version of locks/gpu.txt."""
    lines = (ROOT / "locks" / "gpu.txt").read_text("utf-8").splitlines()
    return dict(line.partition(" ")[0].split("==") for line in lines if "==" in line)


def groups(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return {"head": cluster["headGroupSpec"]} | {group["groupName"]: group for group in cluster["workerGroupSpecs"]}


def container(group: dict[str, Any]) -> dict[str, Any]:
    (found,) = group["template"]["spec"]["containers"]
    return found


def pods(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The specs of all pods: those of the cluster's groups, and the one that submits the job."""
    specs = {name: group["template"]["spec"] for name, group in groups(job).items()}
    return specs | {"submitter": job["spec"]["submitterPodTemplate"]["spec"]}


def test_the_rayjob_has_the_fields_of_kuberay(job):
    """Every field above the pods is one of KubeRay's API, with a value of its type."""
    jsonschema.validate(job, RAYJOB)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("spec", "entryPoint"), "relabel run"),
        (("spec", "submissionMode"), "k8sJobMode"),
        (("spec", "rayClusterSpec", "workerGroupSpec"), []),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "minReplicas"), "1"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "metadata"), {"label": {}}),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-gpus"), 0),
    ],
)
def test_the_schema_refuses_mistakes(job, place, value):
    """The check can fail: a misspelt field, a wrong type, a start parameter that is no string."""
    at = job
    for name in place[:-1]:
        at = at[name]
    at[place[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, RAYJOB)


@pytest.mark.parametrize("release", RELEASES)
def test_its_pods_are_those_of_kubernetes(job, release):
    """Each pod is valid by Kubernetes' own strict schema of that release, and a misspelt field of it is not."""
    for name, spec in pods(job).items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        kubernetes_validate.validate(pod, release, strict=True)
        wrong = copy.deepcopy(pod)
        wrong["spec"]["containers"][0]["volumeMount"] = []
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, release, strict=True)


def test_training_is_on_demand_and_judging_is_spot(job):
    """Head and CPU pods ask for no GPU; only judging goes to nodes that can be lost, and tolerates their taints."""
    gpus = {
        name: container(group)["resources"]["limits"].get("nvidia.com/gpu", "0") for name, group in groups(job).items()
    }
    assert gpus == {"head": "0", "cpu": "0", "training": "4", "judging": "1"}
    specs = {name: group["template"]["spec"] for name, group in groups(job).items()}
    market = {name: spec.get("nodeSelector", {}).get("karpenter.sh/capacity-type") for name, spec in specs.items()}
    assert market == {"head": None, "cpu": None, "training": "on-demand", "judging": "spot"}
    tolerated = {name: {one["key"] for one in spec.get("tolerations", [])} for name, spec in specs.items()}
    assert tolerated["training"] == {"nvidia.com/gpu"}
    assert tolerated["judging"] == {"nvidia.com/gpu", "spot"}
    assert groups(job)["training"]["minReplicas"] == 1  # a training refuses to start where its GPUs are not there


def test_every_pod_has_shared_memory_for_its_object_store(job):
    """/dev/shm is memory of twice the object store at least, and fits into the container's own."""
    for name, group in groups(job).items():
        volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in container(group)["volumeMounts"]}
        shared = volumes[mounts["/dev/shm"]]["emptyDir"]
        assert shared["medium"] == "Memory", name
        size, whole = (
            int(text.removesuffix("Gi")) << 30
            for text in (shared["sizeLimit"], container(group)["resources"]["limits"]["memory"])
        )
        assert 2 * int(group["rayStartParams"]["object-store-memory"]) <= size < whole, name


@pytest.mark.filterwarnings("ignore")
def test_start_parameters_are_options_of_this_ray(job):
    """KubeRay hands them to `ray start`, which must know them."""
    from ray.scripts.scripts import start

    known = {name for option in start.params for name in option.opts}
    for group in groups(job).values():
        assert {f"--{name}" for name in group["rayStartParams"]} <= known


def test_pods_are_nobody_special_and_credentials_come_from_a_secret(job):
    """No root, no privileges, the autoscaler beside the head included; a token for the cluster; S3's keys only by
    reference; no account token but the head's, whose autoscaler asks Kubernetes for pods.
    """
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    locked = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert cluster["autoscalerOptions"]["securityContext"] == locked
    for name, spec in pods(job).items():
        (one,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert one["securityContext"] == locked
        assert name == "submitter" or one["envFrom"] == [{"secretRef": {"name": "relabel-s3"}}]
        assert not [entry for entry in one.get("env", []) if re.search("(?i)key|secret|token", entry["name"])]
        assert name == "head" or spec["automountServiceAccountToken"] is False


def test_groups_can_grow_and_shrink(job):
    """Numbers in their limits, and workers' pods that are never restarted: the autoscaler could not take those away."""
    for name, group in groups(job).items():
        if name != "head":
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
            assert group["template"]["spec"]["restartPolicy"] == "Never"


def test_this_ray_knows_tokens(job):
    """KubeRay refuses `authOptions` with a Ray before 2.52."""
    assert tuple(map(int, job["spec"]["rayClusterSpec"]["rayVersion"].split("."))) >= (2, 52)


def test_the_job_is_a_command_that_resumes(job, tmp_path):
    """The entry point is a line that the command line takes; a failed try is followed by another on the same folder."""
    import argparse

    from jobs import run_command

    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:2] == ["relabel", "run"]
    parser = argparse.ArgumentParser()
    run_command.add_arguments(parser)
    options = parser.parse_args(words[2:])
    assert options.recipe.startswith("s3://")
    assert options.out.startswith("s3://")
    assert job["spec"]["backoffLimit"] >= 1
    assert job["spec"]["shutdownAfterJobFinishes"] is True


def test_all_descriptions_run_one_ray_on_one_python(job):
    """pyproject.toml, locks/gpu.txt, cluster.yaml, the RayJob and the Dockerfile name the same Ray and Python."""
    (base,) = re.findall(r"^FROM (\S+)$", DOCKERFILE, re.MULTILINE)
    pinned = next(one for one in PROJECT["dependencies"] if one.startswith("ray[")).split("==")[1]
    assert lock()["ray"] == pinned == job["spec"]["rayClusterSpec"]["rayVersion"]
    assert base == yaml.safe_load((ROOT / "cluster.yaml").read_text())["docker"]["worker_image"]
    assert base.startswith(f"rayproject/ray:{pinned}-py311-")
    images = {spec["containers"][0]["image"] for spec in pods(job).values()}
    assert images == {f"relabel:{PROJECT['version']}"}
    assert f"-t relabel:{PROJECT['version']} ." in DOCKERFILE


def test_the_image_installs_the_lock_and_nothing_else():
    """Every install is from locks/gpu.txt, an exact version, or this project without dependencies; the lock has what
    the extra `gpu` pins, and the image looks at itself at the end."""
    text = DOCKERFILE.replace("\\\n", " ")
    installs = re.findall(r"pip install ([^&\n]*)", text)
    assert len(installs) == 3
    uv = next(line for line in (ROOT / "locks" / "cpu.txt").read_text().splitlines() if line.startswith("uv=="))
    assert installs[0].split() == ["--no-cache-dir", uv]
    assert installs[1].split() == ["--system", "--no-cache", "--compile-bytecode", "--requirement", "locks/gpu.txt"]
    assert installs[2].split() == ["--system", "--no-cache", "--no-deps", "."]
    assert text.index("locks/gpu.txt") < text.index("--no-deps .") < text.index("relabel doctor --packages")
    exact = [one for one in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["gpu"]] if "==" in one]
    assert {re.sub(r"\[.*\]", "", one) for one in exact} <= {f"{name}=={version}" for name, version in lock().items()}


def test_the_image_is_no_root_and_copies_what_it_is_let_see():
    """It ends as a plain user, fetches nothing by address, and what it copies passes .dockerignore, secrets do not."""
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1] == "ray"
    assert not re.search(r"^ADD |https?://|curl |wget |^ARG ", DOCKERFILE, re.MULTILINE)
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    taken = [line.removeprefix("!").removesuffix("/**") for line in lines if line.startswith("!")]
    copied = []
    for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE):
        copied += [word for word in line.split()[:-1] if not word.startswith("--")]
    assert sorted(copied) == sorted(taken)
    assert all((ROOT / name).exists() for name in copied)
    for secret in (".env", "auth_token", ".aws/credentials", "runs/shop/recipe.yaml", ".git/config"):
        assert not any(secret == name or fnmatch.fnmatch(secret, f"{name}/*") for name in taken)


@pytest.mark.parametrize(
    "secret", [".env", ".env.prod", "relabel-s3.env", "deploy/relabel-s3.env", "auth_token", ".ray/auth_token",
               ".aws/credentials", "credentials.json", "keys/node.pem", "tls/server.key", ".netrc", ".ssh/id_ed25519"],
)  # fmt: skip
def test_credentials_stay_out_of_commits_and_of_what_ray_up_copies(secret):
    """.gitignore names them: git asks it, `ray job submit` does, and `ray up` by the filter of cluster.yaml."""
    asked = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", secret], cwd=ROOT, check=False)
    assert asked.returncode == 0
    assert yaml.safe_load((ROOT / "cluster.yaml").read_text())["rsync_filter"] == [".gitignore"]


@pytest.mark.parametrize("name", ["deploy/kuberay-rayjob.yaml", "deploy/Dockerfile", "cluster.yaml", ".rayignore"])
def test_no_file_of_a_cluster_holds_a_secret(name):
    """No key, password or token is written down, only where it is to come from."""
    text = (ROOT / name).read_text("utf-8").replace("/home/ray/.ray/auth_token: ~/.ray/auth_token", "")
    assert not {kind: found for kind, pattern in SECRETS.items() if (found := re.findall(pattern, text))}


def test_the_doctor_of_an_image_looks_at_packages_alone(capsys):
    """`relabel doctor --packages`, the image's last step, says nothing of memory, GPUs or ports."""
    from jobs.cli import main

    assert main(["doctor", "--packages"]) == 0
    printed = capsys.readouterr().out
    assert "ray 2." in printed
    assert not re.search("shared memory|GPU|AWS|listens", printed)
