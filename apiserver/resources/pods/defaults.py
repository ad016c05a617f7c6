"""What a pod or a pod template gets when its author did not say.

Upstream: pkg/apis/core/v1/defaults.go. A template gets less than a pod: what only :func:`default_pod` sets
must not appear in templates, or every controller would see a changed template after an upgrade.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from apiserver.types import Object
from common.remember import remembered

Spec = dict[str, Any]

FILE_MODE = 0o644
TOKEN_SECONDS = 3600
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_SOURCES_WITH_MODE = ("secret", "configMap", "downwardAPI", "projected")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])"
_REFERENCE = re.compile(
    rf"(?:(?:(?=[^/]*[.:])|(?=localhost/)){_HOST}(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?"
)
_IDENTIFIER = re.compile("[a-f0-9]{64}")
_VOLUME_DEFAULTS: dict[str, dict[str, Any]] = {
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}
_AZURE_DISK = {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False}


def default_pod(pod: Object) -> None:
    spec = pod.setdefault("spec", {})
    for container in _app_containers(spec):
        _requests_from_limits(container)
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    if spec.get("hostNetwork"):
        for container in _app_containers(spec):
            for port in container.get("ports") or ():
                if not port.get("hostPort") and "containerPort" in port:
                    port["hostPort"] = port["containerPort"]


def default_template(template: Object | None) -> None:
    if template is not None:
        default_pod_spec(template.setdefault("spec", {}))


def default_pod_spec(spec: Spec) -> None:
    _alias_service_account(spec)
    _fill(spec, "dnsPolicy", "ClusterFirst")
    _fill(spec, "restartPolicy", "Always")
    _fill(spec, "schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    spec.setdefault("terminationGracePeriodSeconds", 30)
    for key in _CONTAINERS:
        for container in spec.get(key) or ():
            _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


@remembered(4096)
def image_pull_policy(image: str) -> str:
    """Always for ``:latest`` and for no tag at all, else IfNotPresent; so too for what is no image's name.

    Upstream: parsers.ParseImageName, which is Docker's grammar of references.
    """
    found = _REFERENCE.fullmatch(image)
    if not found or _IDENTIFIER.fullmatch(image):
        return "IfNotPresent"
    tag, digest = found["tag"], found["digest"]
    return "Always" if tag == "latest" or not (tag or digest) else "IfNotPresent"


def _app_containers(spec: Spec) -> Iterator[Spec]:
    yield from spec.get("containers") or ()
    yield from spec.get("initContainers") or ()


def _fill(obj: Spec, key: str, value: Any) -> None:
    """Sets a field whose zero value means "not set"."""
    if not obj.get(key):
        obj[key] = value


def _alias_service_account(spec: Spec) -> None:
    """``serviceAccount`` is an older name of the same field: both are always shown."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def _requests_from_limits(container: Spec) -> None:
    resources = container.get("resources")
    limits = resources.get("limits") if resources else None
    if resources and limits:
        resources["requests"] = {**limits, **(resources.get("requests") or {})}


def _default_container(container: Spec) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = image_pull_policy(container.get("image", ""))
    _fill(container, "terminationMessagePath", "/dev/termination-log")
    _fill(container, "terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    for port in container.get("ports") or ():
        _fill(port, "protocol", "TCP")
    for variable in container.get("env") or ():
        source = variable.get("valueFrom")
        if source:
            _default_field_ref(source)
    for name in _PROBES:
        if (probe := container.get(name)) is not None:
            _default_probe(probe)
    if lifecycle := container.get("lifecycle"):
        for handler in lifecycle.values():
            if isinstance(handler, dict):
                _default_handler(handler)


def _default_probe(probe: Spec) -> None:
    _fill(probe, "timeoutSeconds", 1)
    _fill(probe, "periodSeconds", 10)
    _fill(probe, "successThreshold", 1)
    _fill(probe, "failureThreshold", 3)
    _default_handler(probe)


def _default_handler(handler: Spec) -> None:
    if (get := handler.get("httpGet")) is not None:
        _fill(get, "path", "/")
        _fill(get, "scheme", "HTTP")
    if (grpc := handler.get("grpc")) is not None:
        grpc.setdefault("service", "")


def _default_field_ref(item: Spec) -> None:
    if (ref := item.get("fieldRef")) is not None:
        _fill(ref, "apiVersion", "v1")
    if (ref := item.get("resourceFieldRef")) is not None:
        ref.setdefault("divisor", "0")


def _default_volume(volume: Spec) -> None:
    if len(volume) == 1 and "name" in volume:
        volume["emptyDir"] = {}
        return
    for key in _SOURCES_WITH_MODE:
        if (source := volume.get(key)) is not None:
            source.setdefault("defaultMode", FILE_MODE)
            for item in source.get("items") or ():
                _default_field_ref(item)
    default_source(volume)
    if (ephemeral := volume.get("ephemeral")) is not None:
        template = ephemeral.get("volumeClaimTemplate")
        if template is not None:
            template.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    if (projected := volume.get("projected")) is not None:
        for source in projected.get("sources") or ():
            if (token := source.get("serviceAccountToken")) is not None:
                token.setdefault("expirationSeconds", TOKEN_SECONDS)
            for item in (source.get("downwardAPI") or {}).get("items") or ():
                _default_field_ref(item)


def default_source(holder: Spec) -> None:
    """Of the kinds that pods and PersistentVolumes share."""
    if (host_path := holder.get("hostPath")) is not None:
        host_path.setdefault("type", "")
        return
    for kind, values in _VOLUME_DEFAULTS.items():
        if (source := holder.get(kind)) is not None:
            for field, value in values.items():
                _fill(source, field, value)
    if (disk := holder.get("azureDisk")) is not None:
        for field, value in _AZURE_DISK.items():
            disk.setdefault(field, value)
