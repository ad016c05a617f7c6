"""The official Python client forwards ports: through the API server to a kubelet, over WebSocket channels."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes
import pytest
from kubernetes.stream import portforward

from common.serving import TLSOptions, serve
from common.tunnel import SpdyTunnelProtocol
from kubelet.server.app import KubeletServer
from kubelet.stats.collector import StatsCollector
from tests.integration.conftest import ApiServer


class OnePod:
    """This process is the pod: its ports are this machine's."""

    def sandbox_pid(self, *_: Any) -> int:
        return os.getpid()

    def get_pod(self, *_: Any) -> None:
        return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def kubelet(certificates: Path) -> AsyncIterator[int]:
    async def well() -> None: ...

    stats = StatsCollector(None, "node-a", Path("/"))  # type: ignore[arg-type]
    app = KubeletServer(OnePod(), None, stats, well, None).app()  # type: ignore[arg-type]
    tls = TLSOptions(*(str(certificates / name) for name in ("kubelet-node-a.crt", "kubelet-node-a.key", "ca.crt")))
    port, listening = free_port(), asyncio.Event()
    serving = asyncio.create_task(
        serve(app, host="127.0.0.1", port=port, tls=tls, protocol=SpdyTunnelProtocol, started=listening.set)
    )
    await listening.wait()
    yield port
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A port that says in capitals what it is told."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data.upper())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def pod(http: httpx.Client, namespace: str, kubelet: int) -> AsyncIterator[str]:
    node = f"far-{uuid.uuid4().hex[:6]}"
    http.post("/api/v1/nodes", json={"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet}},
    }
    patch = {"content-type": "application/merge-patch+json"}
    assert http.patch(f"/api/v1/nodes/{node}/status", json={"status": status}, headers=patch).status_code == 200
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}}
    body["spec"] = {"containers": [{"name": "web", "image": "busybox"}], "nodeName": node}
    assert http.post(f"/api/v1/namespaces/{namespace}/pods", json=body).status_code == 201
    yield "web"
    http.delete(f"/api/v1/namespaces/{namespace}/pods/web", params={"gracePeriodSeconds": "0"})
    http.delete(f"/api/v1/nodes/{node}")


async def test_the_python_client_forwards_ports(apiserver: ApiServer, namespace: str, pod: str, echo: int) -> None:
    nobody = free_port()

    def use() -> tuple[bytes, str]:
        client = kubernetes.config.new_client_from_config(str(apiserver.kubeconfig()))
        core = kubernetes.client.CoreV1Api(client)
        forwarded = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports=f"{echo},{nobody}")
        sock = forwarded.socket(echo)
        sock.settimeout(10)
        sent = b"hello " * 50_000
        received = b""
        for at in range(0, len(sent), 10_000):
            sock.sendall(sent[at : at + 10_000])
            while len(received) < min(at + 10_000, len(sent)):
                received += sock.recv(65536)
        error = forwarded.error(nobody)
        forwarded.close()
        return received, error

    received, error = await asyncio.wait_for(asyncio.to_thread(use), 30)
    assert received == b"HELLO " * 50_000
    assert f"error forwarding port {nobody} to pod web" in error
