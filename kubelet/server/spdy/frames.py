"""SPDY/3.1's frames to bytes and back. Sans I/O: bytes go in as they come, frames come out.

Header blocks share one zlib stream for each direction, so an encoder and a decoder live as long as their connection,
and every block must be encoded in the order of sending. A DATA frame may be 16 MiB long: its bytes are handed on in
the pieces they arrive in, and nothing here holds more than one control frame.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from kubelet.server.spdy.dictionary import DICTIONARY

FIN, UNIDIRECTIONAL = 1, 2
PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 1, 3, 5
"""Statuses of RST_STREAM."""
GOAWAY_OK, GOAWAY_PROTOCOL_ERROR = 0, 1
MAX_CONTROL = 64 * 1024
"""Bytes of a control frame, and of its headers when decompressed."""
MAX_DATA = (1 << 24) - 1

_VERSION = 3
_STREAM_ID = 0x7FFF_FFFF
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _HEADERS, _WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9

Headers = Mapping[str, str]
"""Names are in lower case. Several values of one name are joined by NUL."""


class SpdyError(Exception):
    """What the peer sent is not SPDY/3.1, or more than is taken. The connection cannot go on."""


@dataclass(frozen=True, slots=True)
class SynStream:
    stream_id: int
    headers: Headers = field(default_factory=dict)
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SynReply:
    stream_id: int
    headers: Headers = field(default_factory=dict)
    fin: bool = False


@dataclass(frozen=True, slots=True)
class RstStream:
    stream_id: int
    status: int


@dataclass(frozen=True, slots=True)
class Settings:
    values: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Ping:
    ping_id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    last_stream_id: int
    status: int = GOAWAY_OK


@dataclass(frozen=True, slots=True)
class MoreHeaders:
    """HEADERS: of a stream that is open already."""

    stream_id: int
    headers: Headers
    fin: bool = False


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    stream_id: int
    delta: int


@dataclass(frozen=True, slots=True)
class Data:
    stream_id: int
    data: bytes
    fin: bool = False


Frame = SynStream | SynReply | RstStream | Settings | Ping | GoAway | MoreHeaders | WindowUpdate | Data


class Encoder:
    """Frames to bytes, for one direction of one connection."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, frame: Frame) -> bytes:
        match frame:
            case Data(stream_id, data, fin):
                if len(data) > MAX_DATA:
                    raise ValueError("longer than a DATA frame can be")
                return struct.pack(">II", stream_id, (FIN if fin else 0) << 24 | len(data)) + data
            case SynStream(stream_id, headers, fin, unidirectional, associated, priority):
                flags = (FIN if fin else 0) | (UNIDIRECTIONAL if unidirectional else 0)
                head = struct.pack(">IIBB", stream_id, associated, priority << 5, 0)
                return _control(_SYN_STREAM, head + self._block(headers), flags)
            case SynReply(stream_id, headers, fin):
                return _control(_SYN_REPLY, struct.pack(">I", stream_id) + self._block(headers), FIN if fin else 0)
            case MoreHeaders(stream_id, headers, fin):
                return _control(_HEADERS, struct.pack(">I", stream_id) + self._block(headers), FIN if fin else 0)
            case RstStream(stream_id, status):
                return _control(_RST_STREAM, struct.pack(">II", stream_id, status))
            case Settings(values):
                entries = b"".join(struct.pack(">II", number, value) for number, value in values.items())
                return _control(_SETTINGS, struct.pack(">I", len(values)) + entries)
            case Ping(ping_id):
                return _control(_PING, struct.pack(">I", ping_id))
            case GoAway(last_stream_id, status):
                return _control(_GOAWAY, struct.pack(">II", last_stream_id, status))
            case WindowUpdate(stream_id, delta):
                return _control(_WINDOW_UPDATE, struct.pack(">II", stream_id, delta))

    def _block(self, headers: Headers) -> bytes:
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower(), value):
                encoded = text.encode("utf-8")
                parts += (struct.pack(">I", len(encoded)), encoded)
        return self._zlib.compress(b"".join(parts)) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class Decoder:
    """Bytes to frames. After an error it must not be used again."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)
        self._buffer = bytearray()
        self._stream_id, self._left, self._fin = 0, 0, False
        """The DATA frame that is under way, and how much of it is still to come."""
        self._payloads: Mapping[int, Callable[[int, bytes], Frame]] = {
            _SYN_STREAM: self._syn_stream,
            _SYN_REPLY: self._syn_reply,
            _RST_STREAM: lambda flags, payload: RstStream(*_pair(payload)),
            _SETTINGS: lambda flags, payload: _settings(payload),
            _PING: lambda flags, payload: Ping(*_unpack(">I", payload)),
            _GOAWAY: lambda flags, payload: GoAway(*_pair(payload)),
            _HEADERS: self._headers,
            _WINDOW_UPDATE: lambda flags, payload: WindowUpdate(*_pair(payload)),
        }

    def feed(self, data: bytes) -> Iterator[Frame]:
        """All frames that are complete now; raises SpdyError. Must be read to its end before the next call."""
        self._buffer += data
        while True:
            if self._left:
                if not self._buffer:
                    return
                piece = bytes(self._buffer[: self._left])
                del self._buffer[: len(piece)]
                self._left -= len(piece)
                yield Data(self._stream_id, piece, self._fin and not self._left)
                continue
            if len(self._buffer) < 8:
                return
            first, second = struct.unpack_from(">II", self._buffer)
            flags, length = second >> 24, second & MAX_DATA
            if first & ~_STREAM_ID == 0:
                del self._buffer[:8]
                self._begin_data(first, flags, length)
                if not length:
                    yield Data(first, b"", bool(flags & FIN))
                continue
            if length > MAX_CONTROL:
                raise SpdyError(f"a control frame of {length} bytes")
            if len(self._buffer) < 8 + length:
                return
            payload = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            frame = self._control_frame(first, flags, payload)
            if frame is not None:
                yield frame

    def _begin_data(self, stream_id: int, flags: int, length: int) -> None:
        if stream_id == 0:
            raise SpdyError("DATA of no stream")
        self._stream_id, self._left, self._fin = stream_id, length, bool(flags & FIN)

    def _control_frame(self, first: int, flags: int, payload: bytes) -> Frame | None:
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != _VERSION:
            raise SpdyError(f"version {version} of SPDY")
        parse = self._payloads.get(kind)
        # A receiver ignores the control frames that it does not know.
        return parse(flags, payload) if parse is not None else None

    def _syn_stream(self, flags: int, payload: bytes) -> Frame:
        stream_id, associated, priority, _ = _unpack(">IIBB", payload[:10])
        headers = self._read_block(payload[10:])
        return SynStream(
            stream_id & _STREAM_ID,
            headers,
            bool(flags & FIN),
            bool(flags & UNIDIRECTIONAL),
            associated & _STREAM_ID,
            priority >> 5,
        )

    def _syn_reply(self, flags: int, payload: bytes) -> Frame:
        (stream_id,) = _unpack(">I", payload[:4])
        return SynReply(stream_id & _STREAM_ID, self._read_block(payload[4:]), bool(flags & FIN))

    def _headers(self, flags: int, payload: bytes) -> Frame:
        (stream_id,) = _unpack(">I", payload[:4])
        return MoreHeaders(stream_id & _STREAM_ID, self._read_block(payload[4:]), bool(flags & FIN))

    def _read_block(self, compressed: bytes) -> Headers:
        try:
            block = self._zlib.decompress(compressed, MAX_CONTROL)
        except zlib.error as error:
            raise SpdyError(f"headers cannot be decompressed: {error}") from None
        if len(block) >= MAX_CONTROL or self._zlib.unconsumed_tail or self._zlib.eof:
            raise SpdyError("a block of headers is too long, or ends the compression")
        (count,) = _unpack(">I", block[:4])
        headers: dict[str, str] = {}
        offset = 4
        for _ in range(count):
            name, offset = _text(block, offset)
            value, offset = _text(block, offset)
            if not name or name != name.lower() or name in headers:
                raise SpdyError("a header's name is empty, not in lower case, or there twice")
            headers[name] = value
        if offset != len(block):
            raise SpdyError("a block of headers is longer than its headers")
        return headers


def _control(kind: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack(">HHI", 0x8000 | _VERSION, kind, flags << 24 | len(payload)) + payload


def _unpack(layout: str, payload: bytes) -> tuple[int, ...]:
    if len(payload) != struct.calcsize(layout):
        raise SpdyError("a control frame of the wrong length")
    return struct.unpack(layout, payload)


def _pair(payload: bytes) -> tuple[int, int]:
    """A stream's id (whose first bit is reserved, as that of a window's delta) and a number."""
    stream_id, number = _unpack(">II", payload)
    return stream_id & _STREAM_ID, number


def _settings(payload: bytes) -> Settings:
    (count,) = _unpack(">I", payload[:4])
    if len(payload) != 4 + 8 * count:
        raise SpdyError("a control frame of the wrong length")
    pairs = struct.iter_unpack(">II", payload[4:])
    return Settings({number & 0xFF_FFFF: value for number, value in pairs})


def _text(block: bytes, offset: int) -> tuple[str, int]:
    (length,) = _unpack(">I", block[offset : offset + 4])
    end = offset + 4 + length
    if end > len(block):
        raise SpdyError("a header is longer than its block")
    return block[offset + 4 : end].decode("utf-8", "replace"), end
