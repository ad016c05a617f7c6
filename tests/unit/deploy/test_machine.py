"""Where packages come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.cli import machine


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sources.list", "# deb http://old.example/debian x main\ndeb [signed-by=/k] http://m.example/debian x main\n"),
        ("sources.list.d/debian.sources", "Types: deb\nURIs: https://m.example/debian/\nSuites: x\n"),
        ("sources.list.d/a.list", "deb https://m.example/debian x main\n"),
    ],
)
def test_the_machines_own_mirror(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    assert str(machine._own_mirror(tmp_path)).endswith("://m.example/debian")


def test_no_mirror_among_other_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://m.example/ubuntu x main\n")
    assert machine._own_mirror(tmp_path) is None


@pytest.mark.parametrize(
    "line",
    [
        'DEF_MIRROR="http://m.example/debian"',
        "default_mirror http://m.example/debian",
        "    default_mirror http://m.example/debian",
    ],
)
def test_debootstraps_default(line: str) -> None:
    match = machine._DEFAULT_MIRROR.search(f"a=b\n{line}\nc\n")
    assert match is not None
    assert match.group(1) == "http://m.example/debian"


def test_a_named_mirror_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COX_DEBIAN_MIRROR", "http://n.example/debian")
    assert machine.mirror() == "http://n.example/debian"


def test_a_client_alone_is_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docker 26 answers ``info`` with an empty line and success when no engine runs."""
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\necho\n[ "$1" = info ]\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert not machine.docker_answers()
