"""Probes of one pod: a task for each probe of each running container; the newest findings are read by the pod's worker.

A container is ready, live and started as long as nothing says otherwise: one without a startup probe has started at
once, one without a readiness probe is ready once it has started. The other probes wait for the startup probe.
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-probes
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from lightkube.models.core_v1 import Container, Probe

from kubelet.cri import RuntimeContainer
from kubelet.pods import probemetrics
from kubelet.pods.actions import ProbeFindings
from kubelet.pods.backoff import utcnow
from kubelet.pods.handlers import Handlers, Outcome, Target
from kubelet.pods.identity import PodIdentity

Kind = Literal["startup", "liveness", "readiness"]
KINDS: tuple[Kind, ...] = ("startup", "liveness", "readiness")

NOBODY = PodIdentity("", "", "")


def probe_of(container: Container, kind: Kind) -> Probe | None:
    probes = {
        "startup": container.startupProbe,
        "liveness": container.livenessProbe,
        "readiness": container.readinessProbe,
    }
    return probes[kind]


@dataclass
class _Verdict:
    """Counts results in a row until they are enough to change a mind."""

    ok: bool | None
    row: int = 0
    last: bool | None = None

    def count(self, outcome_ok: bool, probe: Probe) -> bool:
        """Whether the verdict has changed."""
        self.row = self.row + 1 if self.last is outcome_ok else 1
        self.last = outcome_ok
        needed = int(probe.successThreshold or 1) if outcome_ok else int(probe.failureThreshold or 3)
        if self.row < needed or self.ok is outcome_ok:
            return False
        self.ok = outcome_ok
        return True


@dataclass
class _Watched:
    """One run of one container."""

    container: Container
    verdicts: dict[Kind, _Verdict]
    startup_done: asyncio.Event
    tasks: dict[Kind, asyncio.Task[None]] = field(default_factory=dict)


class PodProbes:
    def __init__(
        self,
        handlers: Handlers,
        *,
        changed: Callable[[], None],
        unhealthy: Callable[[Container, str], None],
        warned: Callable[[Container, str], None] = lambda container, message: None,
        pod: PodIdentity = NOBODY,
    ) -> None:
        """``changed`` is called when a verdict changes, ``unhealthy(container, message)`` for each failure,
        ``warned`` for what is good and yet strange. What is found is counted as the ``pod``'s."""
        self._handlers = handlers
        self._changed = changed
        self._unhealthy = unhealthy
        self._warned = warned
        self._pod = pod
        self._watched: dict[str, _Watched] = {}

    def sync(
        self,
        containers: Iterable[Container],
        running: Iterable[RuntimeContainer],
        pod_ip: str,
        was_ready: frozenset[str] = frozenset(),
        was_started: frozenset[str] = frozenset(),
    ) -> None:
        """Probes what runs, and nothing else. ``was_ready`` and ``was_started``: ids of containers found so before a
        restart of the kubelet: they stay ready until a probe says otherwise, and started."""
        specs = {container.name: container for container in containers}
        wanted = {each.id: each for each in running if each.name in specs}
        for container_id in [each for each in self._watched if each not in wanted]:
            self._end(container_id)
        for container_id, each in wanted.items():
            if container_id not in self._watched:
                self._begin(specs[each.name], each, pod_ip, container_id in was_ready, container_id in was_started)

    def stop_restarts(self) -> None:
        """The pod is being ended: nothing restarts a container now, but whether it is ready is still of interest."""
        for watched in self._watched.values():
            for kind in ("startup", "liveness"):
                task = watched.tasks.pop(kind, None)
                if task is not None:
                    task.cancel()
                    probemetrics.forget(self._pod, watched.container.name, kind)
                watched.verdicts.pop(kind, None)

    def stop(self) -> None:
        for container_id, watched in list(self._watched.items()):
            self._end(container_id)
            for kind in KINDS:
                probemetrics.forget(self._pod, watched.container.name, kind)

    def findings(self) -> ProbeFindings:
        failed: dict[str, str] = {}
        for container_id, watched in self._watched.items():
            for kind in ("startup", "liveness"):
                verdict = watched.verdicts.get(kind)
                if verdict is not None and verdict.ok is False:
                    failed[container_id] = kind
        started = frozenset(key for key, watched in self._watched.items() if watched.startup_done.is_set())
        return ProbeFindings(failed, started)

    def ready(self) -> frozenset[str]:
        return frozenset(
            key
            for key, watched in self._watched.items()
            if watched.startup_done.is_set()
            and ("readiness" not in watched.verdicts or watched.verdicts["readiness"].ok is True)
        )

    def _begin(
        self, container: Container, running: RuntimeContainer, pod_ip: str, was_ready: bool, was_started: bool
    ) -> None:
        watched = _Watched(container, {}, asyncio.Event())
        self._watched[running.id] = watched
        if container.startupProbe is None or was_ready or was_started:
            watched.startup_done.set()
        for kind in KINDS:
            probe = probe_of(container, kind)
            if probe is None or (kind == "startup" and watched.startup_done.is_set()):
                continue
            watched.verdicts[kind] = _Verdict({"readiness": was_ready, "liveness": True}.get(kind))
            target = Target(container, running.id, pod_ip)
            loop = self._loop(kind, probe, target, running, watched)
            watched.tasks[kind] = asyncio.create_task(loop, name=f"{kind} probe of {running.id[:12]}")

    def _end(self, container_id: str) -> None:
        for task in self._watched.pop(container_id).tasks.values():
            task.cancel()

    async def _loop(
        self, kind: Kind, probe: Probe, target: Target, running: RuntimeContainer, watched: _Watched
    ) -> None:
        verdict, period = watched.verdicts[kind], float(probe.periodSeconds or 10)
        if kind != "startup":
            await watched.startup_done.wait()
        delay = float(probe.initialDelaySeconds or 0)
        age = (utcnow() - (running.started or running.created)).total_seconds()
        # A container that has run for a while was adopted: not all of a node's probes at the same moment then.
        await asyncio.sleep(delay - age if age < delay else (random.uniform(0, period) if age > period else 0))
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            outcome = await self._attempt(kind, probe, target)
            if outcome is not None and self._take(kind, verdict, outcome, probe, watched):
                return
            due = max(due + period, loop.time())  # each period, however long an attempt takes
            await asyncio.sleep(due - loop.time())

    async def _attempt(self, kind: Kind, probe: Probe, target: Target) -> Outcome | None:
        """None when the probe could not be carried out: that says nothing about the container and does not count."""
        began = time.monotonic()
        try:
            outcome = await self._handlers.probe(probe, target)
        except Exception as error:
            text = f"{kind.capitalize()} probe errored and resulted in unknown state: {error}"
            self._unhealthy(target.container, text)
            return None
        probemetrics.count(self._pod, target.container.name, kind, outcome.ok, time.monotonic() - began)
        if not outcome.ok:
            self._unhealthy(target.container, f"{kind.capitalize()} probe failed: {outcome.output}")
        elif outcome.warning:
            self._warned(target.container, f"{kind.capitalize()} probe warning: {outcome.warning}")
        return outcome

    def _take(self, kind: Kind, verdict: _Verdict, outcome: Outcome, probe: Probe, watched: _Watched) -> bool:
        """Whether the probe has said all that it will."""
        if not verdict.count(outcome.ok, probe):
            return False
        if kind == "startup" and outcome.ok:
            watched.startup_done.set()
        self._changed()
        return kind == "startup" or (kind == "liveness" and not outcome.ok)
