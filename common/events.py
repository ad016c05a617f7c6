"""EventRecorder: what a process did, as Event objects that are counted instead of repeated.

As client-go's correlator does: the same event again raises ``count`` of the one that exists; more than ten alike events
(same object, type, reason; other messages) within ten minutes become one, "(combined from similar events)"; events of
one object beyond a burst of 25 and one every five minutes are dropped.
https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event

from common.api.meta import kind_of
from common.api.status import NotFound, ServiceUnavailable, StatusError, TooManyRequests
from common.api.time import now
from common.client import Client, PatchType

log = logging.getLogger(__name__)

CACHE = 4096
QUEUE = 1000
ALIKE_LIMIT, ALIKE_SECONDS = 10, 600.0
BURST, REFILL_SECONDS = 25, 300.0
TRIES = 12


@dataclass(frozen=True)
class _Pending:
    ref: ObjectReference
    type: str
    reason: str
    message: str
    at: datetime
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def alike(self) -> tuple[str | None, ...]:
        r = self.ref
        return (r.kind, r.namespace, r.name, r.uid, r.fieldPath, self.type, self.reason)

    @property
    def same(self) -> tuple[str | None, ...]:
        return (*self.alike, self.message)


@dataclass
class _Alike:
    since: float
    messages: set[str] = field(default_factory=set)


@dataclass
class _Recorded:
    namespace: str
    name: str
    count: int


@dataclass
class _Bucket:
    tokens: float
    at: float


def reference(obj: Any, field_path: str | None = None) -> ObjectReference:
    """An ObjectReference to a typed object; an ObjectReference is given back as it is."""
    if isinstance(obj, ObjectReference):
        return obj
    api_version, kind = kind_of(obj)
    m = obj.metadata
    return ObjectReference(
        apiVersion=api_version,
        kind=kind,
        name=m.name,
        namespace=m.namespace,
        uid=m.uid,
        resourceVersion=m.resourceVersion,
        fieldPath=field_path,
    )


class EventRecorder:
    """``component`` and ``host`` become the event's source."""

    def __init__(self, client: Client, component: str, host: str | None = None) -> None:
        self._client = client
        self._component = component
        self._host = host
        self._queue: asyncio.Queue[_Pending] = asyncio.Queue(QUEUE)
        self._recorded: OrderedDict[Any, _Recorded] = OrderedDict()
        self._alike: OrderedDict[Any, _Alike] = OrderedDict()
        self._buckets: OrderedDict[Any, _Bucket] = OrderedDict()

    def event(
        self,
        obj: Any,
        type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        *,
        field_path: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Never blocks: when the server is far behind, events are dropped and the log says so."""
        more = tuple((annotations or {}).items())
        pending = _Pending(reference(obj, field_path), type, reason, message, now(), more)
        try:
            self._queue.put_nowait(pending)
        except asyncio.QueueFull:
            log.warning("event dropped, too many wait: %s %s: %s", pending.ref.name, reason, message)

    async def run(self) -> None:
        """Sends what is recorded, until cancelled."""
        while True:
            pending = await self._queue.get()
            if self._allowed(pending):
                await self._send(self._aggregated(pending))

    def _allowed(self, pending: _Pending) -> bool:
        """The spam filter: a bucket of tokens for each object."""
        key = pending.alike[:4]
        present = time.monotonic()
        bucket = _entry(self._buckets, key, lambda: _Bucket(BURST, present))
        bucket.tokens = min(BURST, bucket.tokens + (present - bucket.at) / REFILL_SECONDS)
        bucket.at = present
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _aggregated(self, pending: _Pending) -> tuple[_Pending, Any]:
        """The event to send and the key it is counted under."""
        present = time.monotonic()
        alike = _entry(self._alike, pending.alike, lambda: _Alike(present))
        if present - alike.since > ALIKE_SECONDS:
            alike.since, alike.messages = present, set()
        alike.messages.add(pending.message)
        if len(alike.messages) < ALIKE_LIMIT:
            return pending, pending.same
        message = f"(combined from similar events): {pending.message}"
        return dataclasses.replace(pending, message=message), pending.alike

    async def _send(self, event: tuple[_Pending, Any]) -> None:
        pending, key = event
        for attempt in range(TRIES):
            try:
                await self._write(pending, key)
                return
            except (ServiceUnavailable, TooManyRequests) as error:
                await asyncio.sleep(error.retry_after or min(0.5 * 2.0**attempt, 10))
            except StatusError as error:
                # An object that is gone or a namespace that ends takes no more events: that is no fault of ours.
                log.debug("event %s of %s refused: %s", pending.reason, pending.ref.name, error)
                return
        log.warning("event given up: %s %s: %s", pending.ref.name, pending.reason, pending.message)

    async def _write(self, pending: _Pending, key: Any) -> None:
        recorded = self._recorded.get(key)
        if recorded is not None:
            patch = {
                "count": recorded.count + 1,
                "lastTimestamp": pending.at.isoformat().replace("+00:00", "Z"),
                "message": pending.message,
            }
            try:
                await self._client.patch(
                    Event, recorded.name, patch, recorded.namespace, patch_type=PatchType.STRATEGIC
                )
                recorded.count += 1
                return
            except NotFound:  # its time to live is over: begin anew
                del self._recorded[key]
        namespace = pending.ref.namespace or "default"
        name = f"{pending.ref.name}.{time.time_ns():x}"
        await self._client.create(
            Event(
                metadata=ObjectMeta(name=name, namespace=namespace, annotations=dict(pending.annotations) or None),
                involvedObject=pending.ref,
                type=pending.type,
                reason=pending.reason,
                message=pending.message,
                count=1,
                firstTimestamp=pending.at,
                lastTimestamp=pending.at,
                source=EventSource(component=self._component, host=self._host),
                reportingComponent=self._component,
                reportingInstance=self._host or "",
            )
        )
        _entry(self._recorded, key, lambda: _Recorded(namespace, name, 1))


def _entry(cache: OrderedDict[Any, Any], key: Any, make: Any) -> Any:
    """The entry of a bounded cache, made if it is not there; the least recently used one goes."""
    if key in cache:
        cache.move_to_end(key)
    else:
        cache[key] = make()
        if len(cache) > CACHE:
            cache.popitem(last=False)
    return cache[key]
