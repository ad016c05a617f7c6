"""Writes pods' statuses to the API server: only what changed, the newest state wins, for as long as it takes.

One writer for each pod, so that two writes never overtake each other; while the API server is away the newest status
waits and intermediate ones are forgotten. What others make of a pod's status meanwhile (the node controller says that
the pods of a silent node are not ready) is put right as soon as it is seen; conditions of others stay theirs.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httpx
from lightkube.models.core_v1 import PodStatus
from lightkube.resources.core_v1 import Pod

from common.api.meta import meta_of
from common.api.status import Conflict, Forbidden, Invalid, NotFound, StatusError
from common.client import Client
from kubelet.pods.conditions import CONDITIONS, DISRUPTION
from kubelet.pods.identity import PodIdentity

log = logging.getLogger(__name__)

FIRST_DELAY, MAX_DELAY = 0.2, 10.0
TRANSIENT = (StatusError, httpx.HTTPError, OSError, TimeoutError)
# Lists that strategic merge would merge where the newest list must stand alone.
REPLACED_LISTS = ("podIPs", "hostIPs")


_REMOVED = frozenset(
    {"reason", "message", "podIP", "podIPs", "hostIP", "hostIPs", "initContainerStatuses", "ephemeralContainerStatuses"}
    | {"resize"}
)


def status_patch(identity: PodIdentity, old: PodStatus | None, new: PodStatus) -> dict[str, Any] | None:
    """A strategic merge patch from what the API server has to what it should have; None when nothing differs."""
    before: dict[str, Any] = old.to_dict() if old is not None else {}
    after: dict[str, Any] = new.to_dict()
    difference: dict[str, Any] = {key: None for key in _owned(before) if key not in after}
    difference.update({key: value for key, value in after.items() if before.get(key) != value})
    if difference.pop("conditions", None) is not None or "conditions" in before:
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
    """Fields that the kubelet may remove: others in a status (nominatedNodeName) are not its own."""
    return [key for key in status if key in _REMOVED]


def _conditions(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the kubelet's own those that changed; what a condition no longer says is said to be gone."""
    old = {condition["type"]: condition for condition in before}
    changed = []
    for condition in after:
        previous = old.get(condition["type"], {})
        own = condition["type"] in (*CONDITIONS, DISRUPTION) or (condition["type"] == "PodScheduled" and not previous)
        if own and previous != condition:
            changed.append({**{key: None for key in previous if key not in condition}, **condition})
    said = {condition["type"] for condition in after}
    gone = [each for each in old if each not in said and each in (*CONDITIONS, "PodScheduled")]
    return changed + [{"$patch": "delete", "type": each} for each in gone]


class StatusWriter:
    """For one pod. ``run`` is its task; it ends by itself when the pod is not there any more."""

    def __init__(self, client: Client, identity: PodIdentity, pod: Pod) -> None:
        self._client = client
        self._identity = identity
        self._known, self._revision = pod.status, revision_of(pod)
        self._wanted: PodStatus | None = None
        self._due = 0.0
        """When the wanted status must be on its way, by the loop's clock."""
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._delay = FIRST_DELAY
        self.gone = False

    def set(self, status: PodStatus, *, within: float = 0.0) -> None:
        """``within``: seconds that the status may wait for the next one, which will take its place."""
        due = asyncio.get_running_loop().time() + within
        self._due = due if self._idle.is_set() else min(due, self._due)
        self._wanted = status
        self._idle.clear()
        self._wake.set()

    def seen(self, pod: Pod) -> None:
        """What the watch shows. Older than what was written last: it says nothing new."""
        if revision_of(pod) <= self._revision:
            return
        self._known, self._revision = pod.status, revision_of(pod)
        if self._wanted is not None:
            self._wake.set()

    async def flushed(self) -> None:
        """Waits until the newest status is written (or the pod is gone)."""
        await self._idle.wait()

    async def run(self) -> None:
        while not self.gone:
            await self._wake.wait()
            self._wake.clear()
            if await self._superseded():
                continue
            wanted = self._wanted
            if wanted is not None:
                await self._write(wanted)
            if not self._wake.is_set():
                self._idle.set()
        self._idle.set()

    async def _superseded(self) -> bool:
        """Waits until the status is due; whether another one has come meanwhile."""
        wait = self._due - asyncio.get_running_loop().time()
        if wait <= 0:
            return False
        try:
            async with asyncio.timeout(wait):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    async def _write(self, wanted: PodStatus) -> None:
        patch = status_patch(self._identity, self._known, wanted)
        if patch is None:
            return
        seen_before = self._revision
        try:
            name, namespace = self._identity.name, self._identity.namespace
            written = await self._client.patch(Pod, name, patch, namespace, subresource="status")
        except NotFound as error:
            log.debug("status of pod %s: %s", self._identity, error)
            self.gone = True
        except Conflict as error:
            await self._conflicted(error)
        except Invalid as error:
            log.error("status of pod %s was refused: %s", self._identity, error)
        except TRANSIENT as error:
            await self._retry_later(error)
        except Exception as error:  # whatever it is: a writer that dies would leave the pod's status as it is for good
            log.exception("status of pod %s", self._identity)
            await self._retry_later(error)
        else:
            self._delay = FIRST_DELAY
            revision = revision_of(written)
            # Lower than what was seen before the request: etcd was restored from a backup, and all counts anew.
            if revision >= self._revision or revision < seen_before:
                self._known, self._revision = wanted, revision

    async def _conflicted(self, error: Conflict) -> None:
        """Another pod has taken the name, or others write so much that the server gave up: only a look tells."""
        if await is_another(self._client, self._identity):
            log.debug("status of pod %s: %s", self._identity, error)
            self.gone = True
        else:
            await self._retry_later(error)

    async def _retry_later(self, error: Exception) -> None:
        log.warning("status of pod %s could not be written, trying again: %s", self._identity, error)
        self._idle.clear()
        await asyncio.sleep(self._delay)
        self._delay = min(self._delay * 2, MAX_DELAY)
        self._wake.set()


def revision_of(pod: Pod) -> int:
    """Of two versions of a pod the newer one's is higher (KEP-5504); 0 where the server's are no numbers."""
    text = meta_of(pod).resourceVersion or ""
    return int(text) if text.isdecimal() else 0


async def is_another(client: Client, identity: PodIdentity) -> bool:
    """Whether the pod is gone, and perhaps another of its name there. While nobody answers: no.

    A node sees its own pods alone: one that is gone, or another node's, is forbidden.
    """
    try:
        found = await client.get(Pod, identity.name, identity.namespace)
    except (NotFound, Forbidden):
        return True
    except TRANSIENT:
        return False
    return meta_of(found).uid != identity.uid


async def delete_pod(client: Client, identity: PodIdentity) -> None:
    """Takes an ended pod's object away, for as long as it takes."""
    delay = FIRST_DELAY
    while True:
        try:
            await client.delete(Pod, identity.name, identity.namespace, grace_period_seconds=0, uid=identity.uid)
            return
        except NotFound:
            return
        except TRANSIENT as error:
            if isinstance(error, Conflict) and await is_another(client, identity):
                return
            log.warning("deletion of pod %s failed, trying again: %s", identity, error)
        await asyncio.sleep(delay)
        delay = min(delay * 2, MAX_DELAY)
