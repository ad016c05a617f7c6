"""Streams through the API server to running containers, by every kubectl and by the official Python client."""

from __future__ import annotations

import re
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kubernetes import client, config
from kubernetes.stream import portforward, stream
from kubernetes.stream.ws_client import WSClient

from tests.e2e.cluster.support import KUBECONFIG, ROOT, Kubectl, clients, eventually

PAGE = "test page v1\n"
LARGE = bytes(range(256)) * 8192


@pytest.fixture
def pod(kubectl: Kubectl) -> str:
    """A running pod that serves PAGE."""
    kubectl("run", "web", "--image=httpd:v1", "--port=80", "--labels=app=web")
    kubectl("expose", "pod", "web", "--port=8080", "--target-port=80")
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    return "web"


@contextmanager
def running(kubectl: Kubectl, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that does not end by itself."""
    base = [kubectl.binary, "--kubeconfig", str(KUBECONFIG), "--namespace", kubectl.namespace]
    process = subprocess.Popen([*base, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def address(process: subprocess.Popen[str]) -> str:
    """Where the command says that it listens."""
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"127\.0\.0\.1:\d+", line)
    assert found, line
    return f"http://{found[0]}"


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("binary", clients(), ids=lambda path: path.rsplit("/", 1)[-1])
def test_streams_of_kubectl(pod: str, namespace: str, binary: str, tmp_path: Path) -> None:
    kubectl = Kubectl(namespace, binary)
    assert kubectl("exec", "-i", pod, "--", "cat", stdin="there and back\n") == "there and back\n"
    failed = kubectl.attempt("exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (failed.code, failed.out, failed.err.splitlines()[0]) == (3, "out\n", "err")
    for target in (f"pod/{pod}", "service/web"):
        with running(kubectl, "port-forward", target, ":80" if target.startswith("pod") else ":8080") as forward:
            where = address(forward)
            assert [fetch(where) for _ in range(3)] == [PAGE] * 3
    with running(kubectl, "proxy", "--port=0") as proxy:
        base = f"{address(proxy)}/api/v1/namespaces/{namespace}"
        assert fetch(f"{base}/pods/{pod}:80/proxy/") == PAGE
        assert fetch(f"{base}/services/web:8080/proxy/") == PAGE
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    kubectl("cp", str(source), f"{pod}:/tmp/copy")
    kubectl("cp", f"{pod}:/tmp/copy", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == LARGE
    kubectl("run", "echo", "--image=busybox:1.35", "--restart=Never", "-i", "--rm", "--", "cat", stdin="attached\n")


@pytest.mark.parametrize("binary", clients()[-1:], ids=lambda path: path.rsplit("/", 1)[-1])
def test_a_debug_container_sees_the_pod(pod: str, namespace: str, binary: str) -> None:
    kubectl = Kubectl(namespace, binary)
    look = "wget -qO- -T 5 http://127.0.0.1:80; sleep 60"
    debug = ("--image=busybox:1.35", "--container=look", "--target=web", "--attach=false", "--quiet")
    kubectl("debug", f"pod/{pod}", *debug, "--", "sh", "-c", look)
    eventually("what the debug container says", lambda: kubectl.attempt("logs", pod, "-c", "look").out == PAGE)
    assert "look" in kubectl("describe", "pod", pod)


@pytest.fixture
def core(cluster: None) -> Iterator[client.CoreV1Api]:
    """The streams put their transport into the client they are given: this one is used for nothing else."""
    with config.new_client_from_config(str(KUBECONFIG)) as api:
        yield client.CoreV1Api(api)


def exec_in(core: client.CoreV1Api, namespace: str, pod: str, *command: str) -> WSClient:
    return stream(
        core.connect_get_namespaced_pod_exec,
        pod,
        namespace,
        command=list(command),
        stdin=True,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )


def test_exec_of_the_python_client(pod: str, core: client.CoreV1Api, namespace: str) -> None:
    shell = exec_in(core, namespace, pod, "sh", "-c", "read line; echo got $line; echo err >&2; exit 5")
    shell.write_stdin("words\n")
    shell.run_forever(timeout=30)
    assert (shell.read_stdout(), shell.read_stderr(), shell.returncode) == ("got words\n", "err\n", 5)


def test_port_forward_of_the_python_client(pod: str, core: client.CoreV1Api, namespace: str) -> None:
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports="80")
    connection = forward.socket(80)
    connection.settimeout(20)
    connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    received = b""
    while data := connection.recv(4096):
        received += data
    connection.close()
    assert received.decode().endswith(PAGE)
    assert forward.error(80) is None
