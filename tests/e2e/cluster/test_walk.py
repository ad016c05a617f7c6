"""The walk of a lab session with the real kubectl, every version of it that is installed."""

from __future__ import annotations

import subprocess
from collections import Counter

import pytest

from tests.e2e.cluster.support import PROJECT, Kubectl, clients, eventually, node_exec

PAGE = "test page {}\n"


def cluster_ip(kubectl: Kubectl, service: str) -> str:
    return str(kubectl.get("service", service)["spec"]["clusterIP"])


def running(kubectl: Kubectl, selector: str, count: int) -> list[dict]:
    """The pods when exactly `count` of them are ready, and no other."""

    def ready() -> list[dict] | None:
        pods = kubectl.pods(selector)
        good = [
            pod
            for pod in pods
            for condition in pod["status"].get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        ]
        return pods if len(pods) == len(good) == count else None

    return eventually(f"{count} ready pods of {selector}", ready, 90)


def curl(address: str, node: str = "node-1") -> str:
    return node_exec(node, "curl", "-sS", "-m", "5", address).out


class Visitor:
    """Somebody who asks a service without pause, from a node; tells at the end what they got."""

    def __init__(self, address: str) -> None:
        loop = f"while :; do curl -sS -m 5 {address} || echo FAILED; sleep 0.05; done"
        words = ["docker", "exec", f"{PROJECT}-node-2", "timeout", "180", "sh", "-c", loop]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def leave(self) -> Counter[str]:
        node_exec("node-2", "pkill", "-f", "^sh -c while :; do curl")
        out, _ = self._process.communicate(timeout=30)
        return Counter(out.splitlines())


@pytest.mark.parametrize("binary", clients(), ids=lambda path: path.rsplit("/", 1)[-1])
def test_deploy_expose_update_undo_scale_delete(namespace: str, binary: str) -> None:
    kubectl = Kubectl(namespace, binary)
    kubectl("create", "deployment", "httpd", "--image=httpd:v1", "--replicas=3")
    pods = running(kubectl, "app=httpd", 3)
    assert {pod["spec"]["nodeName"] for pod in pods} == {"node-1", "node-2"}
    table = kubectl("get", "pods", "-o", "wide")
    assert table.split()[:9] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED", "NODE"]
    assert table.count("Running") == 3

    kubectl("expose", "deployment", "httpd", "--port=80")
    address = f"http://{cluster_ip(kubectl, 'httpd')}"
    eventually("the service on both nodes", lambda: {curl(address, f"node-{n}") for n in (1, 2)} == {PAGE.format("v1")})
    for pod in pods:
        kubectl("exec", pod["metadata"]["name"], "--", "sh", "-c", "hostname > /www/who")
    answers = Counter(curl(f"{address}/who").strip() for _ in range(40))
    assert set(answers) == {pod["metadata"]["name"] for pod in pods}
    inside = kubectl("exec", pods[0]["metadata"]["name"], "--", "wget", "-qO-", "-T", "5", address)
    assert inside == PAGE.format("v1")

    visitor = Visitor(address)
    kubectl("set", "image", "deployment/httpd", "httpd=httpd:v2")
    kubectl("rollout", "status", "deployment/httpd", "--timeout=120s", timeout=130)
    eventually("the new version alone", lambda: {curl(address) for _ in range(6)} == {PAGE.format("v2")})
    heard = visitor.leave()
    assert set(heard) == {"test page v1", "test page v2"}, f"requests failed during the rollout: {heard}"

    history = kubectl("rollout", "history", "deployment/httpd").split()
    assert {"1", "2"} <= set(history)
    kubectl("rollout", "undo", "deployment/httpd")
    kubectl("rollout", "status", "deployment/httpd", "--timeout=120s", timeout=130)
    eventually("the former version alone", lambda: {curl(address) for _ in range(6)} == {PAGE.format("v1")})

    kubectl("scale", "deployment/httpd", "--replicas=6")
    six = running(kubectl, "app=httpd", 6)
    victim = six[0]["metadata"]["name"]
    kubectl("delete", "pod", victim)
    assert victim not in {pod["metadata"]["name"] for pod in running(kubectl, "app=httpd", 6)}

    kubectl("delete", "deployment", "httpd")
    eventually("nothing left", lambda: not kubectl.get("pods,replicasets", "-l", "app=httpd")["items"], 90)
    assert curl(address) != PAGE.format("v1")


def test_logs_exec_and_copy(kubectl: Kubectl, tmp_path) -> None:
    kubectl("run", "box", "--image=busybox:1.35", "--restart=Never", "--", "sh", "-c", "echo hello; sleep 300")
    kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=60s")
    assert kubectl("logs", "box") == "hello\n"
    assert kubectl("exec", "-i", "box", "--", "cat", stdin="through\n") == "through\n"
    assert kubectl.attempt("exec", "box", "--", "sh", "-c", "exit 7").code == 7
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 1000)
    kubectl("cp", str(source), "box:/tmp/copy")
    kubectl("cp", "box:/tmp/copy", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_pods_of_different_nodes_see_each_others_own_address(kubectl: Kubectl) -> None:
    """No translation of addresses between pods: who is called sees the caller's pod address."""
    kubectl("create", "deployment", "web", "--image=httpd:v1", "--replicas=2")
    first, second = running(kubectl, "app=web", 2)
    assert first["spec"]["nodeName"] != second["spec"]["nodeName"]
    caller, called = first["metadata"]["name"], second["metadata"]["name"]
    # busybox's httpd gives a CGI program its caller's address.
    script = "mkdir -p /www/cgi-bin && printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' >/www/cgi-bin/who"
    kubectl("exec", called, "--", "sh", "-c", f"{script} && chmod +x /www/cgi-bin/who")
    page = f"http://{second['status']['podIP']}/cgi-bin/who"
    seen = kubectl("exec", caller, "--", "wget", "-qO-", "-T", "5", page).strip().strip("[]").removeprefix("::ffff:")
    assert seen == first["status"]["podIP"]
