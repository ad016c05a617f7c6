"""The pods' side of the kubelet: ties what the API server wants, what Docker tells, and the pods' workers together.

There is no polling here: the API's watch of this node's pods starts, updates and ends workers, Docker's events wake
the one whose container changed, and a slow look at everything is the net beneath both. What runs on this node and
belongs to no pod (deleted while the kubelet was away) is ended.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import Node, Pod, Service

from common.api.meta import clone, key_of, meta_of
from common.api.time import now
from common.client import Client
from common.informer import InformerFactory
from kubelet import metrics
from kubelet.cgroups.tree import PodCgroups, no_cgroups
from kubelet.containergc import over_the_limit
from kubelet.cri import Runtime, RuntimeContainer, RuntimeFailure
from kubelet.images import ImageManager, Recorder, format_duration
from kubelet.logs.keeper import LogKeeper
from kubelet.lookup import Lookup
from kubelet.pods import preemption
from kubelet.pods.admission import NodeView, Verdict, admit
from kubelet.pods.backoff import Backoff
from kubelet.pods.files import PodDirectory
from kubelet.pods.handlers import Handlers
from kubelet.pods.identity import has_critical_priority, identity_of, is_mirror
from kubelet.pods.observed import observe
from kubelet.pods.orphans import end_orphan
from kubelet.pods.predicates import Insufficient, failures
from kubelet.pods.tools import Tools
from kubelet.pods.worker import PodWorker, newest
from kubelet.pods.writer import TRANSIENT
from kubelet.staticpods.mirrors import MirrorClient, Mirrors, reflects
from kubelet.types import Ending, KubeletConfig, Network, ObjectSource, Volumes

log = logging.getLogger("kubelet")

RELIST_SECONDS = 60.0
RELIST_RETRY_SECONDS = 5.0
"""After a look that failed."""
RELIST_THRESHOLD_SECONDS = 180.0
"""A kubelet that has not seen all of its containers for so long says that its node is not ready."""
WORKER_RETRY_SECONDS = 5.0
"""A worker that failed is replaced after so long: what made it fail may last."""

TOLD_SECONDS = 2.0
"""The API server may be away, or be the pod that waits for another to end."""


class PodManager:
    """Implements kubelet.types.PodSource."""

    def __init__(
        self,
        config: KubeletConfig,
        client: Client,
        *,
        runtime: Runtime,
        network: Network,
        volumes: Volumes,
        objects: ObjectSource,
        recorder: Recorder,
        logs: LogKeeper,
        informers: InformerFactory,
        node: Callable[[], Node | None] = lambda: None,
        cgroups: PodCgroups | None = None,
        runtime_back: Callable[[], None] = lambda: None,
        pressure: Callable[[], Sequence[str]] = lambda: (),
        shutting_down: Callable[[], bool] = lambda: False,
    ) -> None:
        """``node`` gives this node's object, ``pressure`` its conditions and ``shutting_down`` whether it is about to
        end, for the check that a pod may run here; ``runtime_back`` is called when Docker answers again."""
        self._pressure = pressure
        self._shutting_down = shutting_down
        self._config = config
        self._runtime = runtime
        self._node = node
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._orphans: dict[str, asyncio.Task[None]] = {}
        self._runtime_back = runtime_back
        self._relist_now = asyncio.Event()
        self._relisted = time.monotonic()
        self._seen: dict[str, frozenset[tuple[str, str]]] = {}
        self._handlers = Handlers(runtime)
        self._static: dict[str, Pod] | None = None
        """What the manifests say by namespace and name; None until they have been read."""
        self._static_read = asyncio.Event()
        self._static_complete = False
        self._from_files: set[str] = set()
        """The uids of workers whose pods come from manifests: an annotation would prove nothing."""
        self._pods = informers.informer(Pod, field_selector=f"spec.nodeName={config.node_name}")
        self._services = informers.informer(Service)
        pulls = 1 if config.serialize_image_pulls else config.max_parallel_image_pulls
        root = Path(config.root_dir)
        images = ImageManager(runtime, recorder, objects, parallel_pulls=pulls, backoff=Backoff(), root=root)
        self._tools = Tools(
            config=config,
            client=client,
            runtime=runtime,
            network=network,
            volumes=volumes,
            objects=objects,
            images=images,
            recorder=recorder,
            handlers=self._handlers,
            services=lambda namespace: self._services.store.by_index("namespace", namespace),
            services_read=self._services.wait_synced,
            bind_sub_path=lambda wanted: volumes.bind_sub_path(wanted),
            cgroups=cgroups or no_cgroups(),
            logs=logs,
            restarts=Backoff(),
            starts=asyncio.Semaphore(config.max_parallel_pod_starts),
            node=node,
        )
        self._pods.add_handler(self._added, self._updated, self._deleted)
        self._mirrors = Mirrors(client, self._static_pods, self._shown, node)

    def problem(self) -> str | None:
        """Why the node is not ready as far as its containers go, in the words of upstream's pod lifecycle event
        generator."""
        age = time.monotonic() - self._relisted
        if age < RELIST_THRESHOLD_SECONDS:
            return None
        last, threshold = format_duration(age), format_duration(RELIST_THRESHOLD_SECONDS)
        return f"PLEG is not healthy: pleg was last seen active {last} ago; threshold is {threshold}"

    # -- PodSource --------------------------------------------------------------------------------------------------

    def pods(self) -> list[Pod]:
        return [newest(worker.pod, worker.status) for worker in self._workers.values()]

    def _own_pods(self) -> list[Pod]:
        return [worker.pod for worker in self._workers.values()]

    def pod_by_uid(self, uid: str) -> Pod | None:
        worker = self._workers.get(uid)
        return newest(worker.pod, worker.status) if worker else None

    def wake(self, uid: str) -> None:
        """Something that the pod's worker waits for may be there now."""
        worker = self._workers.get(uid)
        if worker is not None:
            worker.wake()

    def wake_all(self) -> None:
        """Something that all pods' statuses tell has changed."""
        for worker in self._workers.values():
            worker.wake()

    def get_pod(self, namespace: str, name: str, uid: str | None = None) -> Pod | None:
        worker = self._find(namespace, name, uid)
        return newest(worker.pod, worker.status) if worker else None

    async def known(self) -> None:
        """Waits until the API server and the manifests have told once which pods there are."""
        await self._pods.wait_synced()
        await self._static_read.wait()

    def is_critical(self, pod: Pod) -> bool:
        """Such pods are not evicted, and others make room for them: static ones, and those of a system priority."""
        return identity_of(pod).uid in self._from_files or has_critical_priority(pod)

    async def end_pod(self, uid: str, ending: Ending) -> None:
        """Returns when nothing of the pod runs any more and, if it can be told, the API server knows why."""
        worker = self._workers.get(uid)
        if worker is None:
            return
        await worker.end(ending)
        try:
            async with asyncio.timeout(TOLD_SECONDS):
                await worker.told()
        except TimeoutError:
            log.info("pod %s has ended, the API server does not know yet", worker.identity)

    def container_status(self, namespace: str, name: str, container: str) -> ContainerStatus | None:
        worker = self._find(namespace, name, None)
        return Lookup.of(worker).status(container) if worker else None

    def container_id_for_logs(self, namespace: str, name: str, container: str, previous: bool) -> str:
        return Lookup.of(self._find(namespace, name, None), name).for_logs(container, previous)

    def running_container_id(self, namespace: str, name: str, uid: str | None, container: str) -> str:
        return Lookup.of(self._find(namespace, name, uid), name).running(container)

    def sandbox_pid(self, namespace: str, name: str) -> int:
        return Lookup.of(self._find(namespace, name, None), name).sandbox_pid()

    def _find(self, namespace: str, name: str, uid: str | None) -> PodWorker | None:
        """Of a pod that ends and its successor of the same name, the successor."""
        found = None
        for worker in self._workers.values():
            identity = worker.identity
            if identity.namespace == namespace and identity.name == name and uid in (None, identity.uid):
                found = worker if found is None or found.gone else found
        return found

    # -- tasks ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled; the informers are run by their factory. Containers go on when the kubelet ends."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_events(), name="runtime events")
                group.create_task(self._relist_loop(), name="relist")
                group.create_task(self._mirrors.run(), name="mirror pods")
                group.create_task(self._tools.cgroups.run(self._own_pods), name="cgroups")
        finally:
            tasks = [*self._tasks.values(), *self._orphans.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow_events(self) -> None:
        async for event in self._runtime.events():
            if event.kind == "reconnected":
                self._runtime_back()
                for worker in self._workers.values():
                    worker.wake()
                self._relist_now.set()
                continue
            self._tools.logs.touch(event.container_id, ended=event.kind in ("die", "destroy"))
            if event.pod_uid in self._workers:
                self._workers[event.pod_uid].container_event(event.kind, event.container_id)

    async def _relist_loop(self) -> None:
        await self._pods.wait_synced()
        await self._static_read.wait()
        while True:
            self._relist_now.clear()
            pause = RELIST_SECONDS
            try:
                with metrics.RELIST_DURATION.time():
                    await self._relist()
                self._relisted = time.monotonic()
                metrics.LAST_SEEN.set_to_current_time()
            except RuntimeFailure as error:
                log.warning("relist: %s", error)
                pause = RELIST_RETRY_SECONDS
            try:
                async with asyncio.timeout(pause):
                    await self._relist_now.wait()
            except TimeoutError:
                pass

    async def _relist(self) -> None:
        """Wakes the workers of pods whose containers have changed unseen; ends what belongs to no pod."""
        groups: dict[str, list[RuntimeContainer]] = {uid: [] for uid in self._workers}
        for container in await self._runtime.list_containers():
            groups.setdefault(container.pod_uid, []).append(container)
        seen = {uid: frozenset((c.id, c.state.value) for c in found) for uid, found in groups.items()}
        for uid, found in groups.items():
            worker = self._workers.get(uid)
            if worker is not None:
                if self._seen.get(uid) != seen[uid]:
                    worker.wake()
            else:
                self._end_orphan(uid, found)
        self._seen = seen
        for uid in await asyncio.to_thread(self._directories):
            if uid not in groups and uid not in self._workers:
                self._end_orphan(uid, [])
        known = frozenset((*groups, *self._workers))
        await self._collect([each for uid in self._workers for each in groups.get(uid, ())])
        if self._static_complete:
            await self._tools.logs.sweep(known, [each for found in groups.values() for each in found])

    async def _collect(self, containers: list[RuntimeContainer]) -> None:
        """What has ended is kept within the node's bounds; each worker keeps its own pod's."""
        finished = {uid for uid, worker in self._workers.items() if worker.finished}
        for each in over_the_limit(containers, self._config, finished, now()):
            await self._runtime.remove_container(each.id)
            await self._tools.logs.unlink(each)

    def _directories(self) -> list[str]:
        root = Path(self._config.root_dir) / "pods"
        return [entry.name for entry in root.iterdir()] if root.is_dir() else []

    def _end_orphan(self, uid: str, found: list[RuntimeContainer]) -> None:
        if uid in self._orphans or not self._static_complete:
            return
        directory = PodDirectory(self._config.root_dir, uid)
        task = asyncio.create_task(end_orphan(uid, observe(found), self._tools, directory), name=f"orphan {uid}")
        self._orphans[uid] = task
        task.add_done_callback(lambda done: self._orphan_ended(uid, done))

    def _orphan_ended(self, uid: str, task: asyncio.Task[None]) -> None:
        self._orphans.pop(uid, None)
        if not task.cancelled() and task.exception() is not None:
            log.warning("orphaned pod %s cannot be taken down yet: %s", uid, task.exception())

    # -- pods come and go -------------------------------------------------------------------------------------------

    def _added(self, pod: Pod) -> None:
        if is_mirror(pod):
            self._mirror_changed(pod)
        elif identity_of(pod).uid not in self._workers:
            self._take(pod, self._tools)

    def _take(self, pod: Pod, tools: Tools, *, static: bool = False) -> None:
        verdict = self._judge(pod, self._node(), static=static)
        worker = PodWorker(pod, tools, rejection=verdict.rejection, fits=self._fits)
        if verdict.preempt:
            self._start(worker, self._preempt(verdict))
        elif verdict.rejection is not None and verdict.rejection[0] == "NodeAffinity":
            self._start(worker, self._judge_again(worker, static))
        else:
            self._start(worker)

    def _start(self, worker: PodWorker, before: Coroutine[Any, Any, None] | None = None) -> None:
        """``before`` is waited for first."""
        uid = worker.identity.uid
        self._workers[uid] = worker
        self._tools.cgroups.changed()

        async def run() -> None:
            if before is not None:
                await before
            await worker.run()

        task = asyncio.create_task(run(), name=f"pod {worker.identity}")
        self._tasks[uid] = task
        task.add_done_callback(lambda done: self._ended(uid, done))

    def _judge(self, pod: Pod, node: Node | None, *, static: bool = False) -> Verdict:
        """A pod that this node has accepted before (it has a status of it) is not judged again."""
        if (pod.status is not None and pod.status.startTime is not None) or meta_of(pod).deletionTimestamp is not None:
            return Verdict()
        view = NodeView(
            node=node,
            others=self._others(pod),
            capacity=self._config.capacity,
            max_pods=self._config.max_pods,
            pressure=self._pressure(),
            shutting_down=self._shutting_down(),
            unsafe_sysctls=self._config.allowed_unsafe_sysctls,
            is_critical=lambda each: self.is_critical(each),
            static=static,
        )
        return admit(pod, view)

    def _others(self, pod: Pod) -> list[Pod]:
        """Those that take something of the node."""
        uid = identity_of(pod).uid
        present = (worker for worker in self._workers.values() if worker.holds_room and worker.identity.uid != uid)
        return [newest(worker.pod, worker.status) for worker in present]

    def _fits(self, pod: Pod) -> str:
        """Whether a pod of this node may become what its spec says now."""
        for others, answer in (([], "Infeasible"), (self._others(pod), "Deferred")):
            found = failures(pod, others, self._node(), self._config.capacity, self._config.max_pods)
            if any(isinstance(each, Insufficient) for each in found):
                return answer
        return ""

    async def _preempt(self, verdict: Verdict) -> None:
        """What they hold counts as free from now on, and is when they have ended."""
        for pod in verdict.preempt:
            metrics.count_preemption(verdict.lacking)
            log.warning("pod %s is preempted", identity_of(pod))
            self._tools.event(pod, "Warning", preemption.ENDING.reason, preemption.MESSAGE)
        await asyncio.gather(*(self.end_pod(identity_of(pod).uid, preemption.ENDING) for pod in verdict.preempt))

    async def _judge_again(self, worker: PodWorker, static: bool) -> None:
        """The node's labels may be newer than what the watch has shown."""
        try:
            node = await self._tools.client.get(Node, self._config.node_name)
        except TRANSIENT as error:
            log.info("pod %s: the node cannot be read: %s", worker.identity, error)
            return
        verdict = self._judge(worker.pod, node, static=static)
        worker.rejection = verdict.rejection
        await self._preempt(verdict)

    def _updated(self, old: Pod, new: Pod) -> None:
        if identity_of(old).uid != identity_of(new).uid:
            self._deleted(old)
        worker = self._workers.get(identity_of(new).uid)
        if worker is None:
            self._added(new)
        else:
            worker.update(new)

    def _deleted(self, pod: Pod) -> None:
        if is_mirror(pod):
            self._mirrors.wake()
        worker = self._workers.get(identity_of(pod).uid)
        if worker is not None:
            worker.removed(pod)

    # -- static pods ------------------------------------------------------------------------------------------------

    def set_static(self, pods: list[Pod], complete: bool = True) -> None:
        """What the manifests say now: what is new starts, what is no more ends. ``complete``: all places where they
        come from have been read, so what else runs belongs to nobody."""
        self._static = {key_of(pod): pod for pod in pods}
        if complete and not self._static_complete:
            self._static_complete = True
            self._relist_now.set()
        self._static_read.set()
        self._sync_static()

    def _sync_static(self) -> None:
        """A changed manifest is another pod, and begins when its predecessor has ended: they may share ports."""
        wanted = self._static or {}
        running = {key_of(each.pod): each for each in self._static_workers()}
        for key, worker in running.items():
            if key not in wanted or identity_of(wanted[key]) != worker.identity:
                worker.removed(worker.pod)
        for key, pod in wanted.items():
            if key not in running:
                self._from_files.add(identity_of(pod).uid)
                self._take(pod, self._static_tools(pod), static=True)
                self._mirrors.wake()

    def _static_workers(self) -> list[PodWorker]:
        return [worker for uid, worker in self._workers.items() if uid in self._from_files]

    def _static_tools(self, pod: Pod) -> Tools:
        async def at_once() -> None:
            """The API server may be one of these pods: they do not wait for what it knows of services."""

        client: Any = MirrorClient(self._tools.client, pod, lambda: self._pods.store.get(key_of(pod)))
        return dataclasses.replace(self._tools, client=client, services_read=at_once)

    def _static_pods(self) -> list[Pod]:
        """Those that are to have a mirror: also one that still ends."""
        ending = {key_of(each.pod): each.pod for each in self._static_workers()}
        return list({**(self._static or {}), **ending}.values())

    def _shown(self) -> list[Pod] | None:
        return self._pods.store.list() if self._pods.synced and self._static is not None else None

    def _mirror_changed(self, mirror: Pod) -> None:
        self._mirrors.wake()
        for worker in self._static_workers():
            if key_of(worker.pod) == key_of(mirror) and reflects(mirror, worker.pod):
                worker.mirrored(mirror)

    # -- ends -------------------------------------------------------------------------------------------------------

    def _ended(self, uid: str, task: asyncio.Task[None]) -> None:
        worker = self._workers.pop(uid, None)
        self._tools.cgroups.changed()
        self._tasks.pop(uid, None)
        self._seen.pop(uid, None)
        if task.cancelled() or worker is None:
            return
        if uid in self._from_files:
            self._from_files.discard(uid)
            self._mirrors.wake()
            if task.exception() is None:
                self._sync_static()
        if task.exception() is not None:
            log.error("pod %s: its worker failed", worker.identity, exc_info=task.exception())
            asyncio.get_running_loop().call_later(WORKER_RETRY_SECONDS, self._replace_worker, key_of(worker.pod), uid)

    def _replace_worker(self, key: str, uid: str) -> None:
        if key in (self._static or {}):
            self._sync_static()
            return
        current = self._pods.store.get(key)
        if current is not None and identity_of(current).uid == uid:
            self._added(clone(current))
