"""exec, attach, cp, logs and port-forward of every kubectl and of the Python client, through both real servers.

kubectl speaks SPDY until 1.30 and WebSockets since; what the containers would do, processes of this machine do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from kubernetes import client, config
from kubernetes.stream import portforward, stream

from tests.integration.clients.conftest import Walker
from tests.integration.clients.kubectl import every
from tests.integration.clients.process_node import LOG, ProcessNode
from tests.integration.conftest import ApiServer

LARGE = bytes(range(256)) * 8192
PAGE = b"a page\n" * 30_000


@pytest.fixture(scope="module")
def kubelet(certificates: Path) -> Iterator[ProcessNode]:
    with ProcessNode(certificates) as node:
        yield node


@pytest.fixture
def pod(kubelet: ProcessNode, http: httpx.Client, namespace: str) -> Iterator[str]:
    """Pod ``box``, running on a node that is this machine."""
    node, pods = f"node-{namespace}", f"/api/v1/namespaces/{namespace}/pods"
    merge = {"content-type": "application/merge-patch+json"}
    assert http.post("/api/v1/nodes", json={"metadata": {"name": node}}).status_code == 201
    address = {"type": "InternalIP", "address": "127.0.0.1"}
    status = {"addresses": [address], "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}}}
    assert http.patch(f"/api/v1/nodes/{node}/status", json={"status": status}, headers=merge).status_code == 200
    container = {"name": "c", "image": "i", "stdin": True}
    body = {"metadata": {"name": "box"}, "spec": {"nodeName": node, "containers": [container]}}
    assert http.post(pods, json=body).status_code == 201
    state = {"name": "c", "state": {"running": {}}, "ready": True, "restartCount": 0, "image": "i", "imageID": "i"}
    running = {"phase": "Running", "containerStatuses": [state], "conditions": [{"type": "Ready", "status": "True"}]}
    assert http.patch(f"{pods}/box/status", json={"status": running}, headers=merge).status_code == 200
    yield "box"
    http.delete(f"{pods}/box", params={"gracePeriodSeconds": "0"})
    http.delete(f"/api/v1/nodes/{node}")


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where something listens in the pod's network."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("version", every())
def test_exec_attach_and_logs(walker: Walker, version: str, pod: str) -> None:
    kubectl = walker(version)
    assert kubectl("exec", pod, "--", "echo", "hello") == "hello\n"
    large = "x" * 300_000 + "\n"
    assert kubectl("exec", "-i", pod, "--", "cat", stdin=large) == large
    failed = kubectl.attempt("exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (failed.returncode, failed.stdout) == (7, "out\n")
    assert failed.stderr == "err\ncommand terminated with exit code 7\n"
    assert kubectl.attempt("attach", "-i", "-q", pod, stdin="through\n").stdout == "through\n"
    assert kubectl("logs", pod) == "".join(LOG)
    assert kubectl("logs", pod, "--tail=1", "-f") == LOG[-1]


@pytest.mark.parametrize("version", every())
def test_copies(walker: Walker, version: str, pod: str, tmp_path: Path) -> None:
    kubectl = walker(version)
    source, there, back = (tmp_path / name for name in ("source", "there", "back"))
    source.write_bytes(LARGE)
    kubectl("cp", str(source), f"{pod}:{there}")
    kubectl("cp", f"{pod}:{there}", str(back))
    assert there.read_bytes() == back.read_bytes() == LARGE


@pytest.mark.parametrize("version", every())
def test_forwarded_ports(walker: Walker, version: str, pod: str, port: int) -> None:
    process = walker(version).start("port-forward", f"pod/{pod}", f":{port}")
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        address = re.search(r"127\.0\.0\.1:\d+", line)
        assert address, line
        for _ in range(3):
            assert httpx.get(f"http://{address[0]}/", timeout=20).content == PAGE
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def core(apiserver: ApiServer) -> Iterator[client.CoreV1Api]:
    """The streams put a transport of their own into the client they are given: it is used for nothing else."""
    with config.new_client_from_config(str(apiserver.kubeconfig())) as api:
        yield client.CoreV1Api(api)


def test_exec_of_the_python_client(pod: str, core: client.CoreV1Api, namespace: str) -> None:
    run = partial(stream, core.connect_get_namespaced_pod_exec, pod, namespace, stdout=True, stderr=True, tty=False)
    script = ["sh", "-c", "read line; echo got $line; echo err >&2; exit 5"]
    shell = run(command=script, stdin=True, _preload_content=False)
    shell.write_stdin("words\n")
    shell.run_forever(timeout=30)
    assert (shell.read_stdout(), shell.read_stderr(), shell.returncode) == ("got words\n", "err\n", 5)
    assert run(command=["echo", "at once"], stdin=False) == "at once\n"


def test_forwarded_ports_of_the_python_client(pod: str, core: client.CoreV1Api, namespace: str, port: int) -> None:
    forward = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port))
    with closing(forward.socket(port)) as connection:
        connection.settimeout(20)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        received = b""
        while data := connection.recv(65536):
            received += data
    assert received.endswith(b"\r\n\r\n" + PAGE)
    assert forward.error(port) is None


def test_a_closed_port_is_said(walker: Walker, pod: str) -> None:
    """The connection ends, the forwarding lives until its client goes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as unused:
        closed = unused.server_address[1]
    process = walker(every()[-1]).start("port-forward", f"pod/{pod}", f":{closed}")
    assert process.stdout is not None
    try:
        address = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
        assert address
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://{address[0]}/", timeout=20)
        said = ""
        while "refused" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
    finally:
        process.kill()
        with process.stdout:
            process.wait()
