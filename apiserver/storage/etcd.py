"""etcd's v3 API, as much of it as an API server needs, with the generated messages that aetcd ships.

aetcd's own client is not used: it has no TLS, one endpoint, and no limit or revision in ranges. How the messages travel
is the business of ``storage.rpc``. Every call here has a deadline; a call that etcd cannot answer in time raises a
StatusError (so a request is answered, never hung). Reads are repeated on another endpoint when a connection breaks;
writes only when they were never sent. Whether one that was sent has happened nobody knows: the caller is told so, and a
compare-and-swap makes its repetition safe.
https://etcd.io/docs/v3.5/learning/api/
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aetcd import rpc

from apiserver.storage.rpc import Channel, Code, NotConnected, RpcError, StreamCall
from common.api.status import InternalError, RequestEntityTooLarge, ServiceUnavailable, StatusError, Timeout

log = logging.getLogger(__name__)

CALL_TIMEOUT = 5.0

CONNECT_SHARE = 0.5
"""How long a call waits for a connection to one of several endpoints before it goes to the next."""

TROUBLES = (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
"""Another endpoint may do better; every other error is an answer."""

METHODS: Mapping[str, tuple[str, Callable[[bytes], Any]]] = {
    "range": ("/etcdserverpb.KV/Range", rpc.RangeResponse.FromString),
    "txn": ("/etcdserverpb.KV/Txn", rpc.TxnResponse.FromString),
    "compact": ("/etcdserverpb.KV/Compact", rpc.CompactionResponse.FromString),
    "lease_grant": ("/etcdserverpb.Lease/LeaseGrant", rpc.LeaseGrantResponse.FromString),
    "status": ("/etcdserverpb.Maintenance/Status", rpc.StatusResponse.FromString),
}
"""The calls: path, and what reads the response."""
WATCH = "/etcdserverpb.Watch/Watch"


@dataclass(frozen=True)
class EtcdTLS:
    """The files of mutual TLS."""

    ca_file: str
    cert_file: str
    key_file: str

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file)
        context.load_cert_chain(self.cert_file, self.key_file)
        context.set_alpn_protocols(["h2"])
        return context


def _channel(url: str, tls: EtcdTLS | None) -> Channel:
    url = url if "://" in url else f"http://{url}"
    if not url.startswith("https://"):
        return Channel(url)
    if tls is None:
        raise ValueError(f"{url}: --etcd-cafile, --etcd-certfile and --etcd-keyfile are required for https")
    return Channel(url, tls.context())


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
        self._endpoints = [_channel(url, tls) for url in endpoints]
        self._current = 0
        self._timeout = timeout
        self._observe = observe

    async def close(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.close()

    def _rotate(self, failed: int) -> None:
        if self._current == failed:
            self._current = (failed + 1) % len(self._endpoints)

    async def _call(self, method: str, request: Any, *, again: bool) -> Any:
        """One call within the deadline; ``again``: it may be repeated when the connection breaks."""
        start = time.monotonic()
        deadline = start + self._timeout
        pause = 0.05
        path, read = METHODS[method]
        message = request.SerializeToString()
        while True:
            index = self._current
            left = deadline - time.monotonic()
            # With several endpoints, one that does not answer must leave time for the next.
            timeout = left if len(self._endpoints) == 1 else min(left, self._timeout / 2)
            endpoint = self._endpoints[index]
            try:
                if not endpoint.usable and len(self._endpoints) > 1:
                    await endpoint.connect(min(left, CONNECT_SHARE))
                answer = await endpoint.unary(path, message, timeout)
            except RpcError as error:
                if error.code in TROUBLES:
                    self._rotate(index)
                repeat = isinstance(error, NotConnected) or (again and error.code in TROUBLES)
                if not repeat or time.monotonic() + pause >= deadline:
                    raise _status(error) from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.5)
            else:
                if self._observe is not None:
                    self._observe(method, time.monotonic() - start)
                return read(answer)

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
        timeout = CALL_TIMEOUT if len(self._endpoints) == 1 else CONNECT_SHARE
        return WatchStream(self._endpoints[index], lambda: self._rotate(index), timeout)


class WatchStream:
    """One bidirectional watch stream. ``failed`` tells the client to try another endpoint next."""

    def __init__(self, channel: Channel, failed: Callable[[], None], timeout: float) -> None:
        self._timeout = timeout
        self._channel = channel
        self._call: StreamCall | None = None
        self._failed = failed

    async def create(self, key: bytes, range_end: bytes, start_revision: int) -> None:
        """Raises RpcError."""
        request = rpc.WatchCreateRequest(
            key=key, range_end=range_end, start_revision=start_revision, progress_notify=True
        )
        try:
            self._call = await self._channel.stream(WATCH, self._timeout)
        except RpcError:
            self._failed()
            raise
        self._write(rpc.WatchRequest(create_request=request))

    def request_progress(self) -> None:
        """Asks etcd to say how far this stream is; the answer has no events but a revision. Raises RpcError."""
        self._write(rpc.WatchRequest(progress_request=rpc.WatchProgressRequest()))

    def _write(self, request: Any) -> None:
        if self._call is None:
            raise RpcError(Code.FAILED_PRECONDITION, "the watch was not created")
        self._call.write(request.SerializeToString())

    async def responses(self) -> AsyncIterator[Any]:
        if self._call is None:
            raise RpcError(Code.FAILED_PRECONDITION, "the watch was not created")
        try:
            while (message := await self._call.read()) is not None:
                yield rpc.WatchResponse.FromString(message)
        except RpcError:
            self._failed()
            raise

    def cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()


def reports_progress(version: str) -> bool:
    """Whether etcd of this version reports a watch's progress truly."""
    numbers = tuple(int(part) for part in version.split("-")[0].split("."))
    return numbers >= (3, 5, 13) or (3, 4, 31) <= numbers < (3, 5)


def _status(error: RpcError) -> StatusError:
    """What a client of the API is told when etcd does not answer, or refuses."""
    code, text = error.code, error.details
    if code == Code.OUT_OF_RANGE:
        return CompactedError(text)
    if code == Code.DEADLINE_EXCEEDED:
        return Timeout("etcdserver: request timed out", {"retryAfterSeconds": 1})
    if code == Code.UNAVAILABLE:
        return ServiceUnavailable(f"etcdserver: unavailable: {text}", {"retryAfterSeconds": 1})
    if "requested lease not found" in text:
        return LeaseNotFound(text, {"retryAfterSeconds": 1})
    if "too many operations" in text:
        return RequestEntityTooLarge("etcdserver: too many operations in txn request")
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

    def __init__(self, etcd: Etcd, key: bytes, seen: Callable[[], int]) -> None:
        """``seen`` is a revision that etcd was seen at."""
        self._etcd = etcd
        self._key = key
        self._seen = seen
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
        seen = self._seen()
        revision = int((await self._etcd.range(self._key, count_only=True)).header.revision)
        if revision < seen:  # a backup was put back: the caches do not show it yet
            raise ServiceUnavailable("etcdserver: the history was replaced", {"retryAfterSeconds": 1})
        return revision
