"""One task owns one pod: it alone starts and ends the pod's containers and says what its status is.

The API's watch, Docker's events and the probes only wake it. Every round looks at what is there, computes what should
be done (a pure function), does it, and reports. Nothing that matters is remembered between rounds but back-off and
probes, so a kubelet that is restarted adopts what runs. A deletion interrupts whatever the worker waits for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta

from lightkube.models.core_v1 import Container, PodStatus
from lightkube.resources.core_v1 import Pod

from common.api.meta import clone, is_deleting
from common.api.time import now
from kubelet import metrics
from kubelet.cri import RuntimeFailure, RuntimeUnavailable
from kubelet.pods.actions import Actions, compute_actions
from kubelet.pods.files import PodDirectory
from kubelet.pods.identity import (
    all_containers,
    ending_period,
    find_container,
    grace_period,
    identity_of,
    probe_grace_period,
    spec_of,
)
from kubelet.pods.observed import PodObservation, observe
from kubelet.pods.probes import PodProbes
from kubelet.pods.remains import Remains
from kubelet.pods.reporter import Reporter
from kubelet.pods.resizer import Fits, Resizer
from kubelet.pods.slots import StartSlot
from kubelet.pods.starter import Prepared, SandboxError, Starter, StartFailed
from kubelet.pods.status import Waiting
from kubelet.pods.terminator import Terminator
from kubelet.pods.tools import Tools
from kubelet.pods.waits import FIRST_RETRY, MAX_RETRY, interruptible, repeated
from kubelet.pods.writer import StatusWriter, delete_pod
from kubelet.types import Ending, NetworkError, VolumeError

log = logging.getLogger(__name__)

SETTLE = 0.3
"""Seconds in which more may happen to a pod that has just changed: what is reported of it can wait so long."""
TERMINAL = ("Succeeded", "Failed")
DEADLINE = Ending("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")


class PodWorker:
    def __init__(
        self, pod: Pod, tools: Tools, *, rejection: tuple[str, str] | None = None, fits: Fits | None = None
    ) -> None:
        """``rejection``: reason and message of why the node does not take the pod; ``fits``: whether it may change."""
        self.identity = identity_of(pod)
        self.observed = PodObservation()
        self.gone = False
        self._tools = tools
        self.rejection = rejection
        self._directory = PodDirectory(tools.config.root_dir, self.identity.uid)
        self._resizer = Resizer(pod, tools, self._directory.path, fits)
        self.pod = pod = self._resizer.seen(pod)
        """With the resources that it was promised; its spec may want others."""
        self._starter = Starter(tools, self._directory)
        self._terminator = Terminator(tools)
        self._writer = StatusWriter(tools.client, self.identity, pod)
        self._probes = PodProbes(
            tools.handlers,
            changed=self.wake,
            unhealthy=self._unhealthy,
            warned=self._warned,
            pod=self.identity,
        )
        self._reporter = Reporter(pod, tools, self._directory)
        self._remains = Remains(tools, self._directory)
        self._waiting: dict[str, Waiting] = {}
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        self._removed = asyncio.Event()
        self._failures = 0
        self._cleaned = False
        self._busy = False
        self._forced: Ending | None = None
        self._interrupt = asyncio.Event()
        """What is under way is left: the pod is to end."""
        self._over = asyncio.Event()
        """Nothing of the pod runs any more."""
        self._born = time.monotonic() if pod.status is None or pod.status.startTime is None else None
        """When a pod that is new here was first seen, until it runs."""
        if is_deleting(pod):
            self._ending.set()

    # -- what others tell it ----------------------------------------------------------------------------------------

    @property
    def status(self) -> PodStatus | None:
        return self._reporter.status

    @property
    def finished(self) -> bool:
        """Its containers have ended for good, or will never be made."""
        return self.rejection is not None or self._finished()

    def wake(self) -> None:
        self._wake.set()

    def container_event(self, kind: str, container_id: str) -> None:
        """Something happened to a container; a start that the worker itself brought about is no news."""
        known = any(each.id == container_id for each in [*self.observed.running(), *self.observed.sandboxes])
        if kind != "start" or not (self._busy or known):
            self.wake()

    def update(self, pod: Pod) -> None:
        """A newer version from the API server."""
        pod = self._resizer.seen(pod)
        relevant = pod.spec != self.pod.spec or grace_changed(pod, self.pod) or gates(pod) != gates(self.pod)
        self.pod = pod
        self._reporter.pod = pod
        self._writer.seen(pod)
        if is_deleting(pod):
            self._ending.set()
        if relevant or self._resizer.pending:
            self.wake()

    def mirrored(self, mirror: Pod) -> None:
        """What the API server shows of a static pod."""
        self._writer.seen(mirror)

    @property
    def holds_room(self) -> bool:
        """Whether it counts when another pod comes: what is refused, over, or doomed to be does not."""
        return not self.gone and not self.finished and self._forced is None

    async def end(self, ending: Ending) -> None:
        """The node itself ends the pod: whatever it is at is left, its phase becomes Failed. Returns when nothing of it
        runs any more."""
        if self._forced is None and not self._ending.is_set() and not self._finished():
            self._forced = ending
            self._interrupt.set()
            self.wake()
        await self._over.wait()

    async def told(self) -> None:
        """Waits until the API server knows the newest status."""
        await self._writer.flushed()

    def removed(self, pod: Pod) -> None:
        """The API server has no such pod any more: it was deleted with force, or while nobody watched."""
        self.pod = self._reporter.pod = self._resizer.seen(pod)
        self.gone = self._writer.gone = True
        self._removed.set()
        self._ending.set()
        self.wake()

    # -- the task ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the pod is no more."""
        writer = asyncio.create_task(self._writer.run(), name=f"status of {self.identity}")
        try:
            while not self._ending.is_set():
                self._wake.clear()
                self._interrupt.clear()
                self._busy = True
                delay = await interruptible(self._round(), self._ending, self._interrupt)
                self._busy = False
                if self._interrupt.is_set():
                    continue  # the node ends the pod
                await self._idle(delay)
            await self._terminate()
        finally:
            self._over.set()
            self._probes.stop()
            writer.cancel()
            self._tools.restarts.forget(f"{self.identity.uid}/")
            self._tools.images.forget(self.pod)

    async def _idle(self, delay: float | None) -> None:
        if self._ending.is_set():
            return
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _round(self) -> float | None:
        """One look and what follows from it; seconds until the next is due, None when only an event can change it."""
        limit = MAX_RETRY
        try:
            with metrics.POD_WORKER.labels("create" if self.status is None else "sync").time():
                delay = await self._sync()
            self._note_start()
            self._failures = 0
            return delay
        except RuntimeUnavailable as error:
            log.warning("pod %s: %s", self.identity, error)
        except (SandboxError, VolumeError, NetworkError) as error:
            log.warning("pod %s: %s", self.identity, error)
            if isinstance(error, VolumeError):
                for message in error.messages:
                    self._tools.event(self.pod, "Warning", "FailedMount", message)
                limit = error.retry_seconds
        except RuntimeFailure as error:
            log.warning("pod %s: %s", self.identity, error)
            self._tools.event(self.pod, "Warning", "FailedSync", f"error determining status: {error}")
        except Exception:
            log.exception("pod %s: round failed", self.identity)
        self._failures += 1
        return float(min(FIRST_RETRY * 2.0 ** min(self._failures - 1, 10), limit))

    def _note_start(self) -> None:
        """kubelet_pod_start_duration_seconds: of a pod that came to this kubelet new, once it runs."""
        if self._born is not None and self.status is not None and self.status.phase != "Pending":
            if self.status.phase == "Running":
                metrics.POD_START.observe(time.monotonic() - self._born)
            self._born = None

    async def _sync(self) -> float | None:
        self.observed = await self._observe()
        if self.rejection is not None and not self.observed.sandboxes:
            self._reject(*self.rejection)
            return None
        if self._finished() and not self.observed.sandboxes and not self.observed.containers:
            await self._tools.volumes.unmount(self.identity.uid)  # all was done before the kubelet was restarted
            return None
        deadline = self._deadline()
        if self._finished() or deadline == 0 or self._forced is not None:
            await self._finish(None if self._finished() else self._forced or DEADLINE)
            return None
        self._probe()
        self.pod = self._reporter.pod = await self._resizer.decide()
        self._reporter.resize = self._resizer.status
        actions = compute_actions(spec_of(self.pod), self.observed, self._probes.findings())
        if actions.kill_pod and not actions.create_sandbox:
            await self._finish(None)
            return None
        if self.status is None or actions.start:
            await self._report(within=SETTLE)
        retry = await self._apply(actions)
        resized = await self._resize()
        if actions.start or actions.kill or resized:
            self.observed = await self._observe()
            self._probe()
            self._go_on()
        await self._report()
        await self._remains.link_logs(self.observed)
        await self._remains.remove_superseded(self.observed)
        return min((each for each in (retry, deadline, self._resizer.retry) if each is not None), default=None)

    def _go_on(self) -> None:
        """What was started may have made room for what comes after it: no event tells of a sidecar that has none to
        wait for."""
        actions = compute_actions(spec_of(self.pod), self.observed, self._probes.findings())
        if set(actions.start) - set(self._waiting):
            self.wake()

    async def _observe(self) -> PodObservation:
        return observe(await self._tools.runtime.list_containers(self.identity.uid))

    # -- starting ---------------------------------------------------------------------------------------------------

    async def _apply(self, actions: Actions) -> float | None:
        """Does what has to be done; seconds until a container that could not start may be tried again."""
        for kill in actions.kill:
            grace = probe_grace_period(self.pod, kill.container.name, kill.probe)
            await self._terminator.kill(self.pod, kill.container, grace, self._pod_ip(), kill.message)
        if actions.kill:
            self.wake()  # what was ended is started again in a round that sees how it ended
        if not actions.start:
            return None
        async with StartSlot(self._tools.starts) as slot:
            prepared = await self._prepare(actions, slot)
            return await self._start_all(actions.start, prepared, slot)

    async def _resize(self) -> bool:
        """Whether a container was changed or ended."""
        restarts, changed = await self._resizer.apply(self.pod, self.observed)
        self._reporter.resize = self._resizer.status
        if restarts:
            await self._report()
        for step in restarts:
            text = f"Container {step.container.name} resize requires restart"
            await self._terminator.kill(self.pod, step.container, grace_period(self.pod), self._pod_ip(), text)
            self.wake()
        return changed

    async def _prepare(self, actions: Actions, slot: StartSlot) -> Prepared:
        # First, as upstream: a pod whose volumes cannot be mounted gets no sandbox.
        volumes = await slot.lend(self._tools.volumes.mount(self.pod))
        sandbox_id = actions.sandbox_id
        if actions.create_sandbox:
            await slot.lend(self._replace_sandbox())
            self._cleaned = False
            sandbox_id = await self._starter.start_sandbox(self.pod, actions.attempt)
        if not self.observed.used(sandbox_id):
            await self._starter.connect(self.pod, sandbox_id)
        await self._reporter.find_ip()
        return Prepared(sandbox_id, self._reporter.pod_ips, volumes)

    async def _replace_sandbox(self) -> None:
        if not self.observed.sandboxes:
            return
        message = "Pod sandbox changed, it will be killed and re-created."
        self._tools.event(self.pod, "Normal", "SandboxChanged", message)
        self._probes.stop()
        grace = grace_period(self.pod)
        await self._terminator.kill_containers(self.pod, self.observed, grace, self._pod_ip())
        await self._terminator.stop_sandboxes(self.pod, self.observed)
        self.observed = await self._observe()

    async def _start_all(self, names: tuple[str, ...], prepared: Prepared, slot: StartSlot) -> float | None:
        retries: list[timedelta] = []
        for name in names:
            container = find_container(spec_of(self.pod), name)
            if container is None:
                continue
            try:
                pod = newest(self.pod, self.status)
                await self._starter.start(pod, container, self.observed, prepared, slot)
                self._waiting.pop(name, None)
            except StartFailed as failed:
                self._waiting[name] = failed.waiting
                retries.append(failed.retry)
                if failed.hook_failed:
                    await slot.lend(self._end_after_hook(name))
        return min(retry.total_seconds() for retry in retries) + 0.05 if retries else None

    async def _end_after_hook(self, name: str) -> None:
        latest = (await self._observe()).latest(name)
        if latest is not None and latest.running:
            grace = grace_period(self.pod)
            await self._terminator.kill(self.pod, latest, grace, self._pod_ip(), "FailedPostStartHook")

    # -- probes and status ------------------------------------------------------------------------------------------

    def _probe(self, *, restarts: bool = True) -> None:
        sandbox = self.observed.sandbox
        running = self.observed.running() if sandbox is not None and sandbox.running else []
        containers = list(all_containers(spec_of(self.pod)))
        self._probes.sync(containers, running, self._pod_ip(), *self._reporter.before)
        if not restarts:
            self._probes.stop_restarts()

    def _unhealthy(self, container: Container, message: str) -> None:
        self._tools.event(self.pod, "Warning", "Unhealthy", message, container.name)

    def _pod_ip(self) -> str:
        return self._reporter.pod_ips[0] if self._reporter.pod_ips else ""

    def _warned(self, container: Container, message: str) -> None:
        self._tools.event(self.pod, "Warning", "ProbeWarning", message, container.name)

    async def _report(self, *, terminating: bool = False, failure: Ending | None = None, within: float = 0.0) -> None:
        """``within``: seconds that the status may wait for a newer one."""
        ready, started = self._probes.ready(), self._probes.findings().started
        status = await self._reporter.compute(self.observed, self._waiting, ready, started, terminating, failure)
        self._writer.set(status, within=within)

    def _reject(self, reason: str, message: str) -> None:
        if self.status is None:
            self._tools.event(self.pod, "Warning", reason, message)
            self._writer.set(self._reporter.reject(reason, f"Pod was rejected: {message}"))

    def _deadline(self) -> float | None:
        """Seconds that activeDeadlineSeconds leaves; 0 when it has passed."""
        limit = spec_of(self.pod).activeDeadlineSeconds
        known = self.status or self.pod.status  # an earlier kubelet may have begun to count
        start = known.startTime if known else None
        if limit is None or start is None:
            return None if limit is None else float(limit)
        return max(0.0, (start + timedelta(seconds=limit) - now()).total_seconds())

    # -- ending -----------------------------------------------------------------------------------------------------

    def _finished(self) -> bool:
        known = self.status or self.pod.status
        return known is not None and known.phase in TERMINAL

    async def _finish(self, failure: Ending | None) -> None:
        """The pod has done what it will do: what still runs ends, the object and its containers' logs stay."""
        if failure is DEADLINE:
            self._tools.event(self.pod, "Normal", failure.reason, failure.message)
        if not self._cleaned:
            self._probes.stop()
            await self._reporter.find_ip()
            if failure is None:
                await self._report(within=SETTLE)  # how it ended, should taking down what is left of it take long
            given = failure.grace if failure is not None else None
            grace = ending_period(self.pod) if given is None else max(1, given)
            await self._end_everything(grace)
            await self._report(terminating=True, failure=failure)
            await self._tools.volumes.unmount(self.identity.uid)
            await self._tools.cgroups.remove(self.identity.uid, spec_of(self.pod))
            self._cleaned = True
        self._over.set()

    async def _end_everything(self, grace: int) -> None:
        self.observed = await self._observe()
        await self._terminator.kill_containers(self.pod, self.observed, grace, self._pod_ip())
        await self._terminator.stop_sandboxes(self.pod, self.observed)
        self.observed = await self._observe()

    async def _terminate(self) -> None:
        """A deleted pod: end it, say how it ended, take it down, and only then let its object go."""
        self._probes.stop_restarts()
        await repeated(self._end_within_grace, self._not_yet)
        self._probes.stop()
        if not self.gone and (self.status is not None or self.observed.sandboxes):
            await self._report(terminating=True)
            await interruptible(self._writer.flushed(), self._removed)
        await repeated(self._take_down, self._not_yet)
        if not self.gone:
            await interruptible(delete_pod(self._tools.client, self.identity), self._removed)

    async def _end_within_grace(self) -> None:
        """Starts anew with less time when the grace period is shortened meanwhile."""
        while True:
            self._wake.clear()
            grace = ending_period(self.pod)
            killing = asyncio.ensure_future(self._end_everything(grace))
            waking = asyncio.ensure_future(self._wake.wait())
            try:
                while not killing.done():
                    await asyncio.wait({killing, waking}, return_when=asyncio.FIRST_COMPLETED)
                    if ending_period(self.pod) < grace:
                        break
                    if waking.done() and not killing.done():
                        await self._look_while_ending(killing)
                        self._wake.clear()
                        waking = asyncio.ensure_future(self._wake.wait())
                if killing.done():
                    return killing.result()
            finally:
                for each in (killing, waking):
                    each.cancel()
                await asyncio.gather(killing, waking, return_exceptions=True)

    async def _look_while_ending(self, killing: asyncio.Future[None]) -> None:
        """Readiness is still of interest while a pod ends, and so is which of its containers have ended."""
        await asyncio.wait({killing}, timeout=SETTLE)
        if killing.done() or self.gone or self.status is None:
            return
        try:
            self.observed = await self._observe()
        except RuntimeFailure as error:
            log.debug("pod %s: %s", self.identity, error)
            return
        self._probe(restarts=False)
        await self._report(terminating=True, within=SETTLE)

    async def _take_down(self) -> None:
        await self._tools.volumes.unmount(self.identity.uid)
        await self._terminator.remove_all(self.observed)
        await self._tools.cgroups.remove(self.identity.uid, spec_of(self.pod))
        await asyncio.to_thread(self._directory.remove)
        await self._tools.logs.remove(self.identity.uid)

    def _not_yet(self, error: Exception) -> None:
        expected = isinstance(error, RuntimeFailure | NetworkError | VolumeError | ExceptionGroup)
        log.warning("pod %s cannot be taken down yet: %s", self.identity, error, exc_info=not expected)
        self._tools.event(self.pod, "Warning", "FailedKillPod", f"error killing pod: {error}")


def grace_changed(new: Pod, old: Pod) -> bool:
    return is_deleting(new) != is_deleting(old) or grace_period(new) != grace_period(old)


def gates(pod: Pod) -> list[str | None]:
    """What the conditions say that the pod's readiness gates name."""
    found = {each.type: each.status for each in (pod.status.conditions if pod.status else None) or ()}
    return [found.get(gate.conditionType) for gate in spec_of(pod).readinessGates or ()]


def newest(pod: Pod, status: PodStatus | None) -> Pod:
    """The pod as this node knows it."""
    if status is None:
        return pod
    copy = clone(pod)
    copy.status = status
    return copy
