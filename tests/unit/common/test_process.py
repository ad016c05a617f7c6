"""The skeleton of a process: its flags, its health, and what it does when its credentials are renewed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from common.process import Duration, Health, ProcessSettings, parse, stop_on_renewal


class Settings(ProcessSettings):
    leader_elect: bool = True
    period: Duration = 5.0
    workers: int = 3


def test_flags_in_upstreams_notation() -> None:
    settings = parse(
        Settings, ["--leader-elect=false", "--period=1m30s", "--v=4", "--tls-cert-file=a", "--workers", "7"]
    )
    assert (settings.leader_elect, settings.period, settings.v, settings.workers) == (False, 90.0, 4, 7)
    assert parse(Settings, ["--leader-elect=true"]).leader_elect


@pytest.mark.parametrize(
    ("argument", "words"),
    [("--workers=many", "--workers"), ("--period=soon", "--period"), ("--nonsense=1", "--nonsense")],
)
def test_a_wrong_flag_is_named(argument: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(Settings, [argument])
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_half_a_certificate() -> None:
    with pytest.raises(ValueError, match="go together"):
        parse(Settings, ["--tls-cert-file=a"]).tls()


async def test_what_is_wrong_is_told_by_name() -> None:
    health = Health()

    async def broken() -> None:
        raise OSError("no etcd")

    health.add("etcd", broken)
    health.add("loop", lambda: None, live=True)
    assert await health.report(ready=False) == (True, ["[+]ping ok", "[+]loop ok"])
    assert await health.report(ready=True) == (
        False,
        ["[+]ping ok", "[-]etcd failed: reason withheld", "[+]loop ok"],
    )


async def test_renewed_credentials_ask_for_a_new_start(tmp_path: Path) -> None:
    file = tmp_path / "client.conf"
    file.write_text("old")
    stop = asyncio.Event()
    watching = asyncio.create_task(stop_on_renewal(stop, [str(file)], period=0.01))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not stop.is_set()
    renewed = tmp_path / "new"
    renewed.write_text("new")
    renewed.replace(file)
    async with asyncio.timeout(10):
        await stop.wait()
        await watching
