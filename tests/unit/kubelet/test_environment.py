"""Expansion and environment: pure functions."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret, Service

from kubelet.pods.environment import ConfigError, PodFacts, References, make_environment, service_variables
from kubelet.pods.expansion import expand


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("$(A)$(B)", "12"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(NONE)", "$(NONE)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$$", "$"),
        ("x$()y", "x$()y"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


@given(st.text())
def test_doubled_dollars_always_come_back(text: str) -> None:
    assert expand(text.replace("$", "$$"), {"A": "1"}) == text


def pod(container: dict[str, Any]) -> tuple[Pod, Container]:
    meta = {"name": "web", "namespace": "ns", "uid": "u", "labels": {"app": "x"}, "annotations": {"a/b": "y"}}
    made = Pod.from_dict({"metadata": meta, "spec": {"nodeName": "n1", "containers": [{"name": "c", **container}]}})
    assert made.spec is not None
    return made, made.spec.containers[0]


def environment(container: dict[str, Any], references: References | None = None, **services: str) -> dict[str, str]:
    made, only = pod(container)
    facts = PodFacts(("10.0.0.1",), ("192.0.2.1",), {"cpu": 2000, "memory": 1 << 30})
    return make_environment(made, only, facts, references or References(), services)


def field(path: str) -> dict[str, Any]:
    return {"name": "V", "valueFrom": {"fieldRef": {"fieldPath": path}}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u"),
        ("metadata.labels['app']", "x"),
        ("metadata.annotations['a/b']", "y"),
        ("metadata.labels['none']", ""),
        ("spec.nodeName", "n1"),
        ("status.podIP", "10.0.0.1"),
        ("status.hostIP", "192.0.2.1"),
    ],
)
def test_fields(path: str, value: str) -> None:
    assert environment({"env": [field(path)]}) == {"V": value}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", None, "1"),
        ("limits.cpu", "1m", "500"),
        ("requests.cpu", "1m", "250"),
        ("limits.memory", "1Mi", "1024"),
        ("requests.memory", None, "67108864"),
    ],
)
def test_resources(resource: str, divisor: str | None, value: str) -> None:
    source = {"resource": resource, **({"divisor": divisor} if divisor else {})}
    container = {
        "resources": {"limits": {"cpu": "500m"}, "requests": {"cpu": "250m", "memory": "64Mi"}},
        "env": [{"name": "V", "valueFrom": {"resourceFieldRef": source}}],
    }
    assert environment(container) == {"V": value}


def test_env_wins_over_env_from_and_both_over_services() -> None:
    references = References({"m": ConfigMap(data={"A": "map", "B": "map"})}, {})
    container = {
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}, {"configMapRef": {"name": "m"}}],
        "env": [{"name": "B", "value": "own $(A) $(S)"}],
    }
    assert environment(container, references, A="service", S="s") == {
        "P_A": "map",
        "P_B": "map",
        "A": "map",
        "B": "own map s",
        "S": "s",
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "x", "key": "k"}}, 'configmap "x" not found'),
        ({"configMapKeyRef": {"name": "m", "key": "k"}}, "couldn't find key k in ConfigMap ns/m"),
        ({"secretKeyRef": {"name": "x", "key": "k"}}, 'secret "x" not found'),
        ({"secretKeyRef": {"name": "s", "key": "k"}}, "couldn't find key k in Secret ns/s"),
    ],
)
def test_what_is_missing_is_an_error_unless_optional(source: dict[str, Any], message: str) -> None:
    secret = Secret(data={"a": base64.b64encode(b"v").decode()})
    references = References({"m": ConfigMap(data={}), "x": None}, {"s": secret, "x": None})
    variable = {"name": "V", "valueFrom": source}
    with pytest.raises(ConfigError, match=f"^{message}$"):
        environment({"env": [variable]}, references)
    optional = {kind: {**reference, "optional": True} for kind, reference in source.items()}
    assert environment({"env": [{"name": "V", "valueFrom": optional}]}, references) == {}


def service(namespace: str, name: str, address: str, *ports: dict[str, Any]) -> Service:
    meta = {"name": name, "namespace": namespace}
    return Service.from_dict({"metadata": meta, "spec": {"clusterIP": address, "ports": list(ports)}})


def test_service_variables() -> None:
    services = [
        service("ns", "my-db", "10.96.0.5", {"port": 5432, "name": "sql", "protocol": "TCP"}),
        service("ns", "headless", "None", {"port": 1}),
        service("other", "foreign", "10.96.0.6", {"port": 1}),
        service("default", "kubernetes", "10.96.0.1", {"port": 443, "name": "https"}),
    ]
    assert service_variables(services[:3], "ns", links=True) == {
        "MY_DB_SERVICE_HOST": "10.96.0.5",
        "MY_DB_SERVICE_PORT": "5432",
        "MY_DB_SERVICE_PORT_SQL": "5432",
        "MY_DB_PORT": "tcp://10.96.0.5:5432",
        "MY_DB_PORT_5432_TCP": "tcp://10.96.0.5:5432",
        "MY_DB_PORT_5432_TCP_PROTO": "tcp",
        "MY_DB_PORT_5432_TCP_PORT": "5432",
        "MY_DB_PORT_5432_TCP_ADDR": "10.96.0.5",
    }
    without = service_variables(services, "ns", links=False)
    assert without["KUBERNETES_SERVICE_HOST"] == "10.96.0.1" and "MY_DB_SERVICE_HOST" not in without
