"""Names and labels of the kubelet's containers.

``k8s_<container>_<pod>_<namespace>_<uid>_<attempt>`` is what upstream's Docker shim used: people and tools know it from
``docker ps``. The labels say the same; they are what is read back.
"""

from __future__ import annotations

from collections.abc import Mapping

from kubelet.cri import LABEL_CONTAINER_NAME, LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID, SANDBOX_NAME

LABEL_ATTEMPT = "io.kubernetes.container.restartCount"
LABEL_SANDBOX_ID = "io.kubernetes.sandbox.id"
LABEL_NODE = "coxswain.io/node"
LABEL_IMAGE_REF = "coxswain.io/image-ref"
LABEL_TYPE = "io.kubernetes.docker.type"
ANNOTATION_PREFIX = "annotation."
MAX_HOSTNAME = 64


def container_name(name: str, pod_name: str, namespace: str, uid: str, attempt: int) -> str:
    return f"k8s_{name}_{pod_name}_{namespace}_{uid}_{attempt}"


def identity_labels(name: str, pod_name: str, namespace: str, uid: str, attempt: int) -> dict[str, str]:
    return {
        LABEL_POD_NAME: pod_name,
        LABEL_POD_NAMESPACE: namespace,
        LABEL_POD_UID: uid,
        LABEL_CONTAINER_NAME: name,
        LABEL_ATTEMPT: str(attempt),
        LABEL_TYPE: "podsandbox" if name == SANDBOX_NAME else "container",
    }


def annotation_labels(annotations: Mapping[str, str]) -> dict[str, str]:
    """Docker has labels only: annotations are labels with a prefix."""
    return {ANNOTATION_PREFIX + key: value for key, value in annotations.items()}
