"""Has a certificate at all times: asks for one when there is none, for another when 70 to 90 % of its time are over,
and when it is not good for what it should be for any more.

The moment is drawn at random, so that the nodes of a cluster do not all ask at once (upstream:
client-go/util/certificate/certificate_manager.go).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from common.api.status import StatusError
from common.tasks import first_of
from kubelet.certificates.requests import RequestError, Wanted
from kubelet.certificates.store import CertificateStore, Validity

log = logging.getLogger("kubelet.certificates")

FIRST_RETRY, MAX_RETRY = 2.0, 128.0
LONGEST_SLEEP = 3600.0
"""Seconds: a machine's clock may be set meanwhile."""

Obtain = Callable[[Wanted], Awaitable[tuple[bytes, bytes]]]


def deadline(validity: Validity, draw: Callable[[], float] = random.random) -> datetime:
    """When to ask for the next one."""
    span = (validity.end - validity.begin).total_seconds()
    return validity.begin + timedelta(seconds=span * (0.7 + 0.2 * draw()))


class Template:
    """What a certificate should be for. It may change; ``wanted`` is None as long as nobody knows."""

    def __init__(self, wanted: Wanted | None = None) -> None:
        self.wanted = wanted
        self._changed = asyncio.Event()

    def set(self, wanted: Wanted | None) -> None:
        if wanted != self.wanted:
            self.wanted = wanted
            self._changed.set()
            self._changed = asyncio.Event()

    async def differs(self, wanted: Wanted | None) -> None:
        """Waits until something else is wanted."""
        while self.wanted == wanted:
            await self._changed.wait()


class Rotation:
    """``renewed`` is called after each change of the store; ``available`` is set while there is a certificate."""

    def __init__(
        self, store: CertificateStore, template: Template, obtain: Obtain, renewed: Callable[[], Awaitable[None]]
    ) -> None:
        self._store = store
        self._template = template
        self._obtain = obtain
        self._renewed = renewed
        self._given: Wanted | None = None
        """What the last certificate was asked for. A signer may have left something out: it will not do otherwise when
        asked again."""
        self.available = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            validity = await asyncio.to_thread(self._store.validity)
            if validity is not None:
                self.available.set()
            wanted = self._template.wanted
            if wanted is None:
                await self._template.differs(None)
            elif validity is None:
                await self._unless_changed(wanted, self._renew(wanted))
            elif wanted.satisfied_by(validity) or wanted == self._given:
                await self._unless_changed(wanted, self._renew_in_time(wanted, deadline(validity)))
            else:
                log.info("certificate %s is not for what this node is now: %s", self._store.current.name, wanted)
                await self._unless_changed(wanted, self._renew(wanted))

    async def _unless_changed(self, wanted: Wanted, work: Coroutine[Any, Any, None]) -> None:
        """Gives the work up when something else is wanted: a request that waits is worth nothing then."""
        await first_of(work, self._template.differs(wanted))

    async def _renew_in_time(self, wanted: Wanted, moment: datetime) -> None:
        await _until(moment)
        await self._renew(wanted)

    async def _renew(self, wanted: Wanted) -> None:
        """Tries until it has another one."""
        delay = FIRST_RETRY
        while True:
            try:
                certificate, key = await self._obtain(wanted)
                await asyncio.to_thread(self._store.update, certificate, key)
                self._given = wanted
                log.info("certificate %s is renewed", self._store.current.name)
                await self._renewed()
                return
            except (RequestError, StatusError, httpx.HTTPError, OSError) as error:
                log.warning("certificate %s is not renewed yet: %s", self._store.current.name, error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_RETRY)


async def _until(time: datetime) -> None:
    while (left := (time - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110 - time has no event
        await asyncio.sleep(min(left, LONGEST_SLEEP))
