"""kubectl top on a real node: kubelet, metrics-server as a process, and the API server that passes requests on."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.node.machine import Machine, Process
from tests.e2e.node.support import Kubectl, eventually

PORT = 4443
NAME = "v1beta1.metrics.k8s.io"
MANIFEST = Path(__file__).resolve().parents[3] / "addons/metrics_server/manifests/metrics-server.yaml"


@pytest.fixture
def metrics_server(machine: Machine, kubectl: Kubectl, tmp_path: Path) -> Iterator[Process]:
    """Beside the node: with the manifests' rights and APIService, and a Service that is the machine itself."""
    system = Kubectl(machine, "kube-system")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "metrics-server"},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
    objects = [
        each for each in yaml.safe_load_all(MANIFEST.read_text()) if each["kind"] not in ("Deployment", "Service")
    ]
    registration = next(each for each in objects if each["kind"] == "APIService")
    registration["spec"]["service"]["port"] = PORT
    system.apply(service, *objects)
    token = system("create", "token", "metrics-server").strip()
    config = json.loads((machine.pki / "admin.conf").read_text())
    config["users"][0]["user"] = {"token": token}
    (tmp_path / "metrics-server.conf").write_text(json.dumps(config))
    flags = {
        "kubeconfig": tmp_path / "metrics-server.conf",
        "secure-port": PORT,
        "bind-address": "127.0.0.1",
        "cert-dir": tmp_path,
        "metric-resolution": "10s",
        "kubelet-preferred-address-types": "InternalIP",
        "kubelet-use-node-status-port": "true",
    }
    words = [sys.executable, "-m", "addons.metrics_server", *(f"--{name}={value}" for name, value in flags.items())]
    process = Process("metrics-server", machine.inside(*words), machine.root / "metrics-server.log")
    process.start()
    yield process
    process.stop()
    for each in (service, *objects):
        system.attempt("delete", each["kind"].lower(), each["metadata"]["name"], "--wait=false")


def available(kubectl: Kubectl) -> dict[str, Any]:
    found = kubectl.find("apiservice", NAME) or {}
    return dict(next(iter(found.get("status", {}).get("conditions", ())), {}))


def table(text: str) -> dict[str, list[str]]:
    """The rows of a table by their first cell."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()[1:]}


def test_top(kubectl: Kubectl, machine: Machine, metrics_server: Process) -> None:
    busy = {"name": "busy", "command": ["sh", "-c", "while true; do :; done"], "resources": {"limits": {"cpu": "200m"}}}
    quiet = {"name": "quiet", "command": ["sleep", "600"]}
    kubectl.pod(containers=[busy, quiet], metadata={"labels": {"app": "web"}})
    kubectl.pod("other", command="exec sleep 600")
    kubectl.running()
    kubectl.running("other")
    eventually("the API is available", lambda: available(kubectl).get("status") == "True")
    assert available(kubectl)["reason"] == "Passed"

    def told() -> Any:
        return table(kubectl.attempt("top", "pods", "--containers", "-l", "app=web").out)

    assert eventually("both containers are told of", told)
    rows = [line.split() for line in kubectl("top", "pods", "--containers", "-l", "app=web").splitlines()]
    assert rows[0] == ["POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]
    used = {row[1]: int(row[2].removesuffix("m")) for row in rows[1:]}
    assert 100 <= used["busy"] <= 350 and used["quiet"] <= 20
    assert set(table(kubectl("top", "pods"))) == {"web", "other"}
    [node] = table(kubectl("top", "nodes")).items()
    assert node[0] == machine.node and re.fullmatch(r"\d+m", node[1][0]) and re.fullmatch(r"\d+%", node[1][1])

    raw = f"/apis/metrics.k8s.io/v1beta1/namespaces/{kubectl.namespace}/pods"
    found = json.loads(kubectl("get", "--raw", f"{raw}?labelSelector=app%3Dweb"))
    assert found["kind"] == "PodMetricsList"
    [item] = found["items"]
    assert item["metadata"]["labels"] == {"app": "web"} and re.fullmatch(r"\d+(\.\d+)?s", item["window"])
    assert {each["name"] for each in item["containers"]} == {"busy", "quiet"}
    assert re.fullmatch(r"\d+[num]", item["containers"][0]["usage"]["cpu"])
    by_field = json.loads(kubectl("get", "--raw", f"{raw}?fieldSelector=metadata.name%3Dother"))
    assert [each["metadata"]["name"] for each in by_field["items"]] == ["other"]
    one = json.loads(kubectl("get", "--raw", f"/apis/metrics.k8s.io/v1beta1/nodes/{machine.node}"))
    assert (one["kind"], one["apiVersion"]) == ("NodeMetrics", "metrics.k8s.io/v1beta1")
    shown = kubectl("get", "podmetrics", "web").splitlines()
    assert shown[0].split() == ["NAME", "CPU", "MEMORY", "WINDOW"] and shown[1].split()[0] == "web"
    assert "CPU in cores" in kubectl("explain", "podmetrics.containers.usage", "--api-version=metrics.k8s.io/v1beta1")
    missing = kubectl.attempt("get", "podmetrics", "nobody")
    assert f'podmetrics.metrics.k8s.io "{kubectl.namespace}/nobody" not found' in missing.err
    assert "MethodNotAllowed" in kubectl.attempt("delete", "podmetrics", "web").err

    kubectl("create", "serviceaccount", "reader")
    reader = f"system:serviceaccount:{kubectl.namespace}:reader"
    assert "cannot list resource" in kubectl.attempt("top", "pods", "--as", reader).err
    kubectl("create", "rolebinding", "reader", "--clusterrole=view", f"--serviceaccount={kubectl.namespace}:reader")
    assert eventually("view may see metrics", lambda: kubectl.attempt("top", "pods", "--as", reader).code == 0)

    port = f"https://127.0.0.1:{PORT}"
    token = kubectl("create", "token", "reader").strip()
    curl = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"]
    bearer = ["-H", f"authorization: Bearer {token}"]
    assert machine.run(*curl, f"{port}/readyz") == "200"
    assert machine.run(*curl, f"{port}{raw}") == "401"
    assert (
        machine.run(*curl, "-H", "x-remote-user: admin", "-H", "x-remote-group: system:masters", f"{port}{raw}")
        == "401"
    )
    assert machine.run(*curl, *bearer, f"{port}{raw}") == "200"
    assert machine.run(*curl, *bearer, f"{port}/apis/metrics.k8s.io/v1beta1/nodes") == "403"

    metrics_server.stop()
    kubectl("label", "apiservice", NAME, "look=now")
    eventually("the API is not available", lambda: available(kubectl).get("reason") == "FailedDiscoveryCheck")
    gone = kubectl.attempt("top", "nodes")
    assert gone.code != 0 and "Metrics API not available" in gone.err
    assert "False (FailedDiscoveryCheck)" in kubectl("get", "apiservice", NAME)
    assert "deployments" in kubectl("api-resources", "--api-group", "apps")
    kubectl("get", "pods")
