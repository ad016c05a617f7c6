"""Slices: the cgroups of pods where the runtime leaves cgroups to systemd.

A slice that systemd does not know of loses its limits as soon as systemd sets up a unit in it. So it is started as a
transient unit with the same limits as properties (as upstream's systemd driver does); the exact values go into the
kernel's files as well, for systemd rounds some. Version 1 and version 2 have properties of their own.
https://systemd.io/CGROUP_DELEGATION, https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.systemd1.html
"""

from __future__ import annotations

import asyncio
from typing import Any

from dbus_fast import BusType, DBusError, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from kubelet.cgroups.values import Values, weight

SYSTEMD, SYSTEMD_PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
EXISTS, UNKNOWN = "org.freedesktop.systemd1.UnitExists", "org.freedesktop.systemd1.NoSuchUnit"
SECONDS = 10.0
"""How long systemd may take for one thing."""
UNLIMITED = (1 << 64) - 1
_ROUND = 10_000
"""Microseconds of each second: what systemd can say of a quota (whole percents)."""
Property = tuple[str, Variant]


class SliceError(OSError):
    """What systemd does not do, and why; or that it cannot be reached."""


def properties(values: Values, version: int) -> list[Property]:
    """The limits as systemd calls them."""
    found: list[Property] = []
    if values.cpu_shares is not None:
        name, value = ("CPUShares", values.cpu_shares) if version == 1 else ("CPUWeight", weight(values.cpu_shares))
        found.append(_number(name, value))
    if values.cpu_quota is not None and values.cpu_period:
        found.append(_number("CPUQuotaPeriodUSec", values.cpu_period))
        found.append(_number("CPUQuotaPerSecUSec", _per_second(values.cpu_quota, values.cpu_period)))
    if values.memory is not None:
        found.append(_number("MemoryLimit" if version == 1 else "MemoryMax", values.memory))
    if values.pids is not None:
        found.append(_number("TasksMax", values.pids))
    return found


def _number(name: str, value: int) -> Property:
    return name, Variant("t", UNLIMITED if value == -1 else value)


def _per_second(quota: int, period: int) -> int:
    return -1 if quota == -1 else -(-quota * 1_000_000 // period // _ROUND) * _ROUND


def _unit(name: str, limits: list[Property]) -> list[Property]:
    """A new slice: it counts everything, and ends only when it is told to, not with the machine's other slices."""
    counted = [(f"{each}Accounting", Variant("b", True)) for each in ("CPU", "Memory", "Tasks", "IO")]
    about = ("Description", Variant("s", f"Kubernetes pods: {name}"))
    return [about, ("DefaultDependencies", Variant("b", False)), *counted, *limits]


class Slices:
    """All names are of slices (``kubepods-burstable.slice``). All raise SliceError."""

    def __init__(self, version: int, bus_address: str | None = None) -> None:
        """``version`` of the cgroups: 1 or 2. ``bus_address``: not the system's bus."""
        self._version = version
        self._address = bus_address
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()
        self._jobs: dict[str, asyncio.Future[str]] = {}

    async def write(self, name: str, values: Values) -> None:
        """Starts the slice if it is not there, with these limits; one that is there gets them."""
        limits = properties(values, self._version)
        try:
            await self._job(name, "StartTransientUnit", "ssa(sv)a(sa(sv))", [name, "replace", _unit(name, limits), []])
        except _Refused as refused:
            if refused.kind != EXISTS:
                raise
            if limits:
                await self._call("SetUnitProperties", "sba(sv)", [name, True, limits])

    async def stop(self, name: str) -> None:
        """Ends what still runs in the slice, and forgets it."""
        try:
            await self._job(name, "StopUnit", "ss", [name, "replace"])
        except _Refused as refused:
            if refused.kind != UNKNOWN:
                raise

    async def _job(self, name: str, member: str, signature: str, body: list[Any]) -> None:
        """Until systemd has done it."""
        done = self._jobs[name] = asyncio.get_running_loop().create_future()
        try:
            await self._call(member, signature, body)
            async with asyncio.timeout(SECONDS):
                result = await done
        except TimeoutError:
            raise SliceError(f"{member} {name}: not done within {SECONDS:.0f} s") from None
        finally:
            if self._jobs.get(name) is done:
                del self._jobs[name]
        if result not in ("done", "skipped"):
            raise SliceError(f"{member} {name}: {result}")

    async def _call(self, member: str, signature: str, body: list[Any]) -> None:
        bus = await self._connected()
        message = Message(SYSTEMD, SYSTEMD_PATH, MANAGER, member, signature=signature, body=_plain(body))
        try:
            async with asyncio.timeout(SECONDS):
                answer = await bus.call(message)
        except (DBusError, EOFError, OSError, TimeoutError) as error:
            self._disconnect()
            raise SliceError(f"systemd: {member}: {error or type(error).__name__}") from error
        if answer is None or answer.message_type is MessageType.ERROR:
            said = answer.body[0] if answer is not None and answer.body else "no answer"
            raise _Refused(f"systemd: {member}: {said}", (answer.error_name if answer is not None else "") or "")

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is not None and self._bus.connected:
                return self._bus
            try:
                async with asyncio.timeout(SECONDS):
                    bus = await MessageBus(self._address, bus_type=BusType.SYSTEM).connect()
                    bus.add_message_handler(self._hear)
                    rule = f"type='signal',interface='{MANAGER}',member='JobRemoved',path='{SYSTEMD_PATH}'"
                    dbus = "org.freedesktop.DBus"
                    await bus.call(Message(dbus, "/org/freedesktop/DBus", dbus, "AddMatch", signature="s", body=[rule]))
                    await bus.call(Message(SYSTEMD, SYSTEMD_PATH, MANAGER, "Subscribe"))
            except (DBusError, EOFError, OSError, ValueError, TimeoutError) as error:
                raise SliceError(f"systemd cannot be reached: {error or type(error).__name__}") from error
            self._bus = bus
            return bus

    def _hear(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL and message.member == "JobRemoved":
            _, _, unit, result = message.body
            waiting = self._jobs.get(unit)
            if waiting is not None and not waiting.done():
                waiting.set_result(result)

    def _disconnect(self) -> None:
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.disconnect()


class _Refused(SliceError):
    def __init__(self, text: str, kind: str) -> None:
        super().__init__(text)
        self.kind = kind


def _plain(value: Any) -> Any:
    """Structs of D-Bus are lists here."""
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
