"""What a pod, a QoS class and all pods together may take, and what their cgroups are called: pure functions.

https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/ and upstream's pkg/kubelet/cm.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from lightkube.models.core_v1 import Container, PodSpec

from common.api.pods import amounts, limits, qos_class, requests

KUBEPODS, BURSTABLE, BEST_EFFORT = "kubepods", "burstable", "besteffort"
QOS_PARENTS = {"Guaranteed": "", "Burstable": BURSTABLE, "BestEffort": BEST_EFFORT}
CFS_PERIOD = 100_000
"""Microseconds."""
MIN_QUOTA = 1000
MIN_SHARES, MAX_SHARES = 2, 262_144


@dataclass(frozen=True, slots=True)
class Values:
    """None: is left as it is. -1: no limit."""

    cpu_shares: int | None = None
    cpu_quota: int | None = None
    cpu_period: int | None = None
    memory: int | None = None
    """Bytes."""
    pids: int | None = None


def shares(milli: int) -> int:
    return min(MAX_SHARES, max(MIN_SHARES, milli * 1024 // 1000))


def quota(milli: int, period: int = CFS_PERIOD) -> int:
    """Microseconds a period; 0 when there is no limit."""
    return max(MIN_QUOTA, milli * period // 1000) if milli else 0


def weight(cpu_shares: int) -> int:
    """Shares (2 to 262144) in the terms of cgroups version 2 (1 to 10000)."""
    return 1 + (cpu_shares - 2) * 9999 // 262142


def pod_values(spec: PodSpec, pids: int = -1, cfs_quota: bool = True) -> Values:
    """The sums over a pod's containers. A limit of the whole only where every container has one."""
    quality = qos_class(spec)
    if quality == "BestEffort":
        return Values(cpu_shares=MIN_SHARES, cpu_quota=-1, cpu_period=CFS_PERIOD, memory=-1, pids=pids)
    limited, requested = limits(spec), requests(spec)
    own = [amounts(each.resources.limits) if each.resources else {} for each in _all(spec)]
    cpu_declared = all(each.get("cpu") for each in own)
    memory_declared = all(each.get("memory") for each in own)
    return Values(
        cpu_shares=shares(requested.get("cpu", 0)),
        cpu_quota=quota(limited.get("cpu", 0)) if cpu_declared and cfs_quota else -1,
        cpu_period=CFS_PERIOD,
        memory=limited.get("memory", 0) if memory_declared else -1,
        pids=pids,
    )


def _all(spec: PodSpec) -> list[Container]:
    return [*spec.containers, *(spec.initContainers or ())]


def burstable_values(specs: Iterable[PodSpec]) -> Values:
    """Of all burstable pods: their requests together."""
    total = sum(requests(spec).get("cpu", 0) for spec in specs if qos_class(spec) == "Burstable")
    return Values(cpu_shares=shares(total))


def node_values(cpu_milli: int, memory: int) -> Values:
    """Of all pods: what the node offers to them, before thresholds of eviction."""
    return Values(cpu_shares=shares(cpu_milli), memory=memory)


@dataclass(frozen=True, slots=True)
class Names:
    """``driver`` is Docker's: "cgroupfs" or "systemd". ``root`` is ``--cgroup-root``."""

    root: str = "/"
    driver: str = "cgroupfs"

    def kubepods(self) -> str:
        return posixpath.join(self._base(), self._join([KUBEPODS]))

    def quality(self, qos: str) -> str:
        return posixpath.join(self._base(), self._join([part for part in (KUBEPODS, QOS_PARENTS[qos]) if part]))

    def pod(self, qos: str, uid: str) -> str:
        return posixpath.join(self._base(), self._join(self._pod_parts(qos, uid)))

    def parent(self, qos: str, uid: str) -> str:
        """What Docker is told: the whole path, or with systemd the last slice, whose name says where it is."""
        return posixpath.basename(self.pod(qos, uid)) if self.driver == "systemd" else self.pod(qos, uid)

    def container(self, qos: str, uid: str, container_id: str) -> str:
        """Where Docker puts a container of the pod."""
        name = f"docker-{container_id}.scope" if self.driver == "systemd" else container_id
        return posixpath.join(self.pod(qos, uid), name)

    def uid_of(self, name: str) -> str:
        """Of a pod's cgroup, by its last name; "" for another one."""
        if self.driver == "systemd":
            name = name.removesuffix(".slice").rpartition("-")[2].replace("_", "-")
        return name.removeprefix("pod") if name.startswith("pod") else ""

    def _pod_parts(self, qos: str, uid: str) -> list[str]:
        name = f"pod{uid.replace('-', '_')}" if self.driver == "systemd" else f"pod{uid}"
        return [part for part in (KUBEPODS, QOS_PARENTS[qos], name) if part]

    def _base(self) -> str:
        return "/" if self.driver == "systemd" else posixpath.normpath(f"/{self.root.strip('/')}")

    def _join(self, parts: list[str]) -> str:
        """``kubepods/burstable``, or systemd's ``kubepods.slice/kubepods-burstable.slice``."""
        if self.driver != "systemd":
            return "/".join(parts)
        outer = [part.replace("-", "_") for part in self.root.strip("/").split("/") if part]
        whole = [*outer, *parts]
        return "/".join("-".join(whole[: i + 1]) + ".slice" for i in range(len(whole)))
