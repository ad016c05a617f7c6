"""The machine's shutdown by a bus of the test's own, with something on it that speaks as logind does."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from dbus_fast import BusType, PropertyAccess
from dbus_fast.aio import MessageBus
from dbus_fast.service import ServiceInterface, dbus_method, dbus_property, dbus_signal

from kubelet.shutdown.logind import LOGIND, LOGIND_PATH, MANAGER, OVERRIDE, SYSTEMD, SYSTEMD_PATH, Logind
from tests.integration.kubelet.bus import system_bus

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="no dbus-daemon")


class FakeLogind(ServiceInterface):
    """Holds the reading end of every inhibitor: it is at its end when the other side lets go."""

    def __init__(self) -> None:
        super().__init__(MANAGER)
        self.delay = 5_000_000
        self.held: list[int] = []
        self.asked: list[tuple[str, ...]] = []

    @dbus_method()
    def Inhibit(self, what: "s", who: "s", why: "s", mode: "s") -> "h":  # type: ignore[name-defined] # noqa: F821
        self.asked.append((what, who, mode))
        mine, theirs = os.pipe()
        os.set_blocking(mine, False)
        self.held.append(mine)
        asyncio.get_running_loop().call_later(1, os.close, theirs)
        return theirs

    @dbus_property(access=PropertyAccess.READ)
    def InhibitDelayMaxUSec(self) -> "t":  # type: ignore[name-defined] # noqa: F821
        return self.delay

    @dbus_signal()
    def PrepareForShutdown(self, begins: bool) -> "b":  # type: ignore[name-defined] # noqa: F821
        return begins

    def is_held(self) -> bool:
        try:
            return bool(self.held) and os.read(self.held[-1], 1) != b""
        except BlockingIOError:
            return True


class FakeSystemd(ServiceInterface):
    """Makes logind read its settings when it is sent SIGHUP."""

    def __init__(self, logind: FakeLogind, root: Path) -> None:
        super().__init__("org.freedesktop.systemd1.Manager")
        self.logind, self.root = logind, root

    @dbus_method()
    def KillUnit(self, name: "s", who: "s", number: "i"):  # type: ignore[name-defined, no-untyped-def] # noqa: F821
        assert (name, number) == ("systemd-logind.service", 1)
        seconds = (self.root / OVERRIDE).read_text().rsplit("=", 1)[1]
        self.logind.delay = int(seconds) * 1_000_000


@pytest.fixture
async def logind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeLogind]:
    with system_bus(tmp_path, monkeypatch):
        bus = await MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True).connect()
        fake = FakeLogind()
        bus.export(LOGIND_PATH, fake)
        bus.export(SYSTEMD_PATH, FakeSystemd(fake, tmp_path))
        await bus.request_name(LOGIND)
        await bus.request_name(SYSTEMD)
        yield fake
        bus.disconnect()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the other side is a process
            await asyncio.sleep(0.02)


async def test_the_shutdown_waits_for_the_pods(logind: FakeLogind, tmp_path: Path) -> None:
    began, end, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def begin() -> None:
        began.set()
        await end.wait()

    watcher = asyncio.create_task(Logind(30, begin, cancelled.set, tmp_path).run())
    try:
        await until(logind.is_held)
        assert logind.asked == [("shutdown", "kubelet", "delay")]
        assert logind.delay == 30_000_000
        await asyncio.sleep(1.2)  # the service's own copy of the descriptor is closed by then
        logind.PrepareForShutdown(True)
        await began.wait()
        assert logind.is_held()
        end.set()
        await until(lambda: not logind.is_held())
        logind.PrepareForShutdown(False)
        await cancelled.wait()
        await until(lambda: len(logind.asked) == 2 and logind.is_held())
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def test_a_machine_without_a_bus_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")

    async def begin() -> None:
        raise AssertionError("nothing has begun")

    watcher = asyncio.create_task(Logind(30, begin, lambda: None, tmp_path).run())
    await asyncio.sleep(0.2)
    assert not watcher.done()
    watcher.cancel()
