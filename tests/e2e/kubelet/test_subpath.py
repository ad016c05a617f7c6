"""subPath with real mounts: what is mounted is what is beneath the volume, whatever others do to it meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubelet.types import SubPath, VolumeError
from kubelet.volumes.manager import _remove_volumes
from kubelet.volumes.mounts import mounts_below
from kubelet.volumes.subpath import SubPaths

UID = "uid-1"


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "user"
    folder.mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "mark").write_text("of the host")
    yield folder
    _remove_volumes(tmp_path / "pods" / UID)
    assert mounts_below(tmp_path) == []
    assert not (tmp_path / "pods" / UID).exists()


def bind(tmp_path: Path, volume: Path, sub_path: str, index: int = 0) -> Path:
    return Path(SubPaths(tmp_path).bind(SubPath(UID, "data", "app", index, str(volume), sub_path)))


def test_folders_and_files_are_mounted_at_a_place_of_the_kubelet_s(tmp_path: Path, volume: Path) -> None:
    (volume / "file").write_text("content")
    target = bind(tmp_path, volume, "some/folder")
    assert target == tmp_path / "pods" / UID / "volume-subpaths/data/app/0"
    (volume / "some/folder/new").write_text("seen")
    assert (target / "new").read_text() == "seen"
    assert bind(tmp_path, volume, "file", 1).read_text() == "content"
    assert len(mounts_below(tmp_path)) == 2


def test_the_same_again_is_one_mount_and_another_file_replaces_it(tmp_path: Path, volume: Path) -> None:
    (volume / "file").write_text("old")
    bind(tmp_path, volume, "file")
    bind(tmp_path, volume, "file")
    assert len(mounts_below(tmp_path)) == 1
    (volume / "next").write_text("new")
    (volume / "next").rename(volume / "file")
    assert bind(tmp_path, volume, "file").read_text() == "new"
    (volume / "file").unlink()
    assert bind(tmp_path, volume, "file").is_dir()
    assert len(mounts_below(tmp_path)) == 1


def test_cleaning_up_takes_nothing_of_the_user_s(tmp_path: Path, volume: Path) -> None:
    (volume / "keep").mkdir()
    (volume / "keep" / "file").write_text("mine")
    target = bind(tmp_path, volume, "keep")
    (target / "written").write_text("too")
    _remove_volumes(tmp_path / "pods" / UID)
    assert mounts_below(tmp_path) == []
    assert sorted(os.listdir(volume / "keep")) == ["file", "written"]


def test_a_link_that_leads_out_is_refused(tmp_path: Path, volume: Path) -> None:
    (volume / "out").symlink_to(tmp_path / "secret")
    (volume / "dangling").symlink_to(tmp_path / "nothing")
    where = 'for volumeMount "data" of container "app"'
    with pytest.raises(VolumeError, match=f"^failed to prepare subPath {where}$"):
        bind(tmp_path, volume, "out")
    for path in ("dangling", "out/new"):
        with pytest.raises(VolumeError, match=f"^failed to create subPath directory {where}$"):
            bind(tmp_path, volume, path)
    assert os.listdir(tmp_path / "secret") == ["mark"] and not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("path", ["folder", "folder/below", "folder/below/new"])
def test_a_link_that_comes_in_between_leads_nowhere(
    tmp_path: Path, volume: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A container swaps a folder for a link just after the kubelet has looked at it."""
    (volume / "folder" / "below").mkdir(parents=True)
    (tmp_path / "secret" / "below").mkdir()
    look = os.path.realpath

    def look_and_swap(asked: Path) -> str:
        seen = look(asked)
        if str(asked).endswith(path):
            (volume / "folder").rename(volume / "away")
            (volume / "folder").symlink_to(tmp_path / "secret")
        return seen

    monkeypatch.setattr(os.path, "realpath", look_and_swap)
    with pytest.raises(VolumeError):
        bind(tmp_path, volume, path)
    monkeypatch.undo()
    assert (volume / "folder").is_symlink()
    assert sorted(os.listdir(tmp_path / "secret")) == ["below", "mark"]
    assert mounts_below(tmp_path) == [] and os.listdir(tmp_path / "secret" / "below") == []
