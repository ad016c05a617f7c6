"""HTTP/2 frames as bytes (RFC 9113, sections 4 and 6)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

HEAD = struct.Struct(">HBBBI")
"""Length (in two parts), type, flags, stream."""
HEAD_SIZE = HEAD.size
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME = 16384
"""The largest payload until the peer allows more; what a peer may send here."""
DEFAULT_WINDOW = 65535
MAX_WINDOW = 2**31 - 1
LAST_STREAM = 2**31 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = range(4)
FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = range(6, 10)
ENHANCE_YOUR_CALM, INADEQUATE_SECURITY = 11, 12


class ProtocolError(Exception):
    """The peer broke HTTP/2: the connection ends. ``code`` is what it is told."""

    def __init__(self, text: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes | memoryview = b"") -> bytes:
    size = len(payload)
    return HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def settings(values: Mapping[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *item) for item in values.items()))


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Raises ProtocolError."""
    if len(payload) % 6:
        raise ProtocolError("SETTINGS of a broken size", FRAME_SIZE_ERROR)
    return struct.iter_unpack(">HI", payload)


def window_update(stream: int, size: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def reset(stream: int, code: int) -> bytes:
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def word(payload: bytes, at: int = 0) -> int:
    """The number of four bytes at ``at``. Raises ProtocolError."""
    if len(payload) < at + 4:
        raise ProtocolError("a frame is too short", FRAME_SIZE_ERROR)
    return int.from_bytes(payload[at : at + 4], "big")


def unpadded(flags: int, payload: bytes) -> bytes:
    """The content of DATA or HEADERS. Raises ProtocolError."""
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload or payload[0] >= end:
            raise ProtocolError("padding is longer than its frame")
        start, end = 1, end - payload[0]
    return payload[start:end]
