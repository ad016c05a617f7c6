"""kubectl top on the cluster, and aggregated APIs that are there or away."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.cluster.support import Kubectl, eventually

METRICS = "v1beta1.metrics.k8s.io"
AWAY = "v1.away.example.com"
QUANTITY = re.compile(r"[0-9]+([numkKMG]i?)?")


def condition(kubectl: Kubectl, name: str) -> dict[str, Any]:
    found = kubectl.get("apiservice", name)
    return dict(next(iter(found.get("status", {}).get("conditions", ())), {}))


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()[1:]]


def test_top(kubectl: Kubectl) -> None:
    Kubectl("kube-system")("rollout", "status", "deployment/metrics-server", "--timeout=120s")
    eventually("metrics-server serves", lambda: condition(kubectl, METRICS).get("status") == "True")
    kubectl("create", "deployment", "web", "--image=httpd:v1", "--replicas=2")
    busy = {
        "name": "busy",
        "image": "busybox:1.35",
        "command": ["sh", "-c", "while :; do :; done"],
        "resources": {"limits": {"cpu": "200m"}},
    }
    quiet = {"name": "quiet", "image": "busybox:1.35", "command": ["sleep", "600"]}
    pair = {"spec": {"containers": [busy, quiet]}}
    kubectl("run", "pair", "--image=busybox:1.35", f"--overrides={json.dumps(pair)}")
    kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=90s")

    def all_told() -> list[list[str]] | None:
        found = rows(kubectl.attempt("top", "pods", "--containers").out)
        return found if len(found) == 4 else None

    found = eventually("all containers are told of", all_told)
    cores = {(row[0], row[1]): int(row[2].removesuffix("m")) for row in found}
    assert cores["pair", "busy"] > 50 > cores["pair", "quiet"]
    assert sum(name == "httpd" for _, name in cores) == 2

    def both() -> dict[str, list[str]] | None:
        told = {row[0]: row[1:] for row in rows(kubectl.attempt("top", "nodes").out)}
        return told if set(told) == {"node-1", "node-2"} else None

    nodes = eventually("both nodes are told of", both)
    assert all(re.fullmatch(r"\d+m", node[0]) and re.fullmatch(r"\d+Mi", node[2]) for node in nodes.values())
    assert rows(kubectl("top", "pods", "-n", "kube-system", "-l", "k8s-app=metrics-server"))

    base = "/apis/metrics.k8s.io/v1beta1"
    raw = json.loads(kubectl("get", "--raw", f"{base}/namespaces/{kubectl.namespace}/pods/pair"))
    assert (raw["kind"], raw["metadata"]["name"]) == ("PodMetrics", "pair")
    assert all(QUANTITY.fullmatch(each["usage"]["memory"]) for each in raw["containers"])
    assert len(json.loads(kubectl("get", "--raw", f"{base}/nodes"))["items"]) == 2
    assert "podmetrics" in kubectl("get", "podmetrics", "pair", "-o", "name")


@pytest.fixture
def away(kubectl: Kubectl) -> Iterator[None]:
    """An API whose server has not come up: its Service leads to no pod."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "away"},
        "spec": {"selector": {"app": "away"}, "ports": [{"name": "https", "port": 443, "targetPort": 4443}]},
    }
    api_service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": AWAY},
        "spec": {
            "group": "away.example.com",
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 10,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": kubectl.namespace, "name": "away"},
        },
    }
    kubectl(
        "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [service, api_service]})
    )
    yield
    kubectl("delete", "apiservice", AWAY)


@pytest.mark.usefixtures("away")
def test_an_api_that_is_away_is_told_of_and_others_go_on(kubectl: Kubectl) -> None:
    eventually("its endpoints are missed", lambda: condition(kubectl, AWAY).get("reason") == "MissingEndpoints")
    [shown] = rows(kubectl("get", "apiservice", AWAY))
    assert shown[1:4] == [f"{kubectl.namespace}/away", "False", "(MissingEndpoints)"]
    assert 'no addresses with port name "https"' in condition(kubectl, AWAY)["message"]
    refused = kubectl.attempt("get", "--raw", "/apis/away.example.com/v1/things")
    assert refused.code != 0 and "currently unable to handle the request" in refused.err
    assert "deployments" in kubectl("api-resources")
    kubectl("create", "configmap", "others", "--from-literal=go=on")
    assert "others" in kubectl("get", "configmaps", "-o", "name")
    kubectl("top", "nodes")
