"""Port-forward over SPDY, plain or carried in a WebSocket: connections into a pod's network namespace.

For each connection the client opens two streams that share the header ``requestid``: data, and error, which tells what
went wrong (upstream: pkg/kubelet/cri/streaming/portforward; for the WebSocket: KEP-4006).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from common.tunnel import Tunnel
from kubelet.network.namespaces import connect_loopback
from kubelet.server.spdy.connection import Pipe, SpdyConnection, SpdyStream
from kubelet.server.spdy.websocket import WebSocketPipe
from kubelet.server.upgrade import upgrade, websocket_upgrade

log = logging.getLogger("kubelet.server")

PROTOCOL = "portforward.k8s.io"
WEBSOCKET_PROTOCOL = f"SPDY/3.1+{PROTOCOL}"
PAIR_SECONDS = 30.0
"""How long the second stream of a pair may take."""
_CHUNK = 32 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """The pod whose ports are meant."""

    pod: str
    uid: str
    sandbox_pid: int
    """A process in its network namespace."""


def serve(request: Request, tunnel: Tunnel, target: Target) -> ASGIApp:
    """What takes the connection over. Raises StatusError."""
    if request.headers.get("upgrade", "").lower() == "websocket":
        head = websocket_upgrade(request, WEBSOCKET_PROTOCOL)
        pipe: Pipe = WebSocketPipe(tunnel)
    else:
        _, head = upgrade(request, (PROTOCOL,))
        pipe = tunnel

    async def stay(scope: Scope, receive: Receive, send: Send) -> None:
        tunnel.accept(head)
        await forward(pipe, target)

    return stay


@dataclass
class Pair:
    """The streams of one forwarded connection."""

    port: int
    data: SpdyStream | None = None
    error: SpdyStream | None = None
    complete: asyncio.Event = field(default_factory=asyncio.Event)


async def forward(pipe: Pipe, target: Target) -> None:
    """Serves forwarded connections until the client is gone."""
    connection = SpdyConnection(pipe)
    pairs: dict[str, Pair] = {}
    tasks: set[asyncio.Task[None]] = set()
    reading = asyncio.create_task(connection.run(), name="SPDY connection")
    try:
        while (stream := await connection.accept()) is not None:
            key = stream.headers.get("requestid", "")
            pair = _place(pairs, key, stream)
            if pair is None:
                await stream.reset()
            elif pair.data is None or pair.error is None:
                task = asyncio.create_task(_serve_pair(pair, target), name=f"port {pair.port} of {target.pod}")
                tasks.add(task)
                task.add_done_callback(_forgetting(pairs, key, tasks))
            else:
                pair.complete.set()
    except ConnectionError as error:
        log.debug("port-forward of %s ended: %s", target.pod, error)
    finally:
        for task in (reading, *tasks):
            task.cancel()
        pipe.close()
        await asyncio.gather(reading, *tasks, return_exceptions=True)


def _forgetting(
    pairs: dict[str, Pair], key: str, tasks: set[asyncio.Task[None]]
) -> Callable[[asyncio.Task[None]], None]:
    def ended(task: asyncio.Task[None]) -> None:
        pairs.pop(key, None)
        tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("%s: %s", task.get_name(), task.exception())

    return ended


def _place(pairs: dict[str, Pair], key: str, stream: SpdyStream) -> Pair | None:
    """The pair that a stream belongs to; None for one that belongs to none."""
    port, kind = stream.headers.get("port", ""), stream.headers.get("streamtype", "")
    if not key or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 1 << 16:
        log.info("port-forward: a stream without a request or a port")
        return None
    pair = pairs.setdefault(key, Pair(int(port)))
    if kind == "data" and pair.data is None:
        pair.data = stream
    elif kind == "error" and pair.error is None:
        pair.error = stream
    else:
        log.info("port-forward: unexpected stream type %r", kind)
        return None
    return pair


async def _serve_pair(pair: Pair, target: Target) -> None:
    try:
        async with asyncio.timeout(PAIR_SECONDS):
            await pair.complete.wait()
    except TimeoutError:
        for stream in (pair.data, pair.error):
            if stream is not None:
                await stream.reset()
        return
    assert pair.data is not None and pair.error is not None
    pair.error.discard()
    try:
        try:
            await _relay(pair.data, target.sandbox_pid, pair.port)
        except OSError as error:
            text = f"error forwarding port {pair.port} to pod {target.pod}, uid {target.uid}: {error}"
            await pair.error.write(text.encode())
        pair.data.discard()
        await pair.data.finish()
        await pair.error.finish()
    except ConnectionError as error:
        log.debug("port %d of %s: %s", pair.port, target.pod, error)


async def _relay(stream: SpdyStream, sandbox_pid: int, port: int) -> None:
    """Until the pod's side has written all. Raises OSError."""
    reader, writer = await asyncio.open_connection(sock=await connect_loopback(sandbox_pid, port), limit=_CHUNK)
    inward = asyncio.create_task(_inward(stream, writer))
    try:
        while data := await reader.read(_CHUNK):
            await stream.write(data)
    finally:
        inward.cancel()
        await asyncio.gather(inward, return_exceptions=True)
        writer.close()


async def _inward(stream: SpdyStream, writer: asyncio.StreamWriter) -> None:
    while data := await stream.read():
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
