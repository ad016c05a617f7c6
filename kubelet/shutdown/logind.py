"""The machine's shutdown where systemd rules: a delay inhibitor holds it up until the node's pods have ended.

https://www.freedesktop.org/wiki/Software/systemd/inhibit/. Where there is no system bus nothing is watched: a node
without systemd is told by a signal (see kubelet/__main__.py).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from dbus_fast import BusType, DBusError, Message, MessageType
from dbus_fast.aio import MessageBus

log = logging.getLogger("kubelet.shutdown")

LOGIND, MANAGER = "org.freedesktop.login1", "org.freedesktop.login1.Manager"
LOGIND_PATH = "/org/freedesktop/login1"
SYSTEMD, SYSTEMD_PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
OVERRIDE = Path("etc/systemd/logind.conf.d/99-kubelet.conf")
RECONNECT_SECONDS = 1.0
RELOAD_TRIES, RELOAD_PAUSE = 20, 0.1
_SIGHUP = 1


class LogindError(Exception):
    """Why the machine's shutdown cannot be watched."""


class Logind:
    """``begin`` is awaited when the machine is about to shut down, and it goes on when that returns; ``cancelled`` is
    called when it does not after all. ``seconds``: how long ``begin`` may take."""

    def __init__(
        self,
        seconds: int,
        begin: Callable[[], Awaitable[None]],
        cancelled: Callable[[], None],
        root: Path = Path("/"),
    ) -> None:
        self._seconds = seconds
        self._begin = begin
        self._cancelled = cancelled
        self._root = root
        self._lock: int | None = None

    async def run(self) -> None:
        """Until cancelled; connects again whenever the bus goes away."""
        told = ""
        while True:
            try:
                await self._watch()
            except (LogindError, DBusError, OSError, EOFError, ValueError, TimeoutError) as error:
                text = str(error) or type(error).__name__
                if text != told:
                    log.info("the machine's shutdown is not watched: %s", text)
                told = text
            finally:
                self._release()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _watch(self) -> None:
        bus = await MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True).connect()
        signals: asyncio.Queue[bool] = asyncio.Queue(16)

        def hear(message: Message) -> None:
            if message.message_type is MessageType.SIGNAL and message.member == "PrepareForShutdown":
                signals.put_nowait(bool(message.body[0]))

        try:
            await self._ensure_delay(bus)
            bus.add_message_handler(hear)
            rule = f"type='signal',interface='{MANAGER}',member='PrepareForShutdown',path='{LOGIND_PATH}'"
            await _call(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "AddMatch", "s", [rule])
            await self._inhibit(bus)
            log.info("the machine's shutdown waits for pods to end, up to %d s", self._seconds)
            gone = asyncio.ensure_future(bus.wait_for_disconnect())  # type: ignore[no-untyped-call]
            try:
                while True:
                    heard = asyncio.ensure_future(signals.get())
                    await asyncio.wait({heard, gone}, return_when=asyncio.FIRST_COMPLETED)
                    if not heard.done():
                        heard.cancel()
                        raise LogindError("the bus is gone")
                    await self._heard(bus, heard.result())
            finally:
                gone.cancel()
        finally:
            bus.disconnect()

    async def _heard(self, bus: MessageBus, shutting_down: bool) -> None:
        if not shutting_down:
            self._cancelled()
            await self._inhibit(bus)
            return
        try:
            await self._begin()
        finally:
            self._release()

    async def _ensure_delay(self, bus: MessageBus) -> None:
        """logind waits for five seconds by default: as root one may make it more, as upstream's kubelet does."""
        if await _delay(bus) >= self._seconds:
            return
        path = self._root / OVERRIDE
        text = f"# Kubelet logind override\n[Login]\nInhibitDelayMaxSec={self._seconds}\n"
        await asyncio.to_thread(_write, path, text)
        body: list[Any] = ["systemd-logind.service", "all", _SIGHUP]
        await _call(bus, SYSTEMD, SYSTEMD_PATH, "KillUnit", "ssi", body, "org.freedesktop.systemd1.Manager")
        for _ in range(RELOAD_TRIES):
            if await _delay(bus) >= self._seconds:
                return
            await asyncio.sleep(RELOAD_PAUSE)
        raise LogindError(
            f"node shutdown manager was unable to update logind InhibitDelayMaxSec to {self._seconds}s "
            f"(ShutdownGracePeriod), current value of InhibitDelayMaxSec ({await _delay(bus):g}s) is less than that"
        )

    async def _inhibit(self, bus: MessageBus) -> None:
        body: list[Any] = ["shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay"]
        answer = await _call(bus, LOGIND, LOGIND_PATH, "Inhibit", "ssss", body, MANAGER)
        self._release()
        self._lock = answer.unix_fds[answer.body[0]]

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


async def _delay(bus: MessageBus) -> float:
    body: list[Any] = [MANAGER, "InhibitDelayMaxUSec"]
    answer = await _call(bus, LOGIND, LOGIND_PATH, "Get", "ss", body, "org.freedesktop.DBus.Properties")
    return float(answer.body[0].value) / 1_000_000


async def _call(
    bus: MessageBus,
    destination: str,
    path: str,
    member: str,
    signature: str,
    body: list[Any],
    interface: str = "org.freedesktop.DBus",
) -> Message:
    """Raises LogindError with what the other side says."""
    message = Message(destination, path, interface, member, signature=signature, body=body)
    async with asyncio.timeout(10):
        answer = await bus.call(message)
    if answer is None or answer.message_type is MessageType.ERROR:
        raise LogindError(f"{member}: {answer.body[0] if answer is not None and answer.body else 'no answer'}")
    return answer


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
