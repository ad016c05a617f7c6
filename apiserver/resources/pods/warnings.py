"""What a pod's author should know, though the pod is accepted (upstream: pkg/api/pod/warnings.go)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from apiserver.resources.claims import claim_spec_warnings
from apiserver.resources.node_labels import deprecated_label, node_term_warnings
from apiserver.resources.pods.annotations import APP_ARMOR, SECCOMP, SECCOMP_POD
from apiserver.resources.pods.windows import CONTAINER_KINDS
from apiserver.types import Object
from common.api.names import is_dns1123_label
from common.api.quantity import parse_quantity

Spec = dict[str, Any]

_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_VOLUMES = {
    "photonPersistentDisk": "photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "gitRepo: deprecated in v1.11",
    "scaleIO": "scaleIO: deprecated in v1.16, non-functional in v1.22+",
    "flocker": "flocker: deprecated in v1.22, non-functional in v1.25+",
    "storageos": "storageOS: deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "quobyte: deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "glusterfs: deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "cephfs: deprecated in v1.28, non-functional in v1.31+",
    "rbd": "rbd: deprecated in v1.28, non-functional in v1.31+",
}
_SECCOMP_TEXT = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_APP_ARMOR_TEXT = 'deprecated since v1.30; use the "appArmorProfile" field instead'
_NULL_SELECTOR = "a null labelSelector results in matching no pod"
_WHOLE = ("memory", "ephemeral-storage")
_WARNED = frozenset(
    {"nodeSelector", "affinity", "topologySpreadConstraints", "volumes", "hostAliases", "imagePullSecrets", "overhead"}
)
"""Fields of a spec, beside the containers, that there may be something to say about."""
MAX_LABEL = 63


def pod_warnings(pod: Object) -> list[str]:
    metadata = pod.get("metadata") or {}
    found: list[str] = []
    name = metadata.get("name", "")
    # A pod's name is a subdomain by now: only its length or a dot makes it no label.
    if ("." in name or len(name) > MAX_LABEL) and (problems := is_dns1123_label(name)):
        text = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended"
        found.append(f"metadata.name: {text}: [{' '.join(problems)}]")
    return found + spec_warnings(pod.get("spec") or {}, metadata, "")


def template_warnings(template: Object | None, path: str) -> list[str]:
    """Of a pod template at ``path``."""
    template = template or {}
    return spec_warnings(template.get("spec") or {}, template.get("metadata") or {}, f"{path}.")


def spec_warnings(spec: Spec, metadata: Spec, prefix: str) -> list[str]:
    """``prefix`` is the path of what has the spec and the metadata: "" of a pod."""
    if not metadata.get("annotations") and _WARNED.isdisjoint(spec):
        return _containers(spec, {}, prefix)
    at = f"{prefix}spec"
    found: list[str] = []
    if selector := spec.get("nodeSelector"):
        found += [f"{at}.nodeSelector[{k}]: {text}" for k in selector if (text := deprecated_label(k))]
    affinity = spec.get("affinity")
    if affinity:
        found += _node_affinity(affinity.get("nodeAffinity") or {}, f"{at}.affinity.nodeAffinity")
    if constraints := spec.get("topologySpreadConstraints"):
        found += _spread(constraints, f"{at}.topologySpreadConstraints")
    annotations = metadata.get("annotations") or {}
    if annotations:
        found += [f"{prefix}metadata.annotations[{k}]: {t}" for k, t in _ANNOTATIONS.items() if k in annotations]
    if volumes := spec.get("volumes"):
        found += _volumes(volumes, f"{at}.volumes")
    if aliases := spec.get("hostAliases"):
        found += _repeated(aliases, "ip", f"{at}.hostAliases")
    if secrets := spec.get("imagePullSecrets"):
        found += _repeated(secrets, "name", f"{at}.imagePullSecrets")
        for i, secret in enumerate(secrets):
            if not secret.get("name"):
                found.append(f'{at}.imagePullSecrets[{i}].name: invalid empty name ""')
    if overhead := spec.get("overhead"):
        found += _fractions(overhead, f"{at}.overhead")
    found += _containers(spec, annotations, prefix)
    if affinity:
        found += _pod_affinity(affinity, f"{at}.affinity")
    return found


def _node_affinity(affinity: Spec, path: str) -> Iterator[str]:
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    at = f"{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    for i, term in enumerate(required.get("nodeSelectorTerms") or ()):
        yield from node_term_warnings(term, f"{at}[{i}]")
    at = f"{path}.preferredDuringSchedulingIgnoredDuringExecution"
    for i, preferred in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        yield from node_term_warnings(preferred.get("preference") or {}, f"{at}[{i}].preference")


def _spread(constraints: list[Spec], path: str) -> Iterator[str]:
    for i, constraint in enumerate(constraints):
        key = constraint.get("topologyKey", "")
        if text := deprecated_label(key):
            yield f"{path}[{i}].topologyKey: {key} is {text}"
        if constraint.get("labelSelector") is None:
            yield f"{path}[{i}].labelSelector: {_NULL_SELECTOR}"


def _volumes(volumes: list[Spec], path: str) -> list[str]:
    found: list[str] = []
    tokens: set[str] = set()
    for i, volume in enumerate(volumes):
        found += [f"{path}[{i}].{text}" for kind, text in _VOLUMES.items() if volume.get(kind) is not None]
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template is not None:
            at = f"{path}[{i}].ephemeral.volumeClaimTemplate.spec"
            found += claim_spec_warnings(template.get("spec") or {}, at)
        for source in (volume.get("projected") or {}).get("sources") or ():
            if token := source.get("serviceAccountToken"):
                tokens.add(token.get("path", ""))
    if tokens:
        for i, volume in enumerate(volumes):
            found += _hidden_tokens(volume, tokens, f"{path}[{i}].projected.sources")
    return found


def _hidden_tokens(volume: Spec, tokens: set[str], path: str) -> Iterator[str]:
    for source in (volume.get("projected") or {}).get("sources") or ():
        for kind, shown in (("configMap", "configMap"), ("secret", "secrets"), ("downwardAPI", "downwardAPI")):
            for i, item in enumerate((source.get(kind) or {}).get("items") or ()):
                if item.get("path") in tokens:
                    yield f'{path}.{shown}[{i}]: has duplicated path with ServiceAccountToken "{item["path"]}"'


def _repeated(entries: list[Spec], key: str, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        value = entry.get(key, "")
        if value in seen:
            yield f'{path}[{i}].{key}: duplicate {key} "{value}"'
        seen.add(value)


def _fractions(amounts: dict[str, str], path: str) -> list[str]:
    return [
        f'{path}[{name}]: fractional byte value "{amount}" is invalid, must be an integer'
        for name, amount in amounts.items()
        if name in _WHOLE and not parse_quantity(amount).is_whole()
    ]


def _containers(spec: Spec, annotations: dict[str, str], prefix: str) -> list[str]:
    """Of every pod that is made: so what there is nothing to say about is passed quickly."""
    found: list[str] = []
    context = spec.get("securityContext") or {}
    if annotations and SECCOMP_POD in annotations and context.get("seccompProfile") is None:
        found.append(f"{prefix}metadata.annotations[{SECCOMP_POD}]: {_SECCOMP_TEXT}")
    ports = 0
    for kind in CONTAINER_KINDS:
        containers = spec.get(kind)
        if not containers:
            continue
        for i, container in enumerate(containers):
            if annotations:
                found += _profiles(container, context, annotations, prefix)
            if resources := container.get("resources"):
                for field, amounts in resources.items():
                    if field != "claims" and _may_be_fractions(amounts):
                        found += _fractions(amounts, f"{prefix}spec.{kind}[{i}].resources.{field}")
            variables = container.get("env")
            if variables and len(variables) > 1:
                found += _hidden_variables(variables, f"{prefix}spec.{kind}[{i}].env")
            if of_container := container.get("ports"):
                ports += 2 if "hostIP" in of_container[0] else len(of_container)
    if ports > 1:
        found += _ports(spec, prefix)
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        text = "must be >= 0; negative values are invalid and will be treated as 1"
        found.append(f"{prefix}spec.terminationGracePeriodSeconds: {text}")
    return found


def _may_be_fractions(amounts: dict[str, str]) -> bool:
    # Of canonical amounts, only thousandths are no whole ones.
    return amounts.get("memory", "")[-1:] == "m" or amounts.get("ephemeral-storage", "")[-1:] == "m"


def _profiles(container: Spec, context: Spec, annotations: dict[str, str], prefix: str) -> Iterator[str]:
    name, own = container.get("name", ""), container.get("securityContext") or {}
    if SECCOMP + name in annotations and own.get("seccompProfile") is None:
        yield f"{prefix}metadata.annotations[{SECCOMP + name}]: {_SECCOMP_TEXT}"
    key = APP_ARMOR + name
    said = own.get("appArmorProfile") is not None or context.get("appArmorProfile") is not None
    if key in annotations and not said and prefix:
        yield f"{prefix}metadata.annotations[{key}]: {_APP_ARMOR_TEXT}"


def _hidden_variables(variables: Iterable[Spec], path: str) -> Iterator[str]:
    seen: set[str] = set()
    for i, variable in enumerate(variables):
        name, value = variable.get("name", ""), variable.get("value", "")
        reference = f"$({name})"
        if name not in seen:
            seen.add(name)
        elif variable.get("valueFrom") is not None or value == reference or reference not in value:
            yield f'{path}[{i}]: hides previous definition of "{name}", which may be dropped when using apply'


def _ports(spec: Spec, prefix: str) -> Iterator[str]:
    ports = (
        (f"{prefix}spec.{kind}[{i}].ports[{j}]", port)
        for kind in CONTAINER_KINDS
        for i, container in enumerate(spec.get(kind) or ())
        for j, port in enumerate(container.get("ports") or ())
    )
    taken: dict[tuple[int, str], list[tuple[str, Spec]]] = {}
    for path, port in ports:
        host, ip = port.get("hostPort", 0), port.get("hostIP", "")
        if ip and not host:
            yield f"{path}: hostIP set without hostPort: {_go_port(port)}"
        others = taken.setdefault((port.get("containerPort", 0), port.get("protocol", "")), [])
        for other_path, other in others:
            other_host, other_ip = other.get("hostPort", 0), other.get("hostIP", "")
            if (ip, host) == (other_ip, other_host):
                yield f"{path}: duplicate port definition with {other_path}"
            elif not host or not other_host:
                yield f"{path}: overlapping port definition with {other_path}"
            elif host == other_host and bool(ip) != bool(other_ip):
                yield f"{path}: dangerously ambiguous port definition with {other_path}"
        others.append((path, port))


def _go_port(port: Spec) -> str:
    get = port.get
    return (
        f"{{Name:{get('name', '')} HostPort:{get('hostPort', 0)} ContainerPort:{get('containerPort', 0)} "
        f"Protocol:{get('protocol', '')} HostIP:{get('hostIP', '')}}}"
    )


def _pod_affinity(affinity: Spec, path: str) -> Iterator[str]:
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        for i, term in enumerate(terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            if term.get("labelSelector") is None:
                at = f"{path}.{kind}.requiredDuringSchedulingIgnoredDuringExecution[{i}]"
                yield f"{at}.labelSelector: {_NULL_SELECTOR}"
        for i, weighted in enumerate(terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            if (weighted.get("podAffinityTerm") or {}).get("labelSelector") is None:
                at = f"{path}.{kind}.preferredDuringSchedulingIgnoredDuringExecution[{i}].podAffinityTerm"
                yield f"{at}.labelSelector: {_NULL_SELECTOR}"
