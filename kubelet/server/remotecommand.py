"""exec and attach over SPDY (kubectl before 1.31, and upstream's API server): a stream for each of the channels.

The client opens the streams that its options ask for and names each in the header ``streamtype``. The process's end is
told on the error stream, as a Status in JSON (v4) or as plain text and only of a failure (v2, v3)
(upstream: pkg/kubelet/cri/streaming/remotecommand).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from common.tunnel import Tunnel
from kubelet.cri import ExecSession, Stream
from kubelet.server import channels
from kubelet.server.channels import ProtocolError, Resize
from kubelet.server.session import ClientGone, Stdin, run_session
from kubelet.server.spdy.connection import SpdyConnection, SpdyStream
from kubelet.server.upgrade import upgrade

log = logging.getLogger("kubelet.server")

V4, V3, V2 = "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io"
PROTOCOLS = (V4, V3, V2)
CREATION_SECONDS = 30.0
"""How long the client may take to open its streams."""
CLOSE_SECONDS = 10.0
"""How long a client that has got everything may take to close the connection."""
_MAX_RESIZE = 1024


def expected_streams(protocol: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> frozenset[str]:
    """What the client is going to open. With a tty all output is on stdout, and sizes come from v3 on."""
    wanted = {"error": True, "stdin": stdin, "stdout": stdout, "stderr": stderr and not tty}
    wanted["resize"] = tty and protocol != V2
    return frozenset(name for name, asked in wanted.items() if asked)


async def serve_session(
    request: Request,
    tunnel: Tunnel,
    open_session: Callable[[], Awaitable[ExecSession]],
    command: Sequence[str],
    expected: Callable[[str], frozenset[str]],
) -> ASGIApp:
    """Opens the session, and gives what takes the connection over and stays until one of them ends.

    ``expected`` tells the streams of a protocol. Raises StatusError and RuntimeFailure before anything is answered.
    """
    protocol, head = upgrade(request, PROTOCOLS)
    session = await open_session()

    async def stay(scope: Scope, receive: Receive, send: Send) -> None:
        tunnel.accept(head)
        connection = SpdyConnection(tunnel)
        reading = asyncio.create_task(connection.run(), name="SPDY connection")
        try:
            client = await SpdyClient.of(connection, reading, protocol, expected(protocol))
            await run_session(client, session, command, request.url.path)
        except (ClientGone, TimeoutError) as error:
            reason = "timed out waiting for client to create streams" if isinstance(error, TimeoutError) else "gone"
            log.info("stream of %s ended: %s", request.url.path, reason)
        finally:
            reading.cancel()
            tunnel.close()
            await session.close()
            await asyncio.gather(reading, return_exceptions=True)

    return stay


class SpdyClient:
    """A :class:`kubelet.server.session.Client`."""

    def __init__(self, streams: dict[str, SpdyStream], reading: asyncio.Task[None], protocol: str) -> None:
        self._streams = streams
        self._reading = reading
        self._protocol = protocol
        self._sizes = bytearray()
        self._pending: dict[asyncio.Task[bytes], str] = {}
        """Reads that are under way, kept from one receive to the next so that none loses what it has read."""
        for name, stream in streams.items():
            if name in ("stdin", "resize"):
                self._read(name)
            else:
                stream.discard()

    @classmethod
    async def of(
        cls, connection: SpdyConnection, reading: asyncio.Task[None], protocol: str, expected: frozenset[str]
    ) -> SpdyClient:
        """Raises TimeoutError when the client does not open its streams in time."""
        streams: dict[str, SpdyStream] = {}
        async with asyncio.timeout(CREATION_SECONDS):
            while not expected <= streams.keys():
                stream = await connection.accept()
                if stream is None:
                    raise ClientGone
                name = stream.headers.get("streamtype", "")
                if name in expected and name not in streams:
                    streams[name] = stream
                else:
                    log.info("unexpected stream type: %r", name)
                    await stream.reset()
        return cls(streams, reading, protocol)

    async def receive(self) -> Stdin | Resize:
        while True:
            if (size := self._next_size()) is not None:
                return size
            await asyncio.wait({*self._pending, self._reading}, return_when=asyncio.FIRST_COMPLETED)
            gone = self._reading.done()
            for task in [task for task in self._pending if task.done()]:
                name, data = self._pending.pop(task), task.result()
                if data:
                    self._read(name)
                if name == "resize":
                    self._sizes += data
                elif data or not gone:
                    return Stdin(data)
            if gone:
                raise ClientGone

    def _read(self, name: str) -> None:
        self._pending[asyncio.create_task(self._streams[name].read(), name=f"SPDY {name}")] = name

    def _next_size(self) -> Resize | None:
        line, newline, rest = self._sizes.partition(b"\n")
        if newline:
            self._sizes = rest
            return channels.parse_resize(bytes(line))
        if len(line) > _MAX_RESIZE:
            raise ProtocolError("not a terminal size")
        return None

    async def send(self, stream: Stream, data: bytes) -> None:
        """Output that the client has not asked for goes nowhere."""
        if stream in self._streams:
            await self._write(stream, data)

    async def send_status(self, status: bytes) -> None:
        text = status if self._protocol == V4 else plain(status)
        if text:
            await self._write("error", text)

    async def _write(self, name: str, data: bytes) -> None:
        try:
            await self._streams[name].write(data)
        except ConnectionError:
            if self._reading.done():
                raise ClientGone from None
            # The client closed this one stream, as a shell's reader may do.

    async def close(self, *, protocol_error: bool) -> None:
        """The streams end first and the client closes the connection: what it has not read yet would be lost to it."""
        try:
            for task in self._pending:
                task.cancel()
            for stream in self._streams.values():
                stream.discard()
                if protocol_error:
                    await stream.reset()
                else:
                    await stream.finish()
        except ConnectionError:
            raise ClientGone from None
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.wait({self._reading})


def plain(status: bytes) -> bytes:
    """A Status as v2 and v3 tell it: nothing of a success, else the message."""
    decoded = json.loads(status)
    return b"" if decoded["status"] == "Success" else str(decoded["message"]).encode()
