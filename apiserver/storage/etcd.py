"""etcd's v3 API, as much of it as an API server needs, over grpc.aio and the generated stubs that aetcd ships.

aetcd's own client is not used: it has no TLS, one endpoint, and no limit or revision in ranges. Every call here has a
deadline; a call that etcd cannot answer in time raises a StatusError (so a request is answered, never hung). Reads are
repeated on another endpoint when a connection breaks; writes are not, since nobody knows whether they happened: the
caller is told so, and a compare-and-swap makes its repetition safe.
https://etcd.io/docs/v3.5/learning/api/
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio
from aetcd import rpc
from aetcd.rpc.rpc_pb2_grpc import KVStub, LeaseStub, MaintenanceStub, WatchStub

from common.api.status import InternalError, RequestEntityTooLarge, ServiceUnavailable, StatusError, Timeout

log = logging.getLogger(__name__)

CALL_TIMEOUT = 5.0
MAX_MESSAGE = 256 * 1024 * 1024
"""A page of large objects is above gRPC's default of 4 MiB."""

_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A stalled etcd keeps its connections open: pings notice.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
]


@dataclass(frozen=True)
class EtcdTLS:
    """The files of mutual TLS."""

    ca_file: str
    cert_file: str
    key_file: str

    def credentials(self) -> Any:
        return grpc.ssl_channel_credentials(
            root_certificates=Path(self.ca_file).read_bytes(),
            private_key=Path(self.key_file).read_bytes(),
            certificate_chain=Path(self.cert_file).read_bytes(),
        )


class _Endpoint:
    """The stubs of one endpoint."""

    def __init__(self, url: str, tls: EtcdTLS | None) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        self.url = url
        if parts.scheme == "https":
            if tls is None:
                raise ValueError(f"{url}: --etcd-cafile, --etcd-certfile and --etcd-keyfile are required for https")
            self.channel = grpc.aio.secure_channel(parts.netloc, tls.credentials(), options=_OPTIONS)
        else:
            self.channel = grpc.aio.insecure_channel(parts.netloc, options=_OPTIONS)
        kv = KVStub(self.channel)
        self.methods: dict[str, Callable[..., Awaitable[Any]]] = {
            "range": kv.Range,
            "txn": kv.Txn,
            "compact": kv.Compact,
            "lease_grant": LeaseStub(self.channel).LeaseGrant,
            "status": MaintenanceStub(self.channel).Status,
        }
        self.watch = WatchStub(self.channel).Watch


class Etcd:
    """A client of an etcd cluster. Make it inside a running event loop."""

    def __init__(
        self,
        endpoints: Sequence[str],
        tls: EtcdTLS | None = None,
        *,
        timeout: float = CALL_TIMEOUT,
        observe: Callable[[str, float], None] | None = None,
    ) -> None:
        self._endpoints = [_Endpoint(url, tls) for url in endpoints]
        self._current = 0
        self._timeout = timeout
        self._observe = observe

    async def close(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.channel.close()

    def _rotate(self, failed: int) -> None:
        if self._current == failed:
            self._current = (failed + 1) % len(self._endpoints)

    async def _call(self, method: str, request: Any, *, again: bool) -> Any:
        """One call within the deadline; ``again``: it may be repeated when the connection breaks."""
        start = time.monotonic()
        deadline = start + self._timeout
        pause = 0.05
        while True:
            index = self._current
            left = deadline - time.monotonic()
            # With several endpoints, one that does not answer must leave time for the next.
            timeout = left if len(self._endpoints) == 1 else min(left, self._timeout / 2)
            try:
                answer = await self._endpoints[index].methods[method](request, timeout=timeout, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                self._rotate(index)
                lost = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                if not (again and lost) or time.monotonic() + pause >= deadline:
                    raise _status(error) from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.5)
            else:
                if self._observe is not None:
                    self._observe(method, time.monotonic() - start)
                return answer

    async def range(
        self,
        key: bytes,
        range_end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = 0,
        count_only: bool = False,
        keys_only: bool = False,
    ) -> Any:
        request = rpc.RangeRequest(
            key=key, range_end=range_end, limit=limit, revision=revision, count_only=count_only, keys_only=keys_only
        )
        return await self._call("range", request, again=True)

    async def txn(self, request: Any) -> Any:
        return await self._call("txn", request, again=False)

    async def compact(self, revision: int) -> None:
        await self._call("compact", rpc.CompactionRequest(revision=revision), again=False)

    async def lease_grant(self, seconds: int) -> int:
        return int((await self._call("lease_grant", rpc.LeaseGrantRequest(TTL=seconds), again=True)).ID)

    async def check_version(self) -> None:
        """Raises ServiceUnavailable for an etcd that may report a watch's progress before it has sent the events.

        Consistent reads from the cache rest on that report; upstream asks for the same versions
        (https://kep.k8s.io/2340).
        """
        version = (await self._call("status", rpc.StatusRequest(), again=True)).version
        if not reports_progress(version):
            raise ServiceUnavailable(f"etcd {version} is too old: 3.5.13 or newer (or 3.4.31) is needed")

    def watch(self) -> WatchStream:
        """A new watch stream on the current endpoint."""
        index = self._current
        return WatchStream(self._endpoints[index].watch(), lambda: self._rotate(index))


class WatchStream:
    """One bidirectional watch stream. ``failed`` tells the client to try another endpoint next."""

    def __init__(self, call: Any, failed: Callable[[], None]) -> None:
        self._call = call
        self._failed = failed

    async def create(self, key: bytes, range_end: bytes, start_revision: int) -> None:
        request = rpc.WatchCreateRequest(
            key=key, range_end=range_end, start_revision=start_revision, progress_notify=True
        )
        await self._call.write(rpc.WatchRequest(create_request=request))

    async def request_progress(self) -> None:
        """Asks etcd to say how far this stream is; the answer has no events but a revision."""
        await self._call.write(rpc.WatchRequest(progress_request=rpc.WatchProgressRequest()))

    async def responses(self) -> AsyncIterator[Any]:
        try:
            while True:
                response = await self._call.read()
                if response is grpc.aio.EOF:
                    return
                yield response
        except grpc.aio.AioRpcError:
            self._failed()
            raise

    def cancel(self) -> None:
        self._call.cancel()


def reports_progress(version: str) -> bool:
    """Whether etcd of this version reports a watch's progress truly."""
    numbers = tuple(int(part) for part in version.split("-")[0].split("."))
    return numbers >= (3, 5, 13) or (3, 4, 31) <= numbers < (3, 5)


def _status(error: grpc.aio.AioRpcError) -> StatusError:
    """What a client of the API is told when etcd does not answer, or refuses."""
    code, text = error.code(), error.details() or ""
    if code == grpc.StatusCode.OUT_OF_RANGE:
        return CompactedError(text)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return Timeout("etcdserver: request timed out", {"retryAfterSeconds": 1})
    if code == grpc.StatusCode.UNAVAILABLE:
        return ServiceUnavailable(f"etcdserver: unavailable: {text}", {"retryAfterSeconds": 1})
    if "requested lease not found" in text:
        return LeaseNotFound(text, {"retryAfterSeconds": 1})
    if "request is too large" in text or "larger than max" in text:
        return RequestEntityTooLarge("etcdserver: request is too large")
    return InternalError(f"rpc error: code = {code.name} desc = {text}")


class CompactedError(InternalError):
    """The revision asked for is no longer there (or not there yet)."""


class LeaseNotFound(ServiceUnavailable):
    """The lease of a write is no longer there: another one does it."""


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that start with ``prefix``."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


BUSY, GATHER = 4, 0.001
"""From so many askers at a time on, a question gathers for so long."""


class ReadIndex:
    """etcd's current revision: one question for all who ask at about the same time.

    A reader must not join a question that was sent before the reader came, since the answer may be older than a write
    that was answered in between. So there is one question on its way, and one that gathers those who came after it.
    """

    def __init__(self, etcd: Etcd, key: bytes) -> None:
        self._etcd = etcd
        self._key = key
        self._sent: asyncio.Task[int] | None = None
        self._gathering: asyncio.Task[int] | None = None
        self._askers = 0

    async def revision(self) -> int:
        self._askers += 1
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._ask(self._sent))
            # All askers may be gone when it fails.
            self._gathering.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._gathering)

    async def _ask(self, previous: asyncio.Task[int] | None) -> int:
        if previous is not None and not previous.done():
            await asyncio.wait([previous])
            if self._askers >= BUSY:
                await asyncio.sleep(GATHER)
        self._askers = 0
        self._sent, self._gathering = self._gathering, None
        return int((await self._etcd.range(self._key, count_only=True)).header.revision)
