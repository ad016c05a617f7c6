"""The real scheduler, under its own identity, against the real API server: fake nodes, real bindings."""

from __future__ import annotations

import base64
import ssl
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < deadline, f"still {answer!r}"
        time.sleep(0.05)
    return answer


def scheduler_command(pki: Path, port: int) -> list[str]:
    flags = {
        "kubeconfig": pki / "scheduler.conf",
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "scheduler.crt",
        "tls-private-key-file": pki / "scheduler.key",
        "bind-address": "127.0.0.1",
        "secure-port": port,
    }
    return [sys.executable, "-m", "scheduler", *(f"--{name}={value}" for name, value in flags.items())]


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def scheduler(apiserver: Any, scratch: Path, port: int) -> Iterator[Any]:
    server_type = type(apiserver).__mro__[1]  # conftest's Server: this folder cannot import a conftest
    process = server_type(scheduler_command(apiserver.pki, port), scratch / "scheduler.log")
    process.start()
    yield process
    process.stop()


class Nodes:
    """Nodes that no kubelet serves, with a label of this test's own, which its pods select."""

    def __init__(self, http: httpx.Client) -> None:
        self.http, self.pool = http, f"pool-{uuid.uuid4().hex[:6]}"
        self.names: list[str] = []

    def add(self, *, cpu: str = "4", pods: int = 110, taints: list[dict[str, str]] | None = None) -> str:
        name = f"{self.pool}-{len(self.names) + 1}"
        labels = {"pool": self.pool, "kubernetes.io/hostname": name}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        assert self.http.post("/api/v1/nodes", json=node | {"spec": {"taints": taints or []}}).status_code == 201
        room = {"cpu": cpu, "memory": "8Gi", "pods": str(pods)}
        patch = {"status": {"capacity": room, "allocatable": room}}
        headers = {"Content-Type": "application/merge-patch+json"}
        self.http.patch(f"/api/v1/nodes/{name}/status", json=patch, headers=headers).raise_for_status()
        # no node controller runs here, and a new node is tainted as not ready on admission
        patch = {"spec": {"taints": taints or None}}
        self.http.patch(f"/api/v1/nodes/{name}", json=patch, headers=headers).raise_for_status()
        self.names.append(name)
        return name

    def pod(self, name: str, *, cpu: str | None = None, **spec: Any) -> dict[str, Any]:
        container: dict[str, Any] = {"name": "a", "image": "none"}
        if cpu:
            container["resources"] = {"requests": {"cpu": cpu}}
        base = {"nodeSelector": {"pool": self.pool}, "containers": [container]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": base | spec}


@pytest.fixture
def nodes(http: httpx.Client) -> Iterator[Nodes]:
    made = Nodes(http)
    yield made
    for name in made.names:
        http.delete(f"/api/v1/nodes/{name}")


class Pods:
    def __init__(self, http: httpx.Client, namespace: str) -> None:
        self.http, self.path = http, f"/api/v1/namespaces/{namespace}"

    def create(self, pod: dict[str, Any]) -> None:
        answer = self.http.post(f"{self.path}/pods", json=pod)
        assert answer.status_code == 201, answer.text

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"{self.path}/pods/{name}").raise_for_status().json()
        return found

    def node_of(self, name: str) -> str | None:
        found: str | None = self.get(name)["spec"].get("nodeName")
        return found

    def placed(self) -> dict[str, str]:
        items = self.http.get(f"{self.path}/pods").raise_for_status().json()["items"]
        return {p["metadata"]["name"]: p["spec"]["nodeName"] for p in items if p["spec"].get("nodeName")}

    def events(self, name: str) -> list[tuple[str, str]]:
        events = self.http.get(f"{self.path}/events").raise_for_status().json()["items"]
        return [(e["reason"], e["message"]) for e in events if e["involvedObject"]["name"] == name]


@pytest.fixture
def pods(http: httpx.Client, namespace: str) -> Pods:
    return Pods(http, namespace)


def test_pods_are_bound_and_spread(scheduler: Any, nodes: Nodes, pods: Pods, namespace: str) -> None:
    names = {nodes.add(), nodes.add()}
    for number in range(6):
        pods.create(nodes.pod(f"p{number}", cpu="100m"))
    eventually(lambda: len(pods.placed()) == 6)
    assert set(Counter(pods.placed().values())) == names
    told = eventually(lambda: pods.events("p0"))
    assert told == [("Scheduled", f"Successfully assigned {namespace}/p0 to {pods.node_of('p0')}")]
    conditions = {c["type"]: c["status"] for c in pods.get("p0")["status"]["conditions"]}
    assert conditions["PodScheduled"] == "True"


def test_an_unschedulable_pod_says_why_and_is_bound_when_there_is_room(
    scheduler: Any, nodes: Nodes, pods: Pods
) -> None:
    nodes.add(cpu="1")
    nodes.add(taints=[{"key": "team", "value": "red", "effect": "NoSchedule"}])
    pods.create(nodes.pod("big", cpu="2"))
    reason, message = eventually(lambda: pods.events("big"))[0]
    assert reason == "FailedScheduling"
    assert "1 Insufficient cpu" in message and "1 node(s) had untolerated taint {team: red}" in message
    assert ". preemption: 0/" in message

    def condition() -> Any:
        found = pods.get("big")["status"].get("conditions") or []
        return next((c for c in found if c["type"] == "PodScheduled" and c["status"] == "False"), None)

    assert eventually(condition)["reason"] == "Unschedulable"
    assert condition()["message"] == message
    roomy = nodes.add(cpu="4")
    assert eventually(lambda: pods.node_of("big")) == roomy


def test_gates_and_other_schedulers_pods_wait(scheduler: Any, nodes: Nodes, pods: Pods, http: httpx.Client) -> None:
    nodes.add()
    pods.create(nodes.pod("gated", schedulingGates=[{"name": "example.org/wait"}]))
    pods.create(nodes.pod("foreign", schedulerName="another"))
    pods.create(nodes.pod("mine"))
    eventually(lambda: pods.node_of("mine"))
    assert set(pods.placed()) == {"mine"}
    headers = {"Content-Type": "application/merge-patch+json"}
    path = f"{pods.path}/pods/gated"
    http.patch(path, json={"spec": {"schedulingGates": None}}, headers=headers).raise_for_status()
    eventually(lambda: pods.node_of("gated"))
    assert "foreign" not in pods.placed()


def test_killed_in_the_middle_it_loses_and_moves_nothing(scheduler: Any, nodes: Nodes, pods: Pods) -> None:
    for _ in range(3):
        nodes.add()
    for number in range(40):
        pods.create(nodes.pod(f"p{number}", cpu="10m"))
        if number == 20:
            before = pods.placed()
            scheduler.restart()
    eventually(lambda: len(pods.placed()) == 40, seconds=60)  # the dead one's Lease has to run out first
    after = pods.placed()
    assert before.items() <= after.items()


def test_it_outlives_the_api_server(
    scheduler: Any, apiserver: Any, nodes: Nodes, pods: Pods, http: httpx.Client
) -> None:
    nodes.add()
    apiserver.restart()

    def up() -> bool:
        try:
            return http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    eventually(up, seconds=30)
    pods.create(nodes.pod("after"))

    def placed() -> str | None:
        # Away for longer than the Lease may go unrenewed, it ends, as upstream's does; its supervisor starts it anew.
        if scheduler.process.poll() is not None:
            assert "leader election lost" in scheduler.log.read_text()
            scheduler.start()
        return pods.node_of("after")

    eventually(placed, seconds=60)


def test_a_standby_takes_over(scheduler: Any, scratch: Path, apiserver: Any, nodes: Nodes, pods: Pods) -> None:
    nodes.add()
    standby = type(scheduler)(scheduler_command(apiserver.pki, free_port()), scratch / "standby.log")
    standby.start()
    try:
        pods.create(nodes.pod("first"))
        eventually(lambda: pods.node_of("first"), seconds=60)
        assert "acquired lease" not in standby.log.read_text()
        scheduler.stop()  # gives its Lease back
        pods.create(nodes.pod("second"))
        eventually(lambda: pods.node_of("second"))
        assert "successfully acquired lease kube-system/kube-scheduler" in standby.log.read_text()
    finally:
        standby.stop()
        scheduler.start()


def test_health_and_metrics(scheduler: Any, port: int, apiserver: Any, tmp_path: Path) -> None:
    pki = apiserver.pki
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context) as stranger:
        eventually(lambda: _answers(stranger, "/readyz"))
        assert stranger.get("/livez").text == "ok"
        assert stranger.get("/metrics").status_code == 401
    user = yaml.safe_load((pki / "admin.conf").read_text())["users"][0]["user"]
    certificate = tmp_path / "admin.pem"
    certificate.write_bytes(b"".join(base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")))
    context.load_cert_chain(certificate)
    with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context) as client:
        metrics = client.get("/metrics").text
    assert 'scheduler_pending_pods{queue="active"}' in metrics
    assert "scheduler_scheduling_algorithm_duration_seconds_count" in metrics


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.HTTPError:
        return False
