"""SPDY's frames: they come back whatever the chunking, and garbage is an error and never a hang."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet.server.spdy.dictionary import ADLER32, DICTIONARY
from kubelet.server.spdy.frames import (
    MAX_CONTROL,
    MAX_DATA,
    Data,
    Decoder,
    Encoder,
    Frame,
    GoAway,
    MoreHeaders,
    Ping,
    RstStream,
    Settings,
    SpdyError,
    SynReply,
    SynStream,
    WindowUpdate,
)

ids = st.integers(1, (1 << 31) - 1)
numbers = st.integers(0, (1 << 31) - 1)
names = st.text("abcdefghijklmnopqrstuvwxyz-:", min_size=1, max_size=20)
headers = st.dictionaries(names, st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace").decode()))
frames = st.one_of(
    st.builds(SynStream, ids, headers, st.booleans(), st.booleans(), numbers, st.integers(0, 7)),
    st.builds(SynReply, ids, headers, st.booleans()),
    st.builds(MoreHeaders, ids, headers, st.booleans()),
    st.builds(RstStream, ids, numbers),
    st.builds(Settings, st.dictionaries(st.integers(0, (1 << 24) - 1), numbers, max_size=5)),
    st.builds(Ping, numbers),
    st.builds(GoAway, numbers, numbers),
    st.builds(WindowUpdate, ids, numbers),
    st.builds(Data, ids, st.binary(max_size=300), st.booleans()),
)


def joined(decoded: Iterable[Frame]) -> list[Frame]:
    """The pieces of one stream's data put together."""
    found: list[Frame] = []
    for frame in decoded:
        last = found[-1] if found else None
        if isinstance(frame, Data) and isinstance(last, Data) and last.stream_id == frame.stream_id and not last.fin:
            found[-1] = Data(last.stream_id, last.data + frame.data, frame.fin)
        else:
            found.append(frame)
    return found


def decode(data: bytes, cuts: Iterable[int] = ()) -> list[Frame]:
    decoder = Decoder()
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(bounds)]
    return [frame for piece in pieces for frame in decoder.feed(piece)]


def control(kind: int, payload: bytes, version: int = 3) -> bytes:
    return struct.pack(">HHI", 0x8000 | version, kind, len(payload)) + payload


def test_the_dictionary_is_the_specifications() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, ADLER32)


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 2000), max_size=30))
def test_frames_come_back_however_the_bytes_are_cut(sent: list[Frame], cuts: list[int]) -> None:
    encoder = Encoder()
    data = b"".join(encoder.encode(frame) for frame in sent)
    assert joined(decode(data, cuts)) == joined(sent)


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=10))
def test_garbage_is_an_error_or_waits_for_more(data: bytes, cuts: list[int]) -> None:
    try:
        found = decode(data, cuts)
    except SpdyError:
        return
    assert sum(len(frame.data) for frame in found if isinstance(frame, Data)) <= len(data)


@given(st.integers(1, 9), st.binary(max_size=100))
def test_control_frames_of_garbage(kind: int, payload: bytes) -> None:
    """Every one is answered for at once: nothing is left to wait for."""
    decoder = Decoder()
    try:
        found = list(decoder.feed(control(kind, payload)))
    except SpdyError:
        return
    assert len(found) == (1 if kind != 5 else 0)
    assert list(decoder.feed(Encoder().encode(Ping(7)))) == [Ping(7)]


def test_data_is_handed_on_as_it_comes() -> None:
    decoder = Decoder()
    head = struct.pack(">II", 1, 1 << 24 | MAX_DATA)
    assert list(decoder.feed(head + b"abc")) == [Data(1, b"abc")]
    assert list(decoder.feed(b"d")) == [Data(1, b"d")]


def compressed(block: bytes) -> bytes:
    packer = zlib.compressobj(zdict=DICTIONARY)
    return packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)


def text(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


@pytest.mark.parametrize(
    "data",
    [
        control(6, b"\0\0\0\1", version=2),
        control(6, b"\0\0\0\1\0"),
        control(3, b"\0\0\0\1"),
        control(4, b"\0\0\0\2" + bytes(8)),
        struct.pack(">HHI", 0x8003, 1, MAX_CONTROL + 1),
        struct.pack(">II", 0, 3) + b"abc",
        control(2, b"\0\0\0\1" + b"not compressed"),
        control(2, b"\0\0\0\1" + compressed(struct.pack(">I", 1) + text(b"Upper") + text(b"x"))),
        control(2, b"\0\0\0\1" + compressed(struct.pack(">I", 2) + (text(b"a") + text(b"x")) * 2)),
        control(2, b"\0\0\0\1" + compressed(struct.pack(">I", 1) + text(b"a") + struct.pack(">I", 1 << 30))),
        control(2, b"\0\0\0\1" + compressed(struct.pack(">I", 0xFFFF_FFFF))),
        control(2, b"\0\0\0\1" + compressed(struct.pack(">I", 1) + text(b"a") + text(bytes(1 << 22)))),
    ],
    ids=[
        *("another version", "ping of 5 bytes", "reset of 4 bytes", "settings missing", "too long", "no stream"),
        *("not zlib", "upper case", "name twice", "value too long", "headers missing", "a bomb"),
    ],
)
def test_what_is_not_spdy(data: bytes) -> None:
    with pytest.raises(SpdyError):
        decode(data)
