"""The kubelet's HTTPS server with real certificates and sockets: who comes in, and how streams end."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from websockets.asyncio.client import connect

from common.serving import TLSOptions, serve
from common.tunnel import SpdyTunnelProtocol
from kubelet.logs.reader import LogOptions
from kubelet.server.app import KubeletServer
from kubelet.stats.collector import StatsCollector


class EndlessSession:
    """Writes for ever, and counts how far it came."""

    def __init__(self) -> None:
        self.written = 0
        self.closed = asyncio.Event()

    async def frames(self) -> AsyncIterator[tuple[str, bytes]]:
        while True:
            self.written += 1 << 16
            yield "stdout", b"x" * (1 << 16)
            await asyncio.sleep(0)

    async def write(self, data: bytes) -> None: ...
    async def close_stdin(self) -> None: ...
    async def resize(self, width: int, height: int) -> None: ...
    async def exit_code(self) -> int:
        return 0

    async def close(self) -> None:
        self.closed.set()


class EndlessRuntime:
    def __init__(self) -> None:
        self.session = EndlessSession()
        self.logs_ended = asyncio.Event()

    async def exec(self, container_id: str, command: Sequence[str], **_: Any) -> EndlessSession:
        return self.session

    async def read_logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"line\n"
                await asyncio.sleep(0.01)
        finally:
            self.logs_ended.set()


class OnePod:
    def container_id_for_logs(self, *_: Any) -> str:
        return "c"

    def running_container_id(self, *_: Any) -> str:
        return "c"


@pytest.fixture
async def runtime() -> EndlessRuntime:
    return EndlessRuntime()


@pytest.fixture
async def address(certificates: Path, runtime: EndlessRuntime) -> AsyncIterator[str]:
    """host:port of a kubelet server with node-a's certificate."""

    async def well() -> None: ...

    stats = StatsCollector(runtime, "node-a", Path("/"))  # type: ignore[arg-type]
    app = KubeletServer(OnePod(), runtime, stats, well, runtime.read_logs).app()  # type: ignore[arg-type]
    files = (certificates / "kubelet-node-a.crt", certificates / "kubelet-node-a.key", certificates / "ca.crt")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listening = asyncio.Event()
    tls = TLSOptions(*map(str, files))
    serving = asyncio.create_task(
        serve(app, host="127.0.0.1", port=port, tls=tls, protocol=SpdyTunnelProtocol, started=listening.set)
    )
    await asyncio.wait_for(listening.wait(), 10)
    yield f"127.0.0.1:{port}"
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


def context_of(certificates: Path, identity: str | None, scratch: Path) -> ssl.SSLContext:
    """``identity`` is a pair of files or, for those that are in one, a kubeconfig."""
    context = ssl.create_default_context(cafile=str(certificates / "ca.crt"))
    kubeconfig = certificates / f"{identity}.conf"
    if kubeconfig.exists():
        user = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]
        pair = [base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")]
        (scratch / "client.pem").write_bytes(b"".join(pair))
        context.load_cert_chain(scratch / "client.pem")
    elif identity is not None:
        context.load_cert_chain(certificates / f"{identity}.crt", certificates / f"{identity}.key")
    return context


@pytest.mark.parametrize(
    ("identity", "code"),
    [(None, 401), ("scheduler", 403), ("kubelet-node-a", 403), ("apiserver-kubelet-client", 404), ("admin", 404)],
)
async def test_who_comes_in(certificates: Path, address: str, tmp_path: Path, identity: str | None, code: int) -> None:
    async with httpx.AsyncClient(verify=context_of(certificates, identity, tmp_path)) as client:
        assert (await client.get(f"https://{address}/no/such/path")).status_code == code
        assert (await client.get(f"https://{address}/healthz")).text == "ok"


async def test_followed_logs_end_with_their_client(
    certificates: Path, address: str, tmp_path: Path, runtime: EndlessRuntime
) -> None:
    context = context_of(certificates, "apiserver-kubelet-client", tmp_path)
    url = f"https://{address}/containerLogs/default/web/app?follow=true"
    async with httpx.AsyncClient(verify=context) as client, client.stream("GET", url) as answer:
        async for line in answer.aiter_lines():
            assert line == "line"
            break
    await asyncio.wait_for(runtime.logs_ended.wait(), 10)


async def test_a_slow_client_holds_the_process_back(
    certificates: Path, address: str, tmp_path: Path, runtime: EndlessRuntime
) -> None:
    """What is not read stays within what sockets and buffers hold, and the session ends with its client."""
    context = context_of(certificates, "apiserver-kubelet-client", tmp_path)
    url = f"wss://{address}/exec/default/web/app?command=yes&output=1"
    protocols: Any = ["v5.channel.k8s.io"]
    stream = await connect(url, ssl=context, subprotocols=protocols, max_queue=1, compression=None)
    assert (await stream.recv())[:2] == b"\x01x"
    settled = -1
    while settled != runtime.session.written:
        settled = runtime.session.written
        await asyncio.sleep(0.5)
    assert settled < 64 << 20
    stream.transport.abort()
    await asyncio.wait_for(runtime.session.closed.wait(), 10)
