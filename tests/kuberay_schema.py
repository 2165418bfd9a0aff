"""What KubeRay's RayJob takes, as a JSON schema: the fields of its API `ray.io/v1` (1.5.1 and newer) with their types.

KubeRay's own resource definition comes in no package that this project could install, so the fields are written down
here from its API reference, and pods are checked against Kubernetes' own schemas (`kubernetes-validate`). A field that
is not listed is refused, also where a newer KubeRay knows it.
"""

from __future__ import annotations

from typing import Any

STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}
#: A pod template; what is in its `spec` is Kubernetes' own affair.
TEMPLATE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["spec"],
    "properties": {
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"labels": STRINGS, "annotations": STRINGS},
        },
        "spec": {"type": "object", "required": ["containers"]},
    },
}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


CLUSTER = _object(
    ["headGroupSpec"],
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=_object(["mode"], mode={"enum": ["token", "disabled"]}),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=_object(
        [],
        version={"enum": ["v1", "v2"]},
        idleTimeoutSeconds=COUNT,
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        image={"type": "string"},
        imagePullPolicy={"enum": ["Always", "Never", "IfNotPresent"]},
        resources={"type": "object"},
        env={"type": "array"},
        envFrom={"type": "array"},
        volumeMounts={"type": "array"},
        securityContext={"type": "object"},
    ),
    headGroupSpec=_object(
        ["rayStartParams", "template"],
        serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        headService={"type": "object"},
        enableIngress={"type": "boolean"},
        rayStartParams=STRINGS,
        template=TEMPLATE,
    ),
    headServiceAnnotations=STRINGS,
    suspend={"type": "boolean"},
    workerGroupSpecs={
        "type": "array",
        "items": _object(
            ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
            groupName={"type": "string", "pattern": r"^[a-z]([-a-z0-9]*[a-z0-9])?$"},
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            numOfHosts={"type": "integer", "minimum": 1},
            rayStartParams=STRINGS,
            scaleStrategy={"type": "object"},
            template=TEMPLATE,
        ),
    },
)

RAYJOB = _object(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=_object(
        ["name"],
        # KubeRay adds to it, and Kubernetes takes no longer name than 63 characters.
        name={"type": "string", "pattern": r"^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 47},
        namespace={"type": "string"},
        labels=STRINGS,
        annotations=STRINGS,
    ),
    spec=_object(
        ["entrypoint", "rayClusterSpec"],
        entrypoint={"type": "string", "minLength": 1},
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        backoffLimit=COUNT,
        activeDeadlineSeconds={"type": "integer", "minimum": 1},
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        suspend={"type": "boolean"},
        jobId={"type": "string"},
        runtimeEnvYAML={"type": "string"},
        metadata=STRINGS,
        managedBy={"enum": ["ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"]},
        clusterSelector=STRINGS,
        entrypointNumCpus={"type": "number", "minimum": 0},
        entrypointNumGpus={"type": "number", "minimum": 0},
        entrypointResources={"type": "string"},
        submitterPodTemplate=TEMPLATE,
        submitterConfig=_object([], backoffLimit=COUNT),
        rayClusterSpec=CLUSTER,
    ),
)
