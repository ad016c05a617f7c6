"""A real etcd, a real API server in a process of its own, the real kubectl: one of each for the whole session."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[2]
NODE = "node-a"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], Any], *, timeout: float = 20, every: float = 0.05) -> Any:
    """The first true answer of ``check``; its last failure when time is up."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            if answer := check():
                return answer
            failure: BaseException = AssertionError(f"still {answer!r}")
        except (AssertionError, httpx.HTTPError, OSError) as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure
        time.sleep(every)


@dataclass
class Server:
    """A process of the control plane under test."""

    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    _out: IO[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        self._out = self.log.open("ab")
        self.process = subprocess.Popen(self.command, stdout=self._out, stderr=subprocess.STDOUT, cwd=ROOT)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._out is not None:
            self._out.close()

    def restart(self, number: int = signal.SIGKILL) -> None:
        self.stop(number)
        self.start()


@dataclass
class Etcd(Server):
    endpoint: str = ""
    pki: Path = Path()


@dataclass
class ApiServer(Server):
    url: str = ""
    pki: Path = Path()

    def kubeconfig(self, name: str = "admin") -> Path:
        return self.pki / f"{name}.conf"


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="session")
def api_port() -> int:
    return free_port()


@pytest.fixture(scope="session")
def certificates(scratch: Path, api_port: int) -> Path:
    out = scratch / "pki"
    server = f"https://127.0.0.1:{api_port}"
    command = [sys.executable, "-m", "deploy.pki", "--out", str(out), "--node", NODE, "--san", "127.0.0.1"]
    subprocess.run(
        [*command, "--server", server, "--internal-server", server], check=True, cwd=ROOT, capture_output=True
    )
    return out


def etcd_process(
    path: Path, certificates: Path, *, name: str = "default", peer: str = "", initial_cluster: str = ""
) -> Etcd:
    """An etcd with mutual TLS on free ports; its data is in ``path``."""
    client, peer = f"https://127.0.0.1:{free_port()}", peer or f"http://127.0.0.1:{free_port()}"
    files = certificates / "etcd"
    command = [
        _tool("etcd"),
        *("--name", name, "--data-dir", str(path / "etcd"), "--unsafe-no-fsync", "--log-level", "warn"),
        "--max-txn-ops=2048",
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", initial_cluster or f"{name}={peer}"),
        *("--cert-file", str(files / "server.crt"), "--key-file", str(files / "server.key")),
        *("--trusted-ca-file", str(files / "ca.crt"), "--client-cert-auth"),
    ]
    return Etcd(command, path / "etcd.log", endpoint=client, pki=certificates)


@pytest.fixture(scope="session")
def etcd(scratch: Path, certificates: Path) -> Iterator[Etcd]:
    """etcd with mutual TLS on free ports; ``restart()`` kills it and starts it again on the same data."""
    server = etcd_process(scratch, certificates)
    server.start()
    yield server
    server.stop()


def apiserver_command(etcd: Etcd, certificates: Path, port: int) -> list[str]:
    flags = {
        "etcd-servers": etcd.endpoint,
        "etcd-cafile": certificates / "etcd/ca.crt",
        "etcd-certfile": certificates / "apiserver-etcd-client.crt",
        "etcd-keyfile": certificates / "apiserver-etcd-client.key",
        "client-ca-file": certificates / "ca.crt",
        "tls-cert-file": certificates / "apiserver.crt",
        "tls-private-key-file": certificates / "apiserver.key",
        "service-account-key-file": certificates / "sa.pub",
        "service-account-signing-key-file": certificates / "sa.key",
        "kubelet-client-certificate": certificates / "apiserver-kubelet-client.crt",
        "kubelet-client-key": certificates / "apiserver-kubelet-client.key",
        "kubelet-certificate-authority": certificates / "ca.crt",
        "proxy-client-cert-file": certificates / "front-proxy-client.crt",
        "proxy-client-key-file": certificates / "front-proxy-client.key",
        "requestheader-client-ca-file": certificates / "front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "bind-address": "127.0.0.1",
        "secure-port": port,
    }
    return [sys.executable, "-m", "apiserver", *(f"--{name}={value}" for name, value in flags.items())]


@pytest.fixture(scope="session")
def apiserver(scratch: Path, certificates: Path, etcd: Etcd, api_port: int) -> Iterator[ApiServer]:
    """``python -m apiserver``, ready."""
    command = apiserver_command(etcd, certificates, api_port)
    url = f"https://127.0.0.1:{api_port}"
    server = ApiServer(command, scratch / "apiserver.log", url=url, pki=certificates)
    server.start()
    try:
        wait_ready(server)
        yield server
    finally:
        server.stop()


def wait_ready(server: ApiServer) -> None:
    with httpx.Client(base_url=server.url, verify=ssl.create_default_context(cafile=server.pki / "ca.crt")) as client:

        def ready() -> bool:
            assert server.process is not None and server.process.poll() is None, server.log.read_text()
            answer = client.get("/readyz?verbose")
            assert answer.status_code == 200, answer.text + server.log.read_text()
            return True

        eventually(ready, timeout=30)


def client_of(server: ApiServer, identity: str | None = "admin") -> httpx.Client:
    """A client with the certificate of one of the PKI's kubeconfigs; None for no credentials."""
    context = ssl.create_default_context(cafile=str(server.pki / "ca.crt"))
    if identity is not None:
        _load_identity(context, server.kubeconfig(identity))
    return httpx.Client(base_url=server.url, verify=context, timeout=20)


def _load_identity(context: Any, kubeconfig: Path) -> None:
    user = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]
    pem = kubeconfig.with_suffix(".pem")
    with os.fdopen(os.open(pem, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as out:
        out.write(base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"]))
    context.load_cert_chain(pem)


@pytest.fixture
def http(apiserver: ApiServer) -> Iterator[httpx.Client]:
    """An HTTP client of the admin."""
    with client_of(apiserver) as client:
        yield client


@pytest.fixture
def http_as(apiserver: ApiServer) -> Iterator[Callable[[str | None], httpx.Client]]:
    """HTTP clients of others: ``http_as("scheduler")``, ``http_as(None)`` for nobody."""
    clients: list[httpx.Client] = []

    def make(identity: str | None) -> httpx.Client:
        clients.append(client_of(apiserver, identity))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def namespace(http: httpx.Client) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    assert http.post("/api/v1/namespaces", json=body).status_code == 201
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    assert http.post(f"/api/v1/namespaces/{name}/serviceaccounts", json=account).status_code == 201
    yield name
    http.delete(f"/api/v1/namespaces/{name}")


Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def kubectl(apiserver: ApiServer, tmp_path: Path) -> Kubectl:
    """Runs the real kubectl as the admin: ``kubectl("get", "pods", input=…, check=False)``."""
    return kubectl_of(apiserver, tmp_path)


def kubectl_of(server: ApiServer, home: Path, *, binary: str = "kubectl", identity: str = "admin") -> Kubectl:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(server.kubeconfig(identity))}

    def run(*arguments: str, input: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [_tool(binary), *arguments],
            input=input,
            text=True,
            capture_output=True,
            env=environment,
            timeout=60,
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    return run


def _tool(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} is not installed: ./cox test installs what the tests need"
    return path
