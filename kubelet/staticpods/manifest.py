"""From a manifest's text to the pod that this node runs: pure.

The name gets the node's name as a suffix, and the uid is a hash of what the file says: a changed file is another pod
(upstream: pkg/kubelet/config/common.go).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import yaml
from lightkube.models.core_v1 import Toleration
from lightkube.resources.core_v1 import Pod

from common.api import names
from common.api.meta import meta_of
from kubelet.pods.identity import DEFAULT_GRACE_PERIOD, spec_of

ANNOTATION_SOURCE = "kubernetes.io/config.source"
ANNOTATION_HASH = "kubernetes.io/config.hash"
ANNOTATION_SEEN = "kubernetes.io/config.seen"
MAX_BYTES = 10 << 20


class ManifestError(Exception):
    """Why a file is no pod."""


@dataclass(frozen=True, slots=True)
class Origin:
    """``source`` is file or http, ``place`` the path or the URL."""

    source: str
    place: str


def parse_manifest(text: bytes, origin: Origin, node_name: str, seen: str) -> Pod:
    """``seen`` is when the text was first read so. Raises ManifestError."""
    return _pod_of(_first_document(text), origin, node_name, seen)


def parse_manifests(text: bytes, origin: Origin, node_name: str, seen: str) -> list[Pod]:
    """One pod, or a list of them. Raises ManifestError."""
    raw = _first_document(text)
    if not isinstance(raw, dict) or raw.get("kind") not in ("PodList", "List"):
        return [_pod_of(raw, origin, node_name, seen)]
    items = raw.get("items") or []
    if not isinstance(items, list):
        raise ManifestError("couldn't parse as pods: items must be a list")
    # The items of a list need not say what they are.
    typed = [{"apiVersion": "v1", "kind": "Pod", **item} if isinstance(item, dict) else item for item in items]
    return [_pod_of(item, origin, node_name, seen) for item in typed]


def _first_document(text: bytes) -> Any:
    """JSON is YAML. Of several documents the first counts, as upstream. Raises ManifestError."""
    try:
        return next(iter(yaml.safe_load_all(text)), None)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ManifestError(f"couldn't parse as pod, please check config file: {error}") from error


def _pod_of(raw: Any, origin: Origin, node_name: str, seen: str) -> Pod:
    if not isinstance(raw, dict) or raw.get("kind") != "Pod" or raw.get("apiVersion") != "v1":
        raise ManifestError("couldn't parse as pod, please check config file: it is no v1 Pod")
    _check(raw)
    uid = _uid(raw, origin, node_name)
    raw.pop("status", None)
    try:
        pod: Pod = Pod.from_dict(raw)  # type: ignore[assignment]
    except Exception as error:  # whatever the model's library makes of what a person typed
        raise ManifestError(f"couldn't parse as pod, please check config file: {error}") from error
    meta, spec = meta_of(pod), spec_of(pod)
    meta.name = f"{meta.name}-{node_name.lower()}"
    meta.namespace = meta.namespace or "default"
    meta.uid = uid
    own = {ANNOTATION_SOURCE: origin.source, ANNOTATION_HASH: uid, ANNOTATION_SEEN: seen}
    meta.annotations = {**(meta.annotations or {}), **own}
    spec.nodeName = node_name
    spec.restartPolicy = spec.restartPolicy or "Always"
    spec.dnsPolicy = spec.dnsPolicy or "ClusterFirst"
    if spec.terminationGracePeriodSeconds is None:
        spec.terminationGracePeriodSeconds = DEFAULT_GRACE_PERIOD
    # No taint drives it away: it would come back at once.
    spec.tolerations = [*(spec.tolerations or ()), Toleration(operator="Exists", effect="NoExecute")]
    return pod


def _uid(raw: dict[str, Any], origin: Origin, node_name: str) -> str:
    given = raw["metadata"].get("uid")
    if given:
        return str(given)
    text = json.dumps(raw, sort_keys=True, default=str)
    return hashlib.md5(
        f"{text}\0host:{node_name}\0{origin.source}:{origin.place}".encode(), usedforsecurity=False
    ).hexdigest()


def _check(raw: dict[str, Any]) -> None:
    """What the node could not do without; the API server judges the rest when it is shown the mirror."""
    meta, spec = raw.get("metadata"), raw.get("spec")
    name = meta.get("name") if isinstance(meta, dict) else None
    problems = names.is_dns1123_subdomain(name) if isinstance(name, str) and name else ["Required value"]
    if problems:
        raise ManifestError(f"invalid pod: metadata.name: {'; '.join(problems)}")
    if not isinstance(spec, dict):
        raise ManifestError("invalid pod: spec: Required value")
    if not spec.get("containers"):
        raise ManifestError("invalid pod: spec.containers: Required value")
    if spec.get("ephemeralContainers"):
        raise ManifestError("invalid pod: spec.ephemeralContainers: Forbidden: cannot be set on create")
    known = set()
    for kind in ("initContainers", "containers"):
        containers = spec.get(kind) or []
        if not isinstance(containers, list):
            raise ManifestError(f"invalid pod: spec.{kind}: must be a list")
        for index, container in enumerate(containers):
            where = f"invalid pod: spec.{kind}[{index}]"
            if not isinstance(container, dict) or not container.get("name"):
                raise ManifestError(f"{where}.name: Required value")
            if problems := names.is_dns1123_label(str(container["name"])):
                raise ManifestError(f"{where}.name: {'; '.join(problems)}")
            if container["name"] in known:
                raise ManifestError(f"{where}.name: Duplicate value: {container['name']!r}")
            if not isinstance(container.get("image"), str) or not container["image"]:
                raise ManifestError(f"{where}.image: Required value")
            known.add(container["name"])
