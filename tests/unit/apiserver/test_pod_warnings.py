"""What a pod's author is told although the pod is taken (upstream: pkg/api/pod/warnings_test.go's cases, in short)."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.resources.pods.warnings import pod_warnings, template_warnings

NULL_SELECTOR = "a null labelSelector results in matching no pod"
TERM = {"topologyKey": "z"}
REQUIRED, PREFERRED = (f"{kind}DuringSchedulingIgnoredDuringExecution" for kind in ("required", "preferred"))


def warned(
    container: dict[str, Any] | None = None, annotations: dict[str, str] | None = None, **spec: Any
) -> list[str]:
    spec = {"containers": [{"name": "c", "image": "i", **(container or {})}], **spec}
    return pod_warnings({"metadata": {"name": "p", "annotations": annotations or {}}, "spec": spec})


@pytest.mark.parametrize(
    ("container", "warnings"),
    [
        ({"env": [{"name": "a", "value": "x"}, {"name": "b", "value": "x"}]}, []),
        (
            {"env": [{"name": "a", "value": "x"}, {"name": "a", "value": "y"}]},
            ['spec.containers[0].env[1]: hides previous definition of "a", which may be dropped when using apply'],
        ),
        ({"env": [{"name": "a", "value": "x"}, {"name": "a", "value": "$(a):y"}]}, []),
        (
            {"resources": {"limits": {"memory": "200m", "cpu": "200m"}}},
            [
                'spec.containers[0].resources.limits[memory]: fractional byte value "200m" is invalid, '
                "must be an integer"
            ],
        ),
        (
            {"ports": [{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 1, "protocol": "TCP"}]},
            ["spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"],
        ),
        ({"ports": [{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 1, "protocol": "UDP"}]}, []),
        (
            {"ports": [{"containerPort": 1, "protocol": "TCP", "hostIP": "1.1.1.1"}]},
            [
                "spec.containers[0].ports[0]: hostIP set without hostPort: "
                "{Name: HostPort:0 ContainerPort:1 Protocol:TCP HostIP:1.1.1.1}"
            ],
        ),
    ],
)
def test_of_containers(container: dict[str, Any], warnings: list[str]) -> None:
    assert warned(container) == warnings


@pytest.mark.parametrize(
    ("spec", "warnings"),
    [
        ({"nodeSelector": {"kubernetes.io/os": "linux"}}, []),
        (
            {"nodeSelector": {"beta.kubernetes.io/arch": "x"}},
            ['spec.nodeSelector[beta.kubernetes.io/arch]: deprecated since v1.14; use "kubernetes.io/arch" instead'],
        ),
        ({"volumes": [{"name": "v", "gitRepo": {}}]}, ["spec.volumes[0].gitRepo: deprecated in v1.11"]),
        (
            {"imagePullSecrets": [{"name": "a"}, {"name": "a"}, {}]},
            [
                'spec.imagePullSecrets[1].name: duplicate name "a"',
                'spec.imagePullSecrets[2].name: invalid empty name ""',
            ],
        ),
        ({"hostAliases": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.1"}]}, ['spec.hostAliases[1].ip: duplicate ip "1.1.1.1"']),
        (
            {"terminationGracePeriodSeconds": -1},
            ["spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"],
        ),
        (
            {
                "affinity": {
                    "podAffinity": {REQUIRED: [TERM]},
                    "podAntiAffinity": {PREFERRED: [{"podAffinityTerm": TERM}]},
                }
            },
            [
                f"spec.affinity.podAffinity.{REQUIRED}[0].labelSelector: {NULL_SELECTOR}",
                f"spec.affinity.podAntiAffinity.{PREFERRED}[0].podAffinityTerm.labelSelector: {NULL_SELECTOR}",
            ],
        ),
        (
            {"topologySpreadConstraints": [{"topologyKey": "z"}]},
            [f"spec.topologySpreadConstraints[0].labelSelector: {NULL_SELECTOR}"],
        ),
    ],
)
def test_of_specs(spec: dict[str, Any], warnings: list[str]) -> None:
    assert warned(**spec) == warnings


def test_of_annotations_and_names() -> None:
    key = "scheduler.alpha.kubernetes.io/critical-pod"
    text = 'non-functional in v1.16+; use the "priorityClassName" field instead'
    assert warned(annotations={key: ""}) == [f"metadata.annotations[{key}]: {text}"]
    template = {"metadata": {"annotations": {key: ""}}}
    assert template_warnings(template, "spec.template") == [f"spec.template.metadata.annotations[{key}]: {text}"]
    (told,) = pod_warnings({"metadata": {"name": "a.b"}, "spec": {}})
    assert told.startswith("metadata.name: this is used in the Pod's hostname")
