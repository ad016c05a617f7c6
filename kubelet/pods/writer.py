"""Writes pods' statuses to the API server: only what changed, the newest state wins, for as long as it takes.

One writer for each pod, so that two writes never overtake each other; while the API server is away the newest status
waits and intermediate ones are forgotten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from lightkube.models.core_v1 import PodStatus
from lightkube.resources.core_v1 import Pod

from common.api.status import Conflict, Invalid, NotFound, StatusError
from common.client import Client
from kubelet.pods.identity import PodIdentity

log = logging.getLogger(__name__)

FIRST_DELAY, MAX_DELAY = 0.2, 10.0
TRANSIENT = (StatusError, httpx.HTTPError, OSError, TimeoutError)
# Lists that strategic merge would merge where the newest list must stand alone.
REPLACED_LISTS = ("podIPs", "hostIPs")


def status_patch(identity: PodIdentity, old: PodStatus | None, new: PodStatus) -> dict[str, Any] | None:
    """A strategic merge patch from what the API server has to what it should have; None when nothing differs."""
    before: dict[str, Any] = old.to_dict() if old is not None else {}
    after: dict[str, Any] = new.to_dict()
    difference: dict[str, Any] = {key: None for key in _owned(before) if key not in after}
    difference.update({key: value for key, value in after.items() if before.get(key) != value})
    if "conditions" in difference:
        difference["conditions"] = _conditions(before.get("conditions") or [], after.get("conditions") or [])
        if not difference["conditions"]:
            del difference["conditions"]
    for key in REPLACED_LISTS:
        if difference.get(key) and before.get(key):
            difference[key] = [{"$patch": "replace"}, *difference[key]]
    if not difference:
        return None
    return {"metadata": {"uid": identity.uid}, "status": difference}


def _owned(status: dict[str, Any]) -> list[str]:
    """Fields that the kubelet may remove: others in a status (nominatedNodeName, resize) are not its own."""
    owned = ("reason", "message", "podIP", "podIPs", "hostIP", "hostIPs", "initContainerStatuses")
    return [key for key in status if key in owned]


def _conditions(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that changed; what a condition no longer says is said to be gone."""
    old = {condition["type"]: condition for condition in before}
    changed = []
    for condition in after:
        previous = old.get(condition["type"], {})
        if previous != condition:
            changed.append({**{key: None for key in previous if key not in condition}, **condition})
    return changed


class StatusWriter:
    """For one pod. ``run`` is its task; it ends by itself when the pod is not there any more."""

    def __init__(self, client: Client, identity: PodIdentity, known: PodStatus | None) -> None:
        self._client = client
        self._identity = identity
        self._known = known
        self._wanted: PodStatus | None = None
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._delay = FIRST_DELAY
        self.gone = False

    def set(self, status: PodStatus) -> None:
        self._wanted = status
        self._idle.clear()
        self._wake.set()

    async def flushed(self) -> None:
        """Waits until the newest status is written (or the pod is gone)."""
        await self._idle.wait()

    async def run(self) -> None:
        while not self.gone:
            await self._wake.wait()
            self._wake.clear()
            wanted = self._wanted
            if wanted is not None:
                await self._write(wanted)
            if not self._wake.is_set():
                self._idle.set()
        self._idle.set()

    async def _write(self, wanted: PodStatus) -> None:
        patch = status_patch(self._identity, self._known, wanted)
        if patch is None:
            return
        try:
            await self._client.patch(Pod, self._identity.name, patch, self._identity.namespace, subresource="status")
            self._known = wanted
            self._delay = FIRST_DELAY
        except (NotFound, Conflict) as error:
            # A conflict is about the uid: another pod has taken the name.
            log.debug("status of pod %s: %s", self._identity, error)
            self.gone = True
        except Invalid as error:
            log.error("status of pod %s was refused: %s", self._identity, error)
        except TRANSIENT as error:
            await self._retry_later(error)

    async def _retry_later(self, error: Exception) -> None:
        log.warning("status of pod %s could not be written, trying again: %s", self._identity, error)
        self._idle.clear()
        await asyncio.sleep(self._delay)
        self._delay = min(self._delay * 2, MAX_DELAY)
        self._wake.set()


async def until_done(action: Callable[[], Awaitable[None]], what: str) -> None:
    """Repeats while the API server is away; NotFound and Conflict mean that there is nothing left to do."""
    delay = FIRST_DELAY
    while True:
        try:
            await action()
            return
        except (NotFound, Conflict):
            return
        except TRANSIENT as error:
            log.warning("%s failed, trying again: %s", what, error)
        await asyncio.sleep(delay)
        delay = min(delay * 2, MAX_DELAY)
