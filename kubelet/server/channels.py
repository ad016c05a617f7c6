"""The framing of exec, attach and their kin over WebSocket: ``v5.channel.k8s.io`` and ``v4.channel.k8s.io``.

Each binary message starts with the number of its channel. v5 adds a signal that closes one channel, by which the end of
stdin reaches the process (KEP-4006). In the base64 variant the number is a digit and the rest base64 text. Pure.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
V5 = "v5.channel.k8s.io"
V4 = "v4.channel.k8s.io"
V4_BASE64 = "v4.base64.channel.k8s.io"
PROTOCOLS = (V5, V4, V4_BASE64)


class ProtocolError(Exception):
    """A message that is none of the protocol's."""


@dataclass(frozen=True, slots=True)
class Frame:
    channel: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    width: int
    height: int


def negotiate(offered: Iterable[str]) -> str | None:
    """The newest protocol that the client offers too."""
    held = set(offered)
    return next((protocol for protocol in PROTOCOLS if protocol in held), None)


def decode(message: bytes | str, protocol: str) -> Frame:
    if protocol == V4_BASE64:
        text = message if isinstance(message, str) else message.decode("ascii", "replace")
        if text[:1] not in tuple("0123456789"):
            raise ProtocolError("a message must start with its channel")
        try:
            return Frame(int(text[0]), base64.b64decode(text[1:], validate=True))
        except ValueError as error:
            raise ProtocolError(f"not base64: {error}") from error
    data = message.encode() if isinstance(message, str) else message
    if not data:
        raise ProtocolError("a message must start with its channel")
    return Frame(data[0], data[1:])


def encode(channel: int, data: bytes, protocol: str) -> bytes | str:
    if protocol == V4_BASE64:
        return f"{channel}{base64.b64encode(data).decode()}"
    return bytes((channel,)) + data


def parse_resize(data: bytes) -> Resize:
    """``{"Width": 80, "Height": 24}``; names in any case, as Go reads them."""
    try:
        values = {str(name).lower(): int(value) for name, value in json.loads(data).items()}
        width, height = values["width"], values["height"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError("not a terminal size") from error
    if not (0 <= width < 1 << 16 and 0 <= height < 1 << 16):
        raise ProtocolError("not a terminal size")
    return Resize(width, height)


def closes_stdin(frame: Frame) -> bool:
    """v5: channel 255 names the channel that the client will write no more to."""
    return frame.channel == CLOSE and frame.data[:1] == bytes((STDIN,))


def success() -> bytes:
    return _status({"metadata": {}, "status": "Success"})


def exit_status(code: int, command: Sequence[str]) -> bytes:
    """The Status that ends a stream; clients read the exit code from its cause."""
    if code == 0:
        return success()
    message = (
        f"command terminated with non-zero exit code: error executing command [{' '.join(command)}], exit code {code}"
    )
    causes = [{"reason": "ExitCode", "message": str(code)}]
    details = {"causes": causes}
    return _status(
        {"metadata": {}, "status": "Failure", "message": message, "reason": "NonZeroExitCode", "details": details}
    )


def failure(error: object) -> bytes:
    """A command that could not be begun, or was lost."""
    message = f"error executing command in container: {error}"
    return _status(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"Internal error occurred: {message}",
            "reason": "InternalError",
            "details": {"causes": [{"message": message}]},
            "code": 500,
        }
    )


def _status(status: dict[str, Any]) -> bytes:
    return json.dumps(status, separators=(",", ":")).encode()
