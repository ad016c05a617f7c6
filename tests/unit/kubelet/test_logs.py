"""Logs without Docker: its files read on from any place, copies that are cut off anywhere, what readers are shown."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubelet.logs.copy import LogCopy
from kubelet.logs.reader import LogOptions, as_text, tail_offset
from kubelet.runtime.logfiles import Position, decode, read
from kubelet.runtime.spec import LogLimits

BEGIN = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
LIMITS = LogLimits(max_size=10_000, max_files=3)


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def frame(text: bytes, number: int, *, stream: bytes = b"stdout", part: str = "", ordinal: int = 1) -> bytes:
    """As Docker writes it; ``part`` "more" or "last" of a longer line, whose parts have one time and are numbered."""
    message = b"\x0a\x06" + stream + b"\x10" + varint(BEGIN + number)
    message += b"\x1a" + varint(len(text)) + text if text else b""
    if part:
        metadata = (b"\x08\x01" if part == "last" else b"") + b"\x12\x02id\x18" + varint(ordinal)
        message += b"\x20\x01\x2a" + varint(len(metadata)) + metadata
    length = len(message).to_bytes(4, "big")
    return length + message + length


def lines(*texts: bytes) -> list[bytes]:
    stamped = enumerate(texts)
    return [b"2026-01-01T00:00:00.%09dZ stdout F %b\n" % (number, text) for number, text in stamped]


def test_frames_become_lines() -> None:
    data = frame(b"one", 0) + frame(b"", 1) + frame(b"x" * 300, 2) + frame(b"\xff\x00\r", 3)
    assert decode(data) == (lines(b"one", b"", b"x" * 300, b"\xff\x00\r"), len(data))
    data = frame(b"a" * 16384, 0, part="more") + frame(b"b" * 200, 1, part="last") + frame(b"e", 2, stream=b"stderr")
    found, used = decode(data)
    assert [line[31:39] for line in found] == [b"stdout P", b"stdout F", b"stderr F"] and used == len(data)


@pytest.mark.parametrize("cut", range(1, len(frame(b"two", 1))))
def test_a_frame_that_is_not_all_there_is_left(cut: int) -> None:
    whole = frame(b"one", 0)
    found, used = decode(whole + frame(b"two", 1)[:cut])
    assert (found, used) == (lines(b"one"), len(whole))


def test_what_is_no_frame_is_passed_over() -> None:
    torn = frame(b"lost lost lost", 5)[:20]
    found, _ = decode(frame(b"one", 0) + torn + frame(b"two", 1) + b"\x00" * 40 + frame(b"three", 2))
    assert found == lines(b"one", b"two", b"three")


class Docker:
    """Writes and rotates as Docker does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0
        folder.mkdir()

    def write(self, *texts: bytes) -> None:
        with (self.folder / "container.log").open("ab") as file:
            for text in texts:
                file.write(frame(text, self.number))
                self.number += 1

    def rotate(self, keep: int = 3) -> None:
        for index in range(keep - 1, 0, -1):
            source = self.folder / ("container.log" if index == 1 else f"container.log.{index - 1}")
            if source.exists():
                source.rename(self.folder / f"container.log.{index}")
        (self.folder / "container.log").touch()


def test_reading_goes_on_over_rotations(tmp_path: Path) -> None:
    docker = Docker(tmp_path / "d")
    assert read(tmp_path / "none", Position()).lines == []
    docker.write(b"0")
    batch = read(docker.folder, Position())
    docker.write(b"1")
    docker.rotate()
    docker.write(b"2")
    docker.rotate()
    docker.write(b"3")
    found = [*batch.lines]
    while (batch := read(docker.folder, batch.position)).lines:
        found += batch.lines
        assert not batch.lost
    assert found == lines(b"0", b"1", b"2", b"3")
    for _ in range(3):
        docker.rotate()
        docker.write(b"x")
    assert read(docker.folder, batch.position).lost


def test_a_line_without_an_end_goes_over_rotations_too(tmp_path: Path) -> None:
    docker = Docker(tmp_path / "d")
    position, found = Position(), []
    for ordinal in range(1, 13):
        with (docker.folder / "container.log").open("ab") as file:
            file.write(frame(b"z" * 200, 0, part="more", ordinal=ordinal))
        if ordinal % 2 == 0:
            docker.rotate()
        if ordinal % 3 == 0:
            while (batch := read(docker.folder, position)).lines:
                found += batch.lines
                position = batch.position
                assert not batch.lost
    assert len(found) == 12


@pytest.mark.parametrize("torn", [frame(b"a" * 50, 9)[:30], b"\xff" * 70])
def test_a_file_that_begins_with_half_a_frame_is_read_once(tmp_path: Path, torn: bytes) -> None:
    """The disk was full when it was begun."""
    docker = Docker(tmp_path / "d")
    (docker.folder / "container.log").write_bytes(torn)
    docker.write(*[b"x"] * 5)
    first = read(docker.folder, Position())
    assert first.lines == lines(*[b"x"] * 5)
    docker.write(b"y")
    again = read(docker.folder, first.position)
    assert len(again.lines) == 1 and not again.lost


def copied(path: Path) -> bytes:
    rotated = sorted(path.parent.glob(f"{path.name}.*"))
    data = b"".join(gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() for p in rotated)
    return data + path.read_bytes()


def run(copy: LogCopy) -> None:
    while copy.step().more:
        pass


@pytest.mark.parametrize("lost", ["", "state", "written"])
def test_a_copy_goes_on_where_another_ended(tmp_path: Path, lost: str) -> None:
    """``lost``: what the earlier kubelet had not written down when it was killed."""
    docker, path, state = Docker(tmp_path / "d"), tmp_path / "0.log", tmp_path / "s"
    docker.write(b"one", b"two")
    run(LogCopy(docker.folder, path, state, LIMITS))
    noted = state.read_bytes()
    docker.write(b"three", b"four")
    run(LogCopy(docker.folder, path, state, LIMITS))
    if lost == "state":
        state.write_bytes(noted)
    elif lost == "written":
        state.write_bytes(noted)
        os.truncate(path, path.stat().st_size - 10)  # in the middle of a line
    docker.write(b"five")
    run(LogCopy(docker.folder, path, state, LIMITS))
    assert path.read_bytes() == b"".join(lines(b"one", b"two", b"three", b"four", b"five"))


@pytest.mark.parametrize("killed", [False, True])
def test_a_copy_is_rotated(tmp_path: Path, killed: bool) -> None:
    docker, path, state = Docker(tmp_path / "d"), tmp_path / "0.log", tmp_path / "s"
    copy = LogCopy(docker.folder, path, state, LIMITS)
    for _ in range(6):
        docker.write(*[b"x" * 100] * 90)
        run(copy)
        if killed:
            copy = LogCopy(docker.folder, path, state, LIMITS)
    names = sorted(each.name for each in tmp_path.iterdir() if each.name.startswith("0.log"))
    assert len(names) == 3 and names[0] == "0.log" and names[1].endswith(".gz") and not names[2].endswith(".gz")
    assert b"".join(lines(*[b"x" * 100] * 540)).endswith(copied(path))
    copy.remove()
    assert [each.name for each in tmp_path.iterdir()] == ["d"]


def test_a_copy_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    docker, path = Docker(tmp_path / "d"), tmp_path / "f" / "0.log"
    docker.write(b"one")
    copy = LogCopy(docker.folder, path, tmp_path / "s", LIMITS)
    with pytest.raises(OSError):
        copy.step()
    path.parent.mkdir()
    run(copy)
    assert path.read_bytes() == b"".join(lines(b"one"))


def test_the_last_lines(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a\nbb\nccc\n")
    with path.open("rb") as file:
        offsets = [tail_offset(file.fileno(), 9, count) for count in range(5)]
    assert offsets == [9, 5, 2, 0, 0]


def test_what_a_reader_is_shown() -> None:
    def line(second: int, tag: str, text: str) -> bytes:
        return f"2026-01-01T00:00:{second:02}.000000000Z stdout {tag} {text}\n".encode()

    data = line(1, "F", "one") + line(2, "P", "tw") + line(3, "F", "o") + b"nonsense\n" + line(4, "P", "end\r")
    assert as_text(data, LogOptions(), False) == (b"one\ntwo\nend\r", True)
    stamped, _ = as_text(data, LogOptions(timestamps=True), False)
    assert [each[:20] for each in stamped.split(b"\n")] == [b"2026-01-01T00:00:%02d." % n for n in (1, 2, 4)]
    since = datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)
    assert as_text(data, LogOptions(since=since), False)[0] == b"o\nend\r"
