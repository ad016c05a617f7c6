"""exec and attach: bytes between a client and a process in a container, whatever the client speaks.

Two tasks, one for each direction; each reads only when the other side has taken what it was given, so that neither a
fast process nor a fast client fills the memory. When the process ends its exit code is told to the client; when the
client goes the session is closed at once. ``websockets`` and ``remotecommand`` are the two kinds of client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.responses import PlainTextResponse

from common.api.status import StatusError
from kubelet.cri import ExecSession, RuntimeFailure, RuntimeNotFound, Stream
from kubelet.server import channels
from kubelet.server.channels import ProtocolError, Resize

log = logging.getLogger("kubelet.server")


@dataclass(frozen=True, slots=True)
class Stdin:
    """What the client types; b"" is the end of it."""

    data: bytes


class ClientGone(Exception):
    """The client ended the connection."""


class Client(Protocol):
    """The client's end of a session. All methods raise ClientGone."""

    async def receive(self) -> Stdin | Resize:
        """Raises ProtocolError for what cannot be read."""

    async def send(self, stream: Stream, data: bytes) -> None:
        """Waits while the client does not read."""

    async def send_status(self, status: bytes) -> None:
        """The Status (in JSON) that the session ends with; nothing is sent after it."""

    async def close(self, *, protocol_error: bool) -> None:
        """Ends the connection as the protocol wants it; boundedly."""


def refusal(error: StatusError | RuntimeFailure) -> PlainTextResponse:
    """The API server shows the text to the user."""
    if isinstance(error, StatusError):
        return PlainTextResponse(error.message, status_code=error.code)
    return PlainTextResponse(str(error), status_code=404 if isinstance(error, RuntimeNotFound) else 500)


async def run_session(client: Client, session: ExecSession, command: Sequence[str], name: str) -> None:
    """Until the process or the client ends. ``name`` is for the log."""
    output = asyncio.create_task(_output(client, session, command), name="stream output")
    inward = asyncio.create_task(_input(client, session), name="stream input")
    try:
        done, _ = await asyncio.wait({output, inward}, return_when=asyncio.FIRST_COMPLETED)
        error = inward in done and isinstance(inward.exception(), ProtocolError)
        if output in done or error:
            try:
                await client.close(protocol_error=error)
            except ClientGone:
                log.debug("the client of %s was gone first", name)
    finally:
        for task in (output, inward):
            task.cancel()
        for result in await asyncio.gather(output, inward, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, ClientGone):
                log.info("stream of %s ended: %s", name, result)


async def _output(client: Client, session: ExecSession, command: Sequence[str]) -> None:
    try:
        async for stream, data in session.frames():
            await client.send(stream, data)
        status = channels.exit_status(await session.exit_code(), command)
    except (RuntimeFailure, TimeoutError) as error:
        status = channels.failure(str(error) or "no answer")
    await client.send_status(status)


async def _input(client: Client, session: ExecSession) -> None:
    """Ends with the client."""
    stdin_open = True
    while True:
        match await client.receive():
            case Resize(width, height):
                await session.resize(width, height)
            case Stdin(data) if data and stdin_open:
                stdin_open = await _write(session, data)
            case Stdin() if stdin_open:
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
