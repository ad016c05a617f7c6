"""What a pod or a volume refers to by name. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from apiserver.types import Object

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"

Reference = tuple[str, str, str]
"""(plural, namespace, name)."""


def is_mirror(pod: Object) -> bool:
    return MIRROR_ANNOTATION in (pod["metadata"].get("annotations") or {})


def references(pod: Object) -> Iterator[Reference]:
    """All that a pod's spec refers to."""
    namespace, spec = pod["metadata"].get("namespace", ""), pod.get("spec") or {}
    if spec.get("serviceAccountName"):
        yield "serviceaccounts", namespace, spec["serviceAccountName"]
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", namespace, secret.get("name", "")
    for volume in spec.get("volumes") or ():
        for plural, name in _of_volume(volume, pod):
            yield plural, namespace, name
    for key in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            for plural, name in _of_env(container):
                yield plural, namespace, name


def _of_volume(volume: Mapping[str, Any], pod: Object) -> Iterator[tuple[str, str]]:
    if "secret" in volume:
        yield "secrets", (volume["secret"] or {}).get("secretName", "")
    if "configMap" in volume:
        yield "configmaps", (volume["configMap"] or {}).get("name", "")
    if "persistentVolumeClaim" in volume:
        yield "persistentvolumeclaims", (volume["persistentVolumeClaim"] or {}).get("claimName", "")
    if "ephemeral" in volume:
        yield "persistentvolumeclaims", f"{pod['metadata']['name']}-{volume.get('name', '')}"
    for source in (volume.get("projected") or {}).get("sources") or ():
        if source.get("secret"):
            yield "secrets", source["secret"].get("name", "")
        if source.get("configMap"):
            yield "configmaps", source["configMap"].get("name", "")
    if volume.get("azureFile"):
        yield "secrets", volume["azureFile"].get("secretName", "")
    for kind in ("csi", "flexVolume", "cephfs", "cinder", "iscsi", "rbd", "scaleIO", "storageos"):
        source = volume.get(kind) or {}
        ref = source.get("secretRef") or source.get("nodePublishSecretRef")
        if ref:
            yield "secrets", ref.get("name", "")


def _of_env(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sources = [*(container.get("envFrom") or ()), *((e.get("valueFrom") or {}) for e in container.get("env") or ())]
    for source in sources:
        for key, plural in (
            ("secretRef", "secrets"),
            ("secretKeyRef", "secrets"),
            ("configMapRef", "configmaps"),
            ("configMapKeyRef", "configmaps"),
        ):
            if source.get(key):
                yield plural, source[key].get("name", "")


def claim_of(volume: Object) -> Reference | None:
    """The claim that a PersistentVolume is bound to, by its own word: a claim can say anything."""
    ref = (volume.get("spec") or {}).get("claimRef") or {}
    if not ref.get("name") or not ref.get("namespace"):
        return None
    return "persistentvolumeclaims", ref["namespace"], ref["name"]


def secrets_of(volume: Object) -> Iterator[Reference]:
    """The secrets that a node needs to mount a PersistentVolume; those of the claim's namespace if none is named."""
    spec = volume.get("spec") or {}
    claim = claim_of(volume)
    near = claim[1] if claim else ""
    if file := spec.get("azureFile"):
        yield "secrets", file.get("secretNamespace") or near, file.get("secretName", "")
    for kind in ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"):
        if ref := (spec.get(kind) or {}).get("secretRef"):
            yield "secrets", ref.get("namespace") or near, ref.get("name", "")
    for field in ("nodeStageSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"):
        if ref := (spec.get("csi") or {}).get(field):
            yield "secrets", ref.get("namespace", ""), ref.get("name", "")
