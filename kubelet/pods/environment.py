"""The environment of a container: a pure function of the pod, the objects it refers to and the services it may see.

https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-container/
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lightkube.models.core_v1 import Container, EnvVar, EnvVarSource
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret, Service

from common.api.meta import annotations_of, labels_of, meta_of
from common.api.pods import amounts
from common.api.quantity import parse_quantity
from kubelet.pods.expansion import expand
from kubelet.pods.identity import find_container, identity_of, spec_of

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class ConfigError(Exception):
    """The container cannot be configured: CreateContainerConfigError, with this text."""


@dataclass(frozen=True, slots=True)
class References:
    """The objects that the pod's containers refer to; one that does not exist is None."""

    config_maps: Mapping[str, ConfigMap | None] = field(default_factory=dict)
    secrets: Mapping[str, Secret | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the node knows of the pod while its containers are made."""

    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    allocatable: Mapping[str, int] = field(default_factory=dict)
    """cpu in millicores, memory and others in whole units."""


def referred(containers: Iterable[Container]) -> tuple[set[str], set[str]]:
    """Names of the ConfigMaps and Secrets in env and envFrom."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for container in containers:
        for source in container.envFrom or ():
            if source.configMapRef and source.configMapRef.name:
                config_maps.add(source.configMapRef.name)
            if source.secretRef and source.secretRef.name:
                secrets.add(source.secretRef.name)
        for variable in container.env or ():
            value_from = variable.valueFrom
            if value_from and value_from.configMapKeyRef and value_from.configMapKeyRef.name:
                config_maps.add(value_from.configMapKeyRef.name)
            if value_from and value_from.secretKeyRef and value_from.secretKeyRef.name:
                secrets.add(value_from.secretKeyRef.name)
    return config_maps, secrets


def make_environment(
    pod: Pod, container: Container, facts: PodFacts, references: References, services: Mapping[str, str]
) -> dict[str, str]:
    """envFrom, then env (which may refer to what came before and to services), then the services' variables."""
    result = _from_sources(pod, container, references)
    known = {**services, **result}
    for variable in container.env or ():
        value = _value(pod, container, variable, known, facts, references)
        if value is not None:
            result[variable.name] = known[variable.name] = value
    return {**result, **{name: value for name, value in services.items() if name not in result}}


def _from_sources(pod: Pod, container: Container, references: References) -> dict[str, str]:
    result: dict[str, str] = {}
    for source in container.envFrom or ():
        data: Mapping[str, str] = {}
        if source.configMapRef:
            name = source.configMapRef.name or ""
            found = references.config_maps.get(name)
            if found is None and not source.configMapRef.optional:
                raise ConfigError(f'configmap "{name}" not found')
            data = (found.data if found else None) or {}
        elif source.secretRef:
            name = source.secretRef.name or ""
            secret = references.secrets.get(name)
            if secret is None and not source.secretRef.optional:
                raise ConfigError(f'secret "{name}" not found')
            data = {key: _decode(value) for key, value in ((secret.data if secret else None) or {}).items()}
        prefix = source.prefix or ""
        result.update({prefix + key: value for key, value in data.items()})
    return result


def _value(
    pod: Pod,
    container: Container,
    variable: EnvVar,
    known: Mapping[str, str],
    facts: PodFacts,
    references: References,
) -> str | None:
    source = variable.valueFrom
    if source is None:
        return expand(variable.value or "", known)
    if source.fieldRef:
        return field_value(pod, source.fieldRef.fieldPath, facts)
    if source.resourceFieldRef:
        reference = source.resourceFieldRef
        target = _named_container(pod, reference.containerName or container.name)
        return resource_value(target, reference.resource, reference.divisor, facts)
    return _key_value(pod, source, references)


def _key_value(pod: Pod, source: EnvVarSource, references: References) -> str | None:
    """The value of a key; None when it is optional and not there."""
    namespace = identity_of(pod).namespace
    if source.configMapKeyRef:
        wanted = source.configMapKeyRef
        config_map = references.config_maps.get(wanted.name or "")
        data: Mapping[str, str] = (config_map.data if config_map else None) or {}
        if wanted.key in data:
            return data[wanted.key]
        missing = f"couldn't find key {wanted.key} in ConfigMap {namespace}/{wanted.name}"
        if config_map is None:
            missing = f'configmap "{wanted.name}" not found'
        optional = wanted.optional
    elif source.secretKeyRef:
        wanted_secret = source.secretKeyRef
        secret = references.secrets.get(wanted_secret.name or "")
        encoded: Mapping[str, str] = (secret.data if secret else None) or {}
        if wanted_secret.key in encoded:
            return _decode(encoded[wanted_secret.key])
        missing = f"couldn't find key {wanted_secret.key} in Secret {namespace}/{wanted_secret.name}"
        if secret is None:
            missing = f'secret "{wanted_secret.name}" not found'
        optional = wanted_secret.optional
    else:
        return ""
    if not optional:
        raise ConfigError(missing)
    return None


def field_value(pod: Pod, path: str, facts: PodFacts) -> str:
    """https://kubernetes.io/docs/concepts/workloads/pods/downward-api/#available-fields"""
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        values = labels_of(pod) if subscript[1] == "labels" else annotations_of(pod)
        return values.get(subscript[2], "")
    identity, spec = identity_of(pod), spec_of(pod)
    simple = {
        "metadata.name": identity.name,
        "metadata.namespace": identity.namespace,
        "metadata.uid": identity.uid,
        "spec.nodeName": spec.nodeName,
        "spec.serviceAccountName": spec.serviceAccountName,
        "status.hostIP": facts.host_ips[0] if facts.host_ips else "",
        "status.hostIPs": ",".join(facts.host_ips),
        "status.podIP": facts.pod_ips[0] if facts.pod_ips else "",
        "status.podIPs": ",".join(facts.pod_ips),
    }
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(simple[path] or "")


def resource_value(container: Container, resource: str, divisor: str | int | None, facts: PodFacts) -> str:
    """Limits that are not set mean what the node has; the result is rounded up to whole divisors."""
    kind, _, name = resource.partition(".")
    if kind not in ("limits", "requests"):
        raise ConfigError(f"unsupported container resource : {resource}")
    own = container.resources
    limits = amounts(own.limits) if own else {}
    requests = amounts(own.requests) if own else {}
    amount = limits.get(name, facts.allocatable.get(name, 0)) if kind == "limits" else requests.get(name, 0)
    unit = parse_quantity(divisor or 1)
    unit_amount = unit.milli_value() if name == "cpu" else unit.value()
    return str(-(-amount // (unit_amount or (1000 if name == "cpu" else 1))))


def _named_container(pod: Pod, name: str) -> Container:
    container = find_container(spec_of(pod), name)
    if container is None:
        raise ConfigError(f"container {name} not found")
    return container


def _decode(value: str) -> str:
    return base64.b64decode(value).decode(errors="replace")


def service_variables(services: Iterable[Service], namespace: str, links: bool) -> dict[str, str]:
    """Variables for the services of the pod's namespace (when it wants links) and always for the API server."""
    result: dict[str, str] = {}
    for service in services:
        meta = meta_of(service)
        master = meta.namespace == "default" and meta.name == "kubernetes"
        if not master and not (links and meta.namespace == namespace):
            continue
        address = service.spec.clusterIP if service.spec else None
        if address and address != "None":
            result.update(_variables_of(service, address))
    return result


def _variables_of(service: Service, address: str) -> dict[str, str]:
    prefix = str(meta_of(service).name).upper().replace("-", "_")
    ports = service.spec.ports or [] if service.spec else []
    if not ports:
        return {}
    result = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(ports[0].port)}
    host = f"[{address}]" if ":" in address else address
    for index, port in enumerate(ports):
        protocol = port.protocol or "TCP"
        if port.name:
            result[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
        url = f"{protocol.lower()}://{host}:{port.port}"
        if index == 0:
            result[f"{prefix}_PORT"] = url
        name = f"{prefix}_PORT_{port.port}_{protocol.upper()}"
        result[name] = url
        result[f"{name}_PROTO"] = protocol.lower()
        result[f"{name}_PORT"] = str(port.port)
        result[f"{name}_ADDR"] = address
    return result
