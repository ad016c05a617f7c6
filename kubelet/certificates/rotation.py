"""Has a certificate at all times: asks for one when there is none, and for another when 70 to 90 % of its time are
over.

The moment is drawn at random, so that the nodes of a cluster do not all ask at once (upstream:
client-go/util/certificate/certificate_manager.go).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import httpx

from common.api.status import StatusError
from kubelet.certificates.requests import RequestError
from kubelet.certificates.store import CertificateStore, Validity

log = logging.getLogger("kubelet.certificates")

FIRST_RETRY, MAX_RETRY = 2.0, 128.0
LONGEST_SLEEP = 3600.0
"""Seconds: a machine's clock may be set meanwhile."""

Obtain = Callable[[], Awaitable[tuple[bytes, bytes]]]


def deadline(validity: Validity, draw: Callable[[], float] = random.random) -> datetime:
    """When to ask for the next one."""
    span = (validity.end - validity.begin).total_seconds()
    return validity.begin + timedelta(seconds=span * (0.7 + 0.2 * draw()))


class Rotation:
    """``renewed`` is called after each change of the store."""

    def __init__(self, store: CertificateStore, obtain: Obtain, renewed: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._obtain = obtain
        self._renewed = renewed

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            validity = await asyncio.to_thread(self._store.validity)
            if validity is not None:
                await _until(deadline(validity))
            await self.renew()

    async def renew(self) -> None:
        """Tries until it has another one."""
        delay = FIRST_RETRY
        while True:
            try:
                certificate, key = await self._obtain()
                await asyncio.to_thread(self._store.update, certificate, key)
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
