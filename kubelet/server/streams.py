"""exec and attach: bytes between a WebSocket and a process in a container.

Two tasks, one for each direction; each reads only when the other side has taken what it was given, so that neither a
fast process nor a fast client fills the memory. When the process ends its exit code is told on the error channel; when
the client goes the session is closed at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from common.api.status import StatusError
from kubelet.server import channels
from kubelet.server.channels import ProtocolError
from kubelet.types import ExecSession, RuntimeFailure, RuntimeNotFound

log = logging.getLogger("kubelet.server")

_CHUNK = 32 * 1024
_NORMAL_CLOSURE, _PROTOCOL_ERROR = 1000, 1002


async def serve_session(
    websocket: WebSocket, open_session: Callable[[], Awaitable[ExecSession]], command: Sequence[str]
) -> None:
    """Opens the session, then the WebSocket, and stays until one of them ends."""
    protocol = channels.negotiate(websocket.scope.get("subprotocols", ()))
    if protocol is None:
        text = f"none of the subprotocols is supported, offer one of {', '.join(channels.PROTOCOLS)}"
        await websocket.send_denial_response(PlainTextResponse(text, status_code=400))
        return
    try:
        session = await open_session()
    except (StatusError, RuntimeFailure) as error:
        await websocket.send_denial_response(refusal(error))
        return
    try:
        await websocket.accept(subprotocol=protocol)
        await _pump(websocket, session, protocol, command)
    finally:
        await session.close()


def refusal(error: StatusError | RuntimeFailure) -> PlainTextResponse:
    """The API server shows the text to the user."""
    if isinstance(error, StatusError):
        return PlainTextResponse(error.message, status_code=error.code)
    return PlainTextResponse(str(error), status_code=404 if isinstance(error, RuntimeNotFound) else 500)


async def _pump(websocket: WebSocket, session: ExecSession, protocol: str, command: Sequence[str]) -> None:
    output = asyncio.create_task(_output(websocket, session, protocol, command), name="stream output")
    client = asyncio.create_task(_input(websocket, session, protocol), name="stream input")
    try:
        done, _ = await asyncio.wait({output, client}, return_when=asyncio.FIRST_COMPLETED)
        code = _PROTOCOL_ERROR if client in done and isinstance(client.exception(), ProtocolError) else _NORMAL_CLOSURE
        if output in done or code == _PROTOCOL_ERROR:
            await _close(websocket, code)
    finally:
        for task in (output, client):
            task.cancel()
        for result in await asyncio.gather(output, client, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                log.info("stream of %s ended: %s", websocket.url.path, result)


async def _output(websocket: WebSocket, session: ExecSession, protocol: str, command: Sequence[str]) -> None:
    numbers = {"stdout": channels.STDOUT, "stderr": channels.STDERR}
    try:
        async for stream, data in session.frames():
            for start in range(0, len(data), _CHUNK):
                await _send(websocket, numbers[stream], data[start : start + _CHUNK], protocol)
        status = channels.exit_status(await session.exit_code(), command)
    except (RuntimeFailure, TimeoutError) as error:
        status = channels.failure(f"error executing command in container: {error or 'no answer'}")
    await _send(websocket, channels.ERROR, status, protocol)


async def _input(websocket: WebSocket, session: ExecSession, protocol: str) -> None:
    """Ends when the client goes, raises ProtocolError for what cannot be read."""
    stdin_open = True
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        frame = channels.decode(message.get("bytes") or b"" if text is None else text, protocol)
        if frame.channel == channels.STDIN and stdin_open and frame.data:
            stdin_open = await _write(session, frame.data)
        elif frame.channel == channels.RESIZE:
            size = channels.parse_resize(frame.data)
            await session.resize(size.width, size.height)
        elif stdin_open and protocol == channels.V5 and channels.closes_stdin(frame):
            stdin_open = False
            await session.close_stdin()


async def _write(session: ExecSession, data: bytes) -> bool:
    """False once the process takes no more input (it may well go on writing)."""
    try:
        await session.write(data)
    except (OSError, RuntimeFailure) as error:
        log.debug("stdin is closed: %s", error)
        return False
    return True


async def _send(websocket: WebSocket, channel: int, data: bytes, protocol: str) -> None:
    message = channels.encode(channel, data, protocol)
    if isinstance(message, str):
        await websocket.send_text(message)
    else:
        await websocket.send_bytes(message)


async def _close(websocket: WebSocket, code: int) -> None:
    try:
        await websocket.close(code)
    except (RuntimeError, WebSocketDisconnect):
        log.debug("the client of %s was gone first", websocket.url.path)
