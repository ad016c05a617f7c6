"""Slices of pods, asked for on a real D-Bus from a systemd that only notes what it is asked. What the real one makes of
it is in tests/e2e/node/test_cgroups.py, on a machine where systemd rules."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus
from lightkube.models.core_v1 import PodSpec

from kubelet.cgroups.hierarchy import V2
from kubelet.cgroups.systemd import EXISTS, MANAGER, SYSTEMD, SYSTEMD_PATH, UNKNOWN
from kubelet.cgroups.tree import PodCgroups
from kubelet.cgroups.values import Values
from tests.integration.kubelet.bus import system_bus

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="no dbus-daemon")
MIB = 1 << 20
NEVER = (1 << 64) - 1
POD = "kubepods-burstable-podu_1.slice"


class FakeSystemd:
    """Notes what its slices are told to be. ``result`` is what becomes of every job."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self.slices: dict[str, dict[str, Any]] = {}
        self.result = "done"

    def answer(self, message: Message) -> Message | None:
        if message.message_type is not MessageType.METHOD_CALL or message.interface != MANAGER:
            return None
        name = message.body[0] if message.body else ""
        if message.member == "SetUnitProperties":
            self._set(name, message.body[2])
        elif message.member == "StartTransientUnit":
            if name in self.slices:
                return Message.new_error(message, EXISTS, f"Unit {name} already exists.")
            self._set(name, message.body[2])
        elif message.member == "StopUnit":
            if name not in self.slices:
                return Message.new_error(message, UNKNOWN, f"Unit {name} not loaded.")
            del self.slices[name]
        if message.member not in ("StartTransientUnit", "StopUnit"):
            return Message.new_method_return(message)
        gone = Message.new_signal(SYSTEMD_PATH, MANAGER, "JobRemoved", "uoss", [1, "/job/1", name, self.result])
        self._bus.send(gone)
        return Message.new_method_return(message, "o", ["/job/1"])

    def _set(self, name: str, properties: list[list[Any]]) -> None:
        self.slices.setdefault(name, {}).update({key: variant.value for key, variant in properties})


@pytest.fixture
async def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeSystemd]:
    with system_bus(tmp_path, monkeypatch):
        bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
        fake = FakeSystemd(bus)
        bus.add_message_handler(fake.answer)
        await bus.request_name(SYSTEMD)
        yield fake
        bus.disconnect()


def spec(cpu: str) -> PodSpec:
    resources = {"requests": {"cpu": "100m"}, "limits": {"cpu": cpu, "memory": "64Mi"}}
    return cast(PodSpec, PodSpec.from_dict({"containers": [{"name": "c", "resources": resources}]}))


def cgroups_of(root: Path, told: list[str]) -> PodCgroups:
    """Of a tree of version 2 that only looks like the kernel's."""
    for path in ("", "kubepods.slice", "kubepods.slice/kubepods-burstable.slice"):
        folder = root / path
        folder.mkdir(exist_ok=True)
        for name in ("cgroup.controllers", "cgroup.subtree_control"):
            (folder / name).write_text("cpu memory pids")

    async def driver() -> str:
        return "systemd"

    tell = lambda type_, reason, message: told.append(f"{reason}: {message}")  # noqa: E731
    return PodCgroups("/", V2(root), driver, node=Values(cpu_shares=2048, memory=MIB), tell=tell)


async def test_pods_are_slices_with_their_limits(systemd: FakeSystemd, tmp_path: Path) -> None:
    told: list[str] = []
    cgroups = cgroups_of(tmp_path / "cgroup", told)
    pod = spec("255m")
    await cgroups.ensure(pod, "u-1")
    assert cgroups.parent(pod, "u-1") == POD
    made = systemd.slices
    assert set(made) == {"kubepods.slice", "kubepods-burstable.slice", "kubepods-besteffort.slice", POD}
    assert (made["kubepods.slice"]["MemoryMax"], made["kubepods.slice"]["CPUWeight"]) == (MIB, 79)
    assert made["kubepods-besteffort.slice"]["CPUWeight"] == 1
    slice_ = made[POD]
    assert slice_["DefaultDependencies"] is False
    assert (slice_["CPUAccounting"], slice_["MemoryAccounting"], slice_["TasksAccounting"]) == (True, True, True)
    assert (slice_["CPUQuotaPerSecUSec"], slice_["CPUQuotaPeriodUSec"]) == (260_000, 100_000)  # in whole percents
    assert (slice_["MemoryMax"], slice_["TasksMax"], slice_["CPUWeight"]) == (64 * MIB, NEVER, 4)
    assert [each.partition(":")[0] for each in told] == ["NodeAllocatableEnforced"]

    await cgroups.grow(spec("1"), "u-1")
    assert (slice_["CPUQuotaPerSecUSec"], slice_["MemoryMax"]) == (NEVER, NEVER)
    await cgroups.ensure(spec("1"), "u-1")
    assert (slice_["CPUQuotaPerSecUSec"], slice_["MemoryMax"]) == (1_000_000, 64 * MIB)
    await cgroups.update_classes([pod])
    assert made["kubepods-burstable.slice"]["CPUWeight"] == 4

    anew = cgroups_of(tmp_path / "cgroup", [])  # the kubelet starts again, and the pod is an orphan
    await anew.remove("u-1")
    assert POD not in made
    await cgroups.remove("u-1", pod)  # what systemd does not know is gone


async def test_a_systemd_that_was_away_is_found_again(systemd: FakeSystemd, tmp_path: Path) -> None:
    """The kubelet starts anew, or the bus does."""
    first, second = cgroups_of(tmp_path / "cgroup", []), cgroups_of(tmp_path / "cgroup", [])
    await first.ensure(spec("1"), "u-1")
    await second.ensure(spec("2"), "u-1")
    assert systemd.slices[POD]["CPUQuotaPerSecUSec"] == 2_000_000
    systemd.result = "failed"
    with pytest.raises(OSError, match=r"StartTransientUnit kubepods-burstable-podu_2.slice: failed"):
        await second.ensure(spec("1"), "u-2")


async def test_without_systemds_bus_slices_have_no_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    told: list[str] = []
    cgroups = cgroups_of(tmp_path / "cgroup", told)
    await cgroups.ensure(spec("1"), "u-1")
    assert len(told) == 1 and told[0].startswith("FailedNodeAllocatableEnforcement: ")
    assert cgroups.parent(spec("1"), "u-1") == POD  # the runtime has systemd make it
