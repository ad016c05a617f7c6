"""The command itself: what it changes, what it leaves alone, and what it takes away again."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from kubelet.runtime.naming import LABEL_NODE
from tests.e2e.cluster.support import PROJECT, ROOT, Kubectl, command, eventually

PROJECT_LABEL = f"label=com.docker.compose.project={PROJECT}"
PROCESSES = ("apiserver", "controller-manager", "scheduler", "etcd", "registry", "node-1", "node-2")


def cox(*words: str, timeout: float = 300) -> str:
    result = command(["./cox", *words], timeout=timeout)
    assert result.code == 0, f"cox {' '.join(words)}: {result}"
    return result.out


def containers() -> dict[str, str]:
    """Name -> when it was started, of the cluster's running containers."""
    names = command(["docker", "ps", "-q", "--filter", PROJECT_LABEL]).out.split()
    inspected = json.loads(command(["docker", "inspect", *names]).out)
    return {one["Name"]: one["State"]["StartedAt"] for one in inspected}


def run_on(kubectl: Kubectl, node: str, image: str) -> None:
    """A pod of that image runs on that node."""
    name = f"on-{node}"
    spec = {"spec": {"nodeName": node, "tolerations": [{"operator": "Exists"}]}}
    kubectl("run", name, f"--image={image}", f"--overrides={json.dumps(spec)}")
    kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")


def test_a_second_up_changes_nothing(cluster: None) -> None:
    before = containers()
    output = cox("up")
    assert "nothing was changed" in output
    assert containers() == before


def test_status_shows_each_process_and_node(cluster: None) -> None:
    rows = {line.split()[0]: line.split() for line in cox("status").splitlines() if line.strip()}
    for process in PROCESSES:
        assert rows[process][1] in ("healthy", "Ready"), rows[process]
    assert "Server" in rows


@pytest.fixture
def local_image() -> Iterator[str]:
    """An image that only this machine's Docker has."""
    image = f"e2e-{uuid.uuid4().hex[:8]}:v1"
    build = ["docker", "build", "-q", "-t", image, "-"]
    dockerfile = f"FROM httpd:v1\nRUN echo {image} >/www/index.html\n"
    subprocess.run(build, input=dockerfile, text=True, check=True, capture_output=True)
    yield image
    command(["docker", "rmi", "-f", image])


def test_a_loaded_image_runs_on_every_node_by_its_plain_name(kubectl: Kubectl, local_image: str) -> None:
    cox("load", local_image)
    for node in ("node-1", "node-2"):
        run_on(kubectl, node, local_image)
        address = kubectl.get("pod", f"on-{node}")["status"]["podIP"]
        page = command(["docker", "exec", f"{PROJECT}-node-1", "curl", "-sS", "-m", "5", f"http://{address}"])
        assert page.out.strip() == local_image


def test_a_third_node_comes_and_goes(kubectl: Kubectl) -> None:
    before = containers()
    cox("nodes", "3")
    try:
        run_on(kubectl, "node-3", "httpd:v1")
        assert {name: containers().get(name) for name in before} == before, "a new node restarted what ran"
        kubectl("delete", "pod", "on-node-3")
    finally:
        cox("nodes", "2")
    nodes = [node["metadata"]["name"] for node in kubectl.get("nodes")["items"]]
    assert nodes == ["node-1", "node-2"]
    assert containers() == before


def test_this_machine_as_a_node(kubectl: Kubectl) -> None:
    """Its pods are this Docker's containers, and reach pods of the other nodes; afterwards nothing of it is left."""
    cox("up", "--host-node")
    try:
        names = [node["metadata"]["name"] for node in kubectl.get("nodes")["items"]]
        (host,) = set(names) - {"node-1", "node-2"}
        run_on(kubectl, host, "httpd:v1")
        shown = command(["docker", "ps", "--format", "{{.Names}}"]).out
        assert f"k8s_on-{host}_on-{host}_{kubectl.namespace}_" in shown
        run_on(kubectl, "node-1", "httpd:v1")
        address = kubectl.get("pod", "on-node-1")["status"]["podIP"]
        assert kubectl("exec", f"on-{host}", "--", "wget", "-qO-", "-T", "5", f"http://{address}") == "test page v1\n"
        assert command(["curl", "-sS", "-m", "5", f"http://{address}"]).out == "test page v1\n"
        kubectl("delete", "pod", f"on-{host}")
    finally:
        cox("up", "--no-host-node")
    assert not command(["docker", "ps", "-a", "-q", "--filter", f"label={LABEL_NODE}={host}"]).out
    assert command(["ip", "link", "show", "cox0"]).code != 0
    rules = command(["iptables-save"]).out
    assert "COX-" not in rules
    assert "KUBE-" not in rules
    assert "/var/lib/kubelet" not in command(["mount"]).out


def test_plain_compose_brings_the_same_cluster_up(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "before")
    down = command(["docker", "compose", "down"], timeout=120)
    assert down.code == 0, down
    up = command(["docker", "compose", "up", "-d", "--wait"], timeout=120)
    assert up.code == 0, up
    kubectl("get", "configmap", "before")
    for node in ("node-1", "node-2"):
        kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=60s")
        run_on(kubectl, node, "httpd:v1")


def test_help_is_there() -> None:
    assert "usage: cox" in subprocess.run([ROOT / "cox", "--help"], capture_output=True, text=True, check=True).stdout
    wrong = command(["./cox", "nodes", "0"])
    assert (wrong.code, wrong.err) == (1, "cox: the number of nodes must be from 1 to 100\n")


def test_the_cluster_is_whole_afterwards(cluster: None) -> None:
    kubectl = Kubectl("default")

    def ready() -> bool:
        nodes = kubectl.get("nodes")["items"]
        conditions = [c["status"] for n in nodes for c in n["status"]["conditions"] if c["type"] == "Ready"]
        return conditions == ["True", "True"]

    eventually("two ready nodes", ready, 60)
