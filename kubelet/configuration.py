"""``--config``: a file with a KubeletConfiguration, upstream's usual way to configure a kubelet, and ``--config-dir``:
a folder of files that change it (KEP-3983). Flags go before both.

A field of the file is a flag by another spelling, so that what is a flag here is a field too; the few that upstream
names otherwise are in the table below. Fields of upstream's that mean nothing here are told of and left; anything else
is refused, as upstream's strict decoding does.
https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from common.api.merge_patch import merge_patch
from kubelet.eviction.thresholds import DEFAULT_EVICTION_HARD

log = logging.getLogger("kubelet")

API_VERSION, KIND = "kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"
ELSEWHERE = {
    "staticPodPath": "pod_manifest_path",
    "staticPodURL": "manifest_url",
    "staticPodURLHeader": "manifest_url_header",
    "podLogsDir": "pod_log_dir",
    "podPidsLimit": "pod_max_pids",
    "imageGCHighThresholdPercent": "image_gc_high_threshold",
    "imageGCLowThresholdPercent": "image_gc_low_threshold",
    "imageMinimumGCAge": "minimum_image_ttl_duration",
    "imageMaximumGCAge": "image_maximum_gc_age",
    "authentication.x509.clientCAFile": "client_ca_file",
    "authentication.anonymous.enabled": "anonymous_auth",
    "authentication.webhook.enabled": "authentication_token_webhook",
    "authentication.webhook.cacheTTL": "authentication_token_webhook_cache_ttl",
    "authorization.mode": "authorization_mode",
    "authorization.webhook.cacheAuthorizedTTL": "authorization_webhook_cache_authorized_ttl",
    "authorization.webhook.cacheUnauthorizedTTL": "authorization_webhook_cache_unauthorized_ttl",
    "serverTLSBootstrap": "rotate_server_certificates",
    "singleProcessOOMKill": "single_process_oom_kill",
}
"""Fields whose flags have other names."""
_FLAGS_ALONE = """
bind_address bootstrap_kubeconfig bridge cert_dir cloud_provider cluster_cidr config config_dir hostname_override
kubeconfig node_ip node_labels pod_infra_container_image register_schedulable root_dir secure_port v
"""
FLAGS_ALONE = frozenset(_FLAGS_ALONE.split())
"""Flags that are no fields."""
_NOT_USED = """
authentication authorization cgroupDriver cgroupsPerQOS configMapAndSecretChangeDetectionStrategy
containerLogMaxWorkers containerLogMonitorInterval contentType cpuCFSQuota cpuCFSQuotaPeriod cpuManagerPolicy
cpuManagerPolicyOptions cpuManagerReconcilePeriod crashLoopBackOff enableContentionProfiling
enableControllerAttachDetach enableDebugFlagsHandler enableDebuggingHandlers enableProfilingHandler
enableServer enableSystemLogHandler enableSystemLogQuery enforceNodeAllocatable eventBurst eventRecordQPS
failCgroupV1 failSwapOn featureGates hairpinMode httpCheckFrequency
imageServiceEndpoint iptablesDropBit iptablesMasqueradeBit kernelMemcgNotification kubeAPIBurst kubeAPIQPS
kubeReservedCgroup kubeletCgroups localStorageCapacityIsolation logging makeIPTablesUtilChains maxOpenFiles
memoryManagerPolicy memorySwap memoryThrottlingFactor mergeDefaultEvictionSettings oomScoreAdj podPidsLimit
protectKernelDefaults qosReserved readOnlyPort registryBurst registryPullQPS reservedMemory reservedSystemCPUs
rotateCertificates runOnce runtimeRequestTimeout serverTLSBootstrap showHiddenMetricsForVersion
singleProcessOOMKill streamingConnectionIdleTimeout syncFrequency systemCgroups systemReservedCgroup
tlsCipherSuites tlsMinVersion topologyManagerPolicy topologyManagerPolicyOptions topologyManagerScope tracing
volumePluginDir volumeStatsAggPeriod address port fileCheckFrequency podCIDR imageMaximumGCAge staticPodURL
staticPodURLHeader
"""
NOT_USED = frozenset(_NOT_USED.split())
"""Fields of upstream's that do nothing here, unless there is a flag of their name."""
_ACRONYMS = {word: word.upper() for word in ("cfs", "cidr", "dns", "gc", "id", "qos", "qps", "url")}
_ZERO_DURATIONS = ("0s", "0", "")


def load(path: Path | None, drop_ins: Path | None, fields: Iterable[str]) -> dict[str, Any]:
    """Values of settings: those of the file at ``path``, changed by every file below ``drop_ins``. ``fields``: the
    settings' names. Raises ValueError with the file's name."""
    known = names_of(fields)
    body: dict[str, Any] = {}
    if path is not None:
        try:
            body = read(path, known)
        except ValueError as error:
            raise ValueError(f"failed to load kubelet config file, path: {path}, error: {error}") from error
    if drop_ins is not None:
        # Upstream merges into what has its defaults already; of those only this one is of several parts.
        body.setdefault("evictionHard", dict(each.split("<") for each in DEFAULT_EVICTION_HARD.split(",")))
        body = merged(body, drop_ins, known)
    return values_of(body, known)


def merged(body: dict[str, Any], folder: Path, known: Mapping[str, str]) -> dict[str, Any]:
    """Each ``*.conf`` is a JSON merge patch: fields of fields are merged, lists replaced, null takes away. In the order
    of their names, a folder's files at its place among them. Raises ValueError.
    https://kubernetes.io/docs/tasks/administer-cluster/kubelet-config-file/#kubelet-conf-d"""
    try:
        found = list(_conf_files(folder))
    except OSError as error:
        text = f'failed to walk through kubelet dropin directory "{folder}": {error}'
        raise ValueError(f"failed to merge kubelet configs: {text}") from error
    for path in found:
        try:
            body = merge_patch(body, read(path, known))
        except ValueError as error:
            text = f"failed to load kubelet dropin file, path: {path}, error: {error}"
            raise ValueError(f"failed to merge kubelet configs: {text}") from error
    return body


def _conf_files(folder: Path) -> Iterable[Path]:
    for path in sorted(folder.iterdir(), key=lambda each: each.name):
        if path.is_dir() and not path.is_symlink():
            yield from _conf_files(path)
        elif path.suffix == ".conf":
            yield path


def read(path: Path, known: Mapping[str, str]) -> dict[str, Any]:
    """The file's fields as they stand there. Raises ValueError."""
    try:
        return body_of(path.read_text(), known)
    except OSError as error:
        raise ValueError(str(error)) from error


def body_of(text: str, known: Mapping[str, str]) -> dict[str, Any]:
    """Raises ValueError for what is no KubeletConfiguration, and for fields that nobody knows."""
    try:
        body = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"the file is no YAML: {error}") from error
    if not isinstance(body, dict):
        raise ValueError("Object 'Kind' is missing: the file holds no object")
    kind, version = body.pop("kind", None), body.pop("apiVersion", None)
    if (kind, version) != (KIND, API_VERSION):
        raise ValueError(f'no kind "{kind}" is registered for version "{version}": expected {KIND} of {API_VERSION}')
    names = [field for field, _ in _flattened(body, known) if field not in known]
    if unknown := [f'unknown field "{name}"' for name in names if name.split(".")[0] not in NOT_USED]:
        raise ValueError(f"strict decoding error: {', '.join(unknown)}")
    return body


def values_of(body: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field, value in _flattened(body, known):
        if field not in known:
            log.info("the field %s of the kubelet's configuration has no effect here", field)
        elif (given := _value(field, value)) is not None:
            values[known[field]] = given
    return values


def names_of(fields: Iterable[str]) -> dict[str, str]:
    """What each setting is called in the file -> the setting."""
    settings = set(fields)
    moved = {field: name for field, name in ELSEWHERE.items() if name in settings}
    plain = {camel(name): name for name in settings - FLAGS_ALONE - set(moved.values())}
    return {**plain, **moved}


def camel(name: str) -> str:
    """``cluster_dns`` -> ``clusterDNS``."""
    first, *rest = name.split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in rest)


def _flattened(body: Mapping[str, Any], known: Mapping[str, str]) -> Iterable[tuple[str, Any]]:
    """Fields of fields by their path, where one of them is known."""
    for name, value in body.items():
        inner = [field for field in known if field.startswith(f"{name}.")]
        if not inner or not isinstance(value, dict):
            yield str(name), value
            continue
        for key, each in _flattened(value, {field.partition(".")[2]: "" for field in inner}):
            yield f"{name}.{key}", each


def _value(field: str, value: Any) -> Any:
    """As the flag would have it; None for what is not set (a duration of zero is none, as upstream's defaults have
    it)."""
    if value is None or (isinstance(value, str) and value in _ZERO_DURATIONS and field not in _MAY_BE_ZERO):
        return None
    if isinstance(value, dict) and field == "staticPodURLHeader":
        return ",".join(f"{name}:{each}" for name, values in value.items() for each in values or ())
    if isinstance(value, dict):
        sign = "<" if field in ("evictionHard", "evictionSoft") else "="
        return ",".join(f"{key}{sign}{each}" for key, each in value.items())
    if isinstance(value, list):
        return ",".join(map(_SPELLED.get(field, str), value))
    return value


def _taint(value: Any) -> str:
    return f"{value['key']}{'=' + value['value'] if value.get('value') else ''}:{value['effect']}"


def _period(value: Any) -> str:
    return f"{value['priority']}={value['shutdownGracePeriodSeconds']}"


_SPELLED: Mapping[str, Callable[[Any], str]] = {
    "registerWithTaints": _taint,
    "shutdownGracePeriodByPodPriority": _period,
}
_MAY_BE_ZERO: Sequence[str] = ("shutdownGracePeriod", "shutdownGracePeriodCriticalPods")
