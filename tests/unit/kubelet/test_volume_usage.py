"""What files take of the disk."""

from __future__ import annotations

import os
from pathlib import Path

from kubelet.volumes.usage import file_system_usage, tree_usage


def test_files_count_by_what_they_occupy_and_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    empty = tree_usage(tmp_path)
    assert empty.inodes == 2
    (tmp_path / "folder" / "file").write_bytes(b"x" * 100_000)
    one = tree_usage(tmp_path)
    assert 100_000 <= one.bytes - empty.bytes <= 110_000 and one.inodes == 3
    os.link(tmp_path / "folder" / "file", tmp_path / "second")
    with (tmp_path / "hole").open("wb") as hole:
        hole.truncate(1 << 30)
    (tmp_path / "elsewhere").symlink_to("/usr")
    more = tree_usage(tmp_path)
    assert more.bytes - one.bytes < 10_000 and more.inodes == 5


def test_what_is_not_there_takes_nothing(tmp_path: Path) -> None:
    assert tree_usage(tmp_path / "nothing").bytes == 0
    assert file_system_usage(tmp_path / "nothing").inodes == 0
    (tmp_path / "file").write_bytes(b"x" * 5000)
    assert tree_usage(tmp_path / "file").bytes >= 5000
