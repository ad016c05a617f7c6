"""Registers the node and keeps its status: computed every ten seconds, written when it changed or every five minutes
(--node-status-update-frequency, --node-status-report-frequency).

Nothing here ends when the API server or the runtime is away: the node is registered as soon as there is a server to
register with, and says honestly that it is not ready while the runtime does not answer.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightkube.models.core_v1 import NodeAddress, NodeStatus, ObjectReference
from lightkube.resources.core_v1 import Node

from common.api.meta import annotations_of, meta_of
from common.api.status import AlreadyExists, NotFound
from common.api.time import now
from common.client import Client, PatchType
from common.events import EventRecorder
from kubelet.cri import ImageStatus, Runtime, RuntimeFailure, RuntimeVersion
from kubelet.node.machine import Machine, file_system, read_machine
from kubelet.node.status import (
    NodeIdentity,
    Observation,
    default_annotations,
    default_labels,
    differs,
    new_node,
    node_status,
    status_patch,
)

log = logging.getLogger("kubelet.node")

IMAGES_SECONDS = 60.0
RUNTIME_TIMEOUT = 5.0
_BACKOFF_START, _BACKOFF_LIMIT = 0.1, 7.0
_NODE_EVENTS = {
    ("Ready", "True"): "NodeReady",
    ("Ready", "False"): "NodeNotReady",
    ("MemoryPressure", "True"): "NodeHasInsufficientMemory",
    ("MemoryPressure", "False"): "NodeHasSufficientMemory",
    ("DiskPressure", "True"): "NodeHasDiskPressure",
    ("DiskPressure", "False"): "NodeHasNoDiskPressure",
    ("PIDPressure", "True"): "NodeHasInsufficientPID",
    ("PIDPressure", "False"): "NodeHasSufficientPID",
}


@dataclass(frozen=True, slots=True)
class Cadence:
    """Seconds: how often the status is computed, and how often it is written though it did not change."""

    update: float = 10.0
    report: float = 300.0


@dataclass(frozen=True)
class Watched:
    """What the node's status depends on beside the machine and the runtime: asked each time."""

    network_problem: Callable[[], str | None] = lambda: None
    pods_problem: Callable[[], str | None] = lambda: None
    shutdown_problem: Callable[[], str | None] = lambda: None
    pressure: Callable[[], Sequence[str]] = lambda: ()
    node: Callable[[], Node | None] = lambda: None
    """The node's object as a watch shows it; None while there is none."""
    addresses: Callable[[], Sequence[str]] = lambda: ()
    """The machine's now. None: those that were known stay."""
    reported: Callable[[Sequence[NodeAddress]], None] = lambda _: None
    """Called with the addresses of each status."""


class NodeAgent:
    """One node's registration and status. ``register``: whether the node's object is made when there is none."""

    def __init__(
        self,
        client: Client,
        runtime: Runtime,
        recorder: EventRecorder,
        identity: NodeIdentity,
        root_dir: Path,
        watched: Watched = Watched(),
        cadence: Cadence = Cadence(),
        *,
        register: bool = True,
    ) -> None:
        self._client = client
        self._runtime = runtime
        self._recorder = recorder
        self._identity = identity
        self._root_dir = root_dir
        self._watched = watched
        self._cadence = cadence
        self._register = register
        self._unschedulable: bool | None = None
        self._machine: Machine = read_machine()
        self._held: Node | None = None
        self._told: dict[str, str] = {}
        self._probe: asyncio.Task[RuntimeVersion] | None = None
        self._reported = 0.0
        self._images: Sequence[ImageStatus] = ()
        self._images_at = -IMAGES_SECONDS
        self._wake = asyncio.Event()
        self.registered = asyncio.Event()

    def wake(self) -> None:
        """Computes the status now: something that it depends on changed."""
        self._wake.set()

    async def run(self) -> None:
        self._event("Normal", "Starting", "Starting kubelet.")
        if self._register:
            await self._retried(self.register)
        self.registered.set()
        while True:
            self._wake.clear()
            try:
                async with asyncio.timeout(self._cadence.update + RUNTIME_TIMEOUT):
                    await self.update()
            except Exception as error:
                log.warning("status of node %s not written: %s", self._identity.name, error or type(error).__name__)
            try:
                async with asyncio.timeout(self._cadence.update):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def register(self) -> None:
        """Creates the Node, or puts back the labels that the kubelet owns on the one that is there."""
        status = await self._compute(NodeStatus())
        try:
            node = await self._client.create(new_node(self._identity, status, self._machine))
            log.info("node %s is registered", self._identity.name)
            self._told["Ready"] = "Unknown"
        except AlreadyExists:
            node = await self._reconcile()
            log.info("node %s was registered before", self._identity.name)
            self._told = _statuses(node.status)
        self._held = node
        self._tell_transitions(status)

    async def update(self) -> None:
        """Writes the status if it changed or has not been written for five minutes."""
        node = self._newest(self._watched.node())
        if node is None:
            node = self._held = await self._client.get(Node, self._identity.name)
        held = node.status or NodeStatus()
        self._tell_schedulable(node)
        status = await self._compute(held)
        changed = differs(status, held)
        if not changed and time.monotonic() - self._reported < self._cadence.report:
            return
        patch = status_patch(status, held)
        try:
            answer = await self._client.patch(
                Node, self._identity.name, patch, patch_type=PatchType.STRATEGIC, subresource="status"
            )
        except NotFound:
            self._held = None
            raise
        self._tell_transitions(status)
        self._held = answer
        self._reported = time.monotonic()

    async def _compute(self, held: NodeStatus) -> NodeStatus:
        addresses = tuple(self._watched.addresses())
        if addresses and addresses != self._identity.addresses:
            log.info("node %s has another address: %s", self._identity.name, ", ".join(addresses))
            self._identity = dataclasses.replace(self._identity, addresses=addresses)
        status = node_status(self._identity, await self.observe(), held, now())
        self._watched.reported(status.addresses or ())
        return status

    def _newest(self, watched: Node | None) -> Node | None:
        """Of what was written or read last and what the watch shows."""
        held = self._held
        if held is None or watched is None:
            return held
        return watched if _revision(watched) > _revision(held) else held

    def _tell_schedulable(self, node: Node) -> None:
        """An event when somebody has cordoned the node, or uncordoned it."""
        before, self._unschedulable = self._unschedulable, bool(node.spec and node.spec.unschedulable)
        if before is not None and before != self._unschedulable:
            reason = "NodeNotSchedulable" if self._unschedulable else "NodeSchedulable"
            self._event("Normal", reason, f"Node {self._identity.name} status is now: {reason}")

    async def observe(self) -> Observation:
        return Observation(
            machine=self._machine,
            node_fs=await asyncio.to_thread(file_system, self._root_dir),
            pressure=self._watched.pressure(),
            runtime=await self._runtime_version(),
            images=self._images,
            network_problem=self._watched.network_problem(),
            pods_problem=self._watched.pods_problem(),
            shutdown_problem=self._watched.shutdown_problem(),
        )

    async def _runtime_version(self) -> RuntimeVersion | None:
        """The runtime's version as the proof that it answers.

        A call to a runtime that hangs cannot be cut short; it is left to end by itself and asked for again then.
        """
        probe = self._probe or asyncio.create_task(self._ask_runtime(), name="runtime probe")
        done, _ = await asyncio.wait({probe}, timeout=RUNTIME_TIMEOUT)
        self._probe = None if done else probe
        if not done:
            log.warning("container runtime is down: no answer within %.0f s", RUNTIME_TIMEOUT)
            return None
        try:
            return probe.result()
        except RuntimeFailure as error:
            log.warning("container runtime is down: %s", error)
            return None

    async def _ask_runtime(self) -> RuntimeVersion:
        """The images too when they are old."""
        version = await self._runtime.version()
        if time.monotonic() - self._images_at >= IMAGES_SECONDS:
            self._images = await self._runtime.list_images()
            self._images_at = time.monotonic()
        return version

    async def _reconcile(self) -> Node:
        node = await self._client.get(Node, self._identity.name)
        labels = meta_of(node).labels or {}
        wanted = default_labels(self._identity, self._machine)
        missing = {name: value for name, value in wanted.items() if labels.get(name) != value}
        noted = annotations_of(node)
        notes = {name: v for name, v in default_annotations(self._identity).items() if noted.get(name) != v}
        if missing or notes:
            patch: dict[str, Any] = {"metadata": {"labels": missing, "annotations": notes}}
            node = await self._client.patch(Node, self._identity.name, patch, patch_type=PatchType.STRATEGIC)
        before = node.status.nodeInfo.bootID if node.status and node.status.nodeInfo else None
        if before and before != self._machine.boot_id:
            text = f"Node {self._identity.name} has been rebooted, boot id: {self._machine.boot_id}"
            self._event("Warning", "Rebooted", text)
        return node

    async def _retried(self, attempt: Callable[[], Any]) -> None:
        delay = _BACKOFF_START
        while True:
            try:
                async with asyncio.timeout(self._cadence.update + RUNTIME_TIMEOUT):
                    await attempt()
                return
            except Exception as error:
                log.warning("node %s not registered: %s", self._identity.name, error or type(error).__name__)
            await asyncio.sleep(delay)
            delay = min(delay * 2, _BACKOFF_LIMIT)

    def _tell_transitions(self, status: NodeStatus) -> None:
        """An event for each condition that changed; of Ready when the node is new, too."""
        for condition in status.conditions or []:
            reason = _NODE_EVENTS.get((condition.type, condition.status))
            before = self._told.get(condition.type, condition.status if condition.type == "Ready" else None)
            if reason is not None and before != condition.status:
                self._event("Normal", reason, f"Node {self._identity.name} status is now: {reason}")
        self._told.update(_statuses(status))

    def _event(self, kind: Any, reason: str, message: str) -> None:
        # The uid is the node's name: that is by what "kubectl describe node" looks for events, as with upstream's.
        name = self._identity.name
        self._recorder.event(ObjectReference(kind="Node", name=name, uid=name), kind, reason, message)


def _statuses(status: NodeStatus | None) -> dict[str, str]:
    return {condition.type: condition.status for condition in (status.conditions if status else None) or []}


def _revision(node: Node) -> int:
    """Of two versions the newer one's is higher (KEP-5504)."""
    text = meta_of(node).resourceVersion or ""
    return int(text) if text.isdecimal() else 0
