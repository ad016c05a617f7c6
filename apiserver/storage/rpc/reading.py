"""What arrives: bytes, cut anywhere, into whole frames."""

from __future__ import annotations

from collections.abc import Iterator

from apiserver.storage.rpc import frames
from apiserver.storage.rpc.frames import HEAD, HEAD_SIZE, LAST_STREAM, ProtocolError

MAX_HEADERS = 64 * 1024
WHOLE = frames.END_HEADERS
UNUSUAL = WHOLE | frames.PADDED | frames.HAS_PRIORITY

Frame = tuple[int, int, int, bytes]
"""Kind, flags, stream, payload."""


class Reader:
    """Of one connection. A header block that came in several frames is one HEADERS frame here, without padding."""

    def __init__(self) -> None:
        self._rest = b""
        self._headers: Frame | None = None
        """A header block that goes on in the next frame."""

    def read(self, data: bytes) -> Iterator[Frame]:
        """The frames that end in ``data``. Raises ProtocolError."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= HEAD_SIZE:
            high, low, kind, flags, stream = HEAD.unpack_from(data, at)
            size = high << 8 | low
            if size > frames.MAX_FRAME:
                raise ProtocolError("a frame is too large", frames.FRAME_SIZE_ERROR)
            begin = at + HEAD_SIZE
            if begin + size > end:
                break
            at = begin + size
            frame = kind, flags, stream & LAST_STREAM, data[begin:at]
            if self._headers is None and (kind == frames.DATA or (kind == frames.HEADERS and flags & UNUSUAL == WHOLE)):
                yield frame  # nearly all
            elif kind == frames.HEADERS or kind == frames.CONTINUATION or self._headers is not None:
                if (whole := self._block(*frame)) is not None:
                    yield whole
            else:
                yield frame
        self._rest = data[at:] if at < end else b""

    def _block(self, kind: int, flags: int, stream: int, payload: bytes) -> Frame | None:
        """HEADERS, when its block is whole."""
        before, self._headers = self._headers, None
        if before is None:
            if kind == frames.CONTINUATION:
                raise ProtocolError("CONTINUATION of nothing")
            payload = frames.unpadded(flags, payload)
            if flags & frames.HAS_PRIORITY:
                payload = payload[5:]
        elif kind != frames.CONTINUATION or before[2] != stream:
            raise ProtocolError("a header block was interrupted")
        else:
            flags = before[1] | flags & frames.END_HEADERS
            payload = before[3] + payload
        whole = frames.HEADERS, flags, stream, payload
        if flags & frames.END_HEADERS:
            return whole
        if len(payload) > MAX_HEADERS:
            raise ProtocolError("headers are too large", frames.ENHANCE_YOUR_CALM)
        self._headers = whole
        return None
