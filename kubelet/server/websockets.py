"""exec and attach over WebSocket (kubectl from 1.31 on): messages that start with the number of their channel.

A client makes its streams when the connection is open, and client-go before 1.34 loses what comes earlier: the output
of a quick command, while the exit code is 0 (https://github.com/kubernetes/kubernetes/pull/131203). So the command is
begun when the connection is open, and what it writes is held for a moment; with upstream's two hops that much passes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from common.api.status import StatusError
from kubelet.cri import ExecSession, RuntimeFailure, Stream
from kubelet.server import channels
from kubelet.server.channels import Resize
from kubelet.server.session import ClientGone, Stdin, refusal, run_session

log = logging.getLogger("kubelet.server")

SETTLE_SECONDS = 0.1
"""From the opening of the connection to its first message; Docker takes about as long to begin a command."""
_CHUNK = 32 * 1024
_NORMAL_CLOSURE, _PROTOCOL_ERROR = 1000, 1002
_CHANNELS = {"stdout": channels.STDOUT, "stderr": channels.STDERR}


async def serve_session(
    websocket: WebSocket,
    check: Callable[[], object],
    open_session: Callable[[], Awaitable[ExecSession]],
    command: Sequence[str],
) -> None:
    """Opens the WebSocket, if ``check`` raises nothing, then the session, and stays until one of them ends."""
    protocol = channels.negotiate(websocket.scope.get("subprotocols", ()))
    if protocol is None:
        text = f"none of the subprotocols is supported, offer one of {', '.join(channels.PROTOCOLS)}"
        await websocket.send_denial_response(PlainTextResponse(text, status_code=400))
        return
    try:
        check()
    except (StatusError, RuntimeFailure) as error:
        await websocket.send_denial_response(refusal(error))
        return
    await websocket.accept(subprotocol=protocol)
    client = WebSocketClient(websocket, protocol)
    try:
        session = await open_session()
    except (StatusError, RuntimeFailure) as error:
        with suppress(ClientGone):
            await client.send_status(channels.failure(error))
            await client.close(protocol_error=False)
        return
    try:
        await run_session(client, session, command, websocket.url.path)
    finally:
        await session.close()


class WebSocketClient:
    """A :class:`kubelet.server.session.Client`, of a connection that was opened now."""

    def __init__(self, websocket: WebSocket, protocol: str) -> None:
        self._websocket = websocket
        self._protocol = protocol
        self._settled = asyncio.get_running_loop().time() + SETTLE_SECONDS

    async def receive(self) -> Stdin | Resize:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise ClientGone
            text = message.get("text")
            frame = channels.decode(message.get("bytes") or b"" if text is None else text, self._protocol)
            if frame.channel == channels.STDIN and frame.data:
                return Stdin(frame.data)
            if frame.channel == channels.RESIZE:
                return channels.parse_resize(frame.data)
            if self._protocol == channels.V5 and channels.closes_stdin(frame):
                return Stdin(b"")

    async def send(self, stream: Stream, data: bytes) -> None:
        for start in range(0, len(data), _CHUNK):
            await self._send(_CHANNELS[stream], data[start : start + _CHUNK])

    async def send_status(self, status: bytes) -> None:
        await self._send(channels.ERROR, status)

    async def _send(self, channel: int, data: bytes) -> None:
        message = channels.encode(channel, data, self._protocol)
        if (left := self._settled - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)
        try:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
        except WebSocketDisconnect:
            raise ClientGone from None

    async def close(self, *, protocol_error: bool) -> None:
        try:
            await self._websocket.close(_PROTOCOL_ERROR if protocol_error else _NORMAL_CLOSURE)
        except (RuntimeError, WebSocketDisconnect):
            raise ClientGone from None
