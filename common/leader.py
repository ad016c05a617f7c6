"""Leader election on a Lease: of several instances of a process one works, the others wait.

https://kubernetes.io/docs/concepts/architecture/leases/#leader-election and client-go's leaderelection, whose defaults
these are. The clocks of the instances are never compared: an instance that waits measures by its own clock how long a
Lease has stayed unchanged.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease

from common.api.meta import clone, meta_of
from common.api.status import NotFound, StatusError
from common.api.time import now_micro
from common.client import Client
from common.events import EventRecorder

log = logging.getLogger(__name__)


class LeadershipLost(Exception):
    """Another instance may lead now: the process must stop working at once."""


class LeaderElector:
    """``identity`` must be this instance's alone (host name and something random). Times in seconds."""

    def __init__(
        self,
        client: Client,
        *,
        name: str,
        identity: str,
        namespace: str = "kube-system",
        lease_duration: float = 15,
        renew_deadline: float = 10,
        retry_period: float = 2,
        recorder: EventRecorder | None = None,
    ) -> None:
        if not lease_duration > renew_deadline > retry_period:
            raise ValueError("leader election: lease duration > renew deadline > retry period must hold")
        self.name, self.namespace, self.identity = name, namespace, identity
        self.leading = False
        self._client = client
        self._duration, self._deadline, self._period = lease_duration, renew_deadline, retry_period
        self._recorder = recorder
        self._observed: Lease | None = None
        self._observed_at = 0.0

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Waits for the Lease, then runs ``lead`` while renewing it.

        Raises LeadershipLost when it could not be renewed in time (``lead`` is cancelled first). When ``lead`` returns
        or this is cancelled, the Lease is given back so that the next instance need not wait.
        """
        await self._acquire()
        work = asyncio.ensure_future(lead())
        renew = asyncio.create_task(self._renew())
        try:
            await asyncio.wait({work, renew}, return_when=asyncio.FIRST_COMPLETED)
            if renew.done():
                await _cancel(work)
                renew.result()
            await work
        finally:
            self.leading = False
            await _cancel(renew)
            await _cancel(work)
            await self._release()

    async def _acquire(self) -> None:
        log.info("attempting to acquire leader lease %s/%s", self.namespace, self.name)
        while not await self._try():  # noqa: ASYNC110 - the Lease is the event, and it is elsewhere
            await asyncio.sleep(self._period * random.uniform(1.0, 1.2))
        self.leading = True
        log.info("successfully acquired lease %s/%s", self.namespace, self.name)
        if self._recorder is not None and self._observed is not None:
            self._recorder.event(self._observed, "Normal", "LeaderElection", f"{self.identity} became leader")

    async def _renew(self) -> None:
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(self._period)
            left = renewed + self._deadline - time.monotonic()
            try:
                async with asyncio.timeout(max(left, 0.01)):
                    held = await self._try()
            except TimeoutError:
                held = False
            if held:
                renewed = time.monotonic()
            elif time.monotonic() - renewed >= self._deadline:
                raise LeadershipLost(f"leader election lost: {self.namespace}/{self.name}")

    async def _try(self) -> bool:
        """One attempt to create, take or renew the Lease. False when another holds it or the server says no."""
        try:
            lease = await self._client.get(Lease, self.name, self.namespace)
        except NotFound:
            return await self._create()
        except StatusError as error:
            log.warning("lease %s/%s: %s", self.namespace, self.name, error)
            return False
        self._observe(lease)
        spec = lease.spec or LeaseSpec()
        ours = spec.holderIdentity == self.identity
        expires = self._observed_at + (spec.leaseDurationSeconds or self._duration)
        if spec.holderIdentity and not ours and time.monotonic() < expires:
            return False
        taken = clone(lease)
        taken.spec = self._spec(spec if ours else None, transitions=(spec.leaseTransitions or 0) + (not ours))
        try:
            self._observe(await self._client.replace(taken))
        except StatusError as error:
            log.info("lease %s/%s: %s", self.namespace, self.name, error)
            return False
        return True

    async def _create(self) -> bool:
        metadata = ObjectMeta(name=self.name, namespace=self.namespace)
        try:
            self._observe(await self._client.create(Lease(metadata=metadata, spec=self._spec(None, transitions=0))))
        except StatusError as error:
            log.warning("lease %s/%s: %s", self.namespace, self.name, error)
            return False
        return True

    async def _release(self) -> None:
        lease = self._observed
        if lease is None or lease.spec is None or lease.spec.holderIdentity != self.identity:
            return
        free = clone(lease)
        free.spec = LeaseSpec(holderIdentity="", leaseDurationSeconds=1, renewTime=now_micro(), acquireTime=now_micro())
        free.spec.leaseTransitions = lease.spec.leaseTransitions
        try:
            async with asyncio.timeout(self._period):
                await self._client.replace(free)
        except (StatusError, TimeoutError) as error:
            log.info("lease %s/%s not given back: %s", self.namespace, self.name, error)

    def _spec(self, held: LeaseSpec | None, *, transitions: int) -> LeaseSpec:
        present = now_micro()
        return LeaseSpec(
            holderIdentity=self.identity,
            leaseDurationSeconds=int(self._duration),
            acquireTime=held.acquireTime if held else present,
            renewTime=present,
            leaseTransitions=transitions,
        )

    def _observe(self, lease: Lease) -> None:
        old = self._observed
        if old is None or meta_of(old).resourceVersion != meta_of(lease).resourceVersion:
            self._observed, self._observed_at = lease, time.monotonic()


async def _cancel(task: asyncio.Future[None]) -> None:
    """Cancels and waits; an error of the task's own is left to whoever awaits it."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
