"""Deletion of namespaces: everything in one goes, then the namespace itself.

https://kubernetes.io/docs/tasks/administer-cluster/namespaces/#deleting-a-namespace

A namespace that is being deleted keeps the finalizer `kubernetes` until a look at every namespaced resource that the
server offers finds nothing. Pods go first (KEP-5080), so that they lose no Secret or NetworkPolicy while they run.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lightkube.models.core_v1 import NamespaceCondition, NamespaceStatus
from lightkube.resources.core_v1 import Namespace, Pod

from common.api.conditions import set_condition
from common.api.meta import clone, is_deleting
from common.api.status import MethodNotAllowed, NotFound, StatusError
from common.api.time import now, parse_rfc3339
from common.client import ResourceInfo, discover
from controller_manager.context import Context
from controller_manager.metadata import METADATA_LIST, Metadata, decode_list
from controller_manager.objects import name_of, namespace_of, need
from controller_manager.requests import Batches

FINALIZER = "kubernetes"
RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 15.0
POD_GONE_SECONDS = 0.2

log = logging.getLogger(__name__)


@dataclass
class Contents:
    """What one look found."""

    remaining: Counter[str] = field(default_factory=Counter)
    """Objects left, by `resource.group`."""
    finalizers: Counter[str] = field(default_factory=Counter)
    discovery_error: str = ""
    deletion_errors: list[str] = field(default_factory=list)
    wait: float = 0.0
    """Seconds that pods still have to end gracefully."""


def deletable(resources: Sequence[ResourceInfo]) -> list[ResourceInfo]:
    """Namespaced resources that can be listed and deleted, pods first."""
    found = [r for r in resources if r.namespaced and {"delete", "list"} <= set(r.verbs)]
    return sorted(found, key=lambda r: (r.plural != "pods" or r.group != "", r.group, r.plural))


def conditions(contents: Contents) -> list[NamespaceCondition]:
    """What a terminating namespace tells of its end."""
    left = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(contents.remaining.items()))
    held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(contents.finalizers.items()))
    errors = "; ".join(contents.deletion_errors)
    return [
        _condition(
            "NamespaceDeletionDiscoveryFailure",
            ("DiscoveryFailed", f"Discovery failed for some groups, 1 failing: {contents.discovery_error}")
            if contents.discovery_error
            else None,
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        _condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            None,
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        _condition(
            "NamespaceDeletionContentFailure",
            (
                "ContentDeletionFailed",
                f"Failed to delete all resource types, {len(contents.deletion_errors)} remaining: {errors}",
            )
            if errors
            else None,
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        _condition(
            "NamespaceContentRemaining",
            ("SomeResourcesRemain", f"Some resources are remaining: {left}") if left else None,
            ("ContentRemoved", "All content successfully removed"),
        ),
        _condition(
            "NamespaceFinalizersRemaining",
            ("SomeFinalizersRemain", f"Some content in the namespace has finalizers remaining: {held}")
            if held
            else None,
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ]


def _condition(type_: str, bad: tuple[str, str] | None, good: tuple[str, str]) -> NamespaceCondition:
    reason, message = bad or good
    return NamespaceCondition(type=type_, status="True" if bad else "False", reason=reason, message=message)


def grace_left(items: Sequence[Metadata], at: datetime) -> float:
    """Seconds until the last pod that is ending gracefully should be gone. deletionTimestamp is that very moment."""
    ends = (parse_rfc3339(item.deletionTimestamp) for item in items if item.deletionTimestamp)
    return max((max(0.0, (end - at).total_seconds()) for end in ends), default=0.0)


class NamespaceController:
    """Ends namespaces that are being deleted."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._namespaces = context.namespaces.store
        self._batches = Batches(10)
        loop = context.loop("namespace", self.reconcile, workers=context.settings.concurrent_namespace_syncs)
        self._loop = loop
        context.namespaces.add_handler(self._changed, lambda _, new: self._changed(new))
        context.pods.add_handler(on_delete=self._pod_gone)

    async def run(self) -> None:
        """Until cancelled."""
        await self._loop.run()

    def _changed(self, namespace: Namespace) -> None:
        if is_deleting(namespace):
            self._loop.enqueue(namespace)

    def _pod_gone(self, pod: Pod) -> None:
        """The last pods of a namespace may be gone before their time: no need to wait for it."""
        namespace = self._namespaces.get(namespace_of(pod))
        if namespace is not None and is_deleting(namespace):
            self._loop.queue.add_after(name_of(namespace), POD_GONE_SECONDS)

    async def reconcile(self, key: str) -> float | None:
        """One round for one namespace."""
        try:
            namespace = await self._client.get(Namespace, key)
        except NotFound:
            return None
        if not is_deleting(namespace):
            return None
        if FINALIZER not in (need(namespace.spec).finalizers or ()):
            return None  # ours is done; what is left waits for others
        contents = await self._empty(key)
        namespace = await self._tell(namespace, contents)
        if contents.remaining or contents.discovery_error or contents.deletion_errors:
            return min(max(RETRY_SECONDS, contents.wait / 2), LONGEST_RETRY_SECONDS)
        await self._finalize(namespace)
        return None

    async def _empty(self, name: str) -> Contents:
        """Deletes what is there, and counts what stays."""
        contents = Contents()
        try:
            resources = deletable(await discover(self._client))
        except StatusError as error:
            contents.discovery_error = error.message
            return contents
        pods = [each for each in resources if each.plural == "pods" and not each.group]
        rest = [each for each in resources if each not in pods]
        for stage in (pods, rest):
            await self._batches.each(stage, lambda resource: self._empty_of(name, resource, contents))
            if contents.remaining or contents.deletion_errors:
                break
        return contents

    async def _empty_of(self, name: str, resource: ResourceInfo, contents: Contents) -> None:
        try:
            items = await self._items(name, resource)
            if any(item.deletionTimestamp is None for item in items):
                await self._delete(name, resource, items)
                items = await self._items(name, resource)
        except (NotFound, MethodNotAllowed):
            return  # the resource has just gone, or cannot be listed after all
        except StatusError as error:
            contents.deletion_errors.append(error.message)
            return
        if items:
            contents.remaining[f"{resource.plural}.{resource.group}"] = len(items)
            contents.finalizers.update(finalizer for item in items for finalizer in item.finalizers)
            contents.wait = max(contents.wait, grace_left(items, now()))

    async def _items(self, name: str, resource: ResourceInfo) -> list[Metadata]:
        items: list[Metadata] = []
        async for page in self._client.dynamic.pages(resource, name, accept=METADATA_LIST):
            items += decode_list(page).items
        return items

    async def _delete(self, name: str, resource: ResourceInfo, items: Sequence[Metadata]) -> None:
        if "deletecollection" in resource.verbs:
            await self._client.dynamic.delete_collection(resource, name, propagation_policy="Background")
            return
        for item in items:
            try:
                await self._client.dynamic.delete(resource, item.name, name, propagation_policy="Background")
            except NotFound:
                continue

    async def _tell(self, namespace: Namespace, contents: Contents) -> Namespace:
        changed = clone(namespace)
        status = changed.status = changed.status or NamespaceStatus(phase="Terminating")
        status.conditions = list(status.conditions or ())
        moved = [set_condition(status.conditions, each) for each in conditions(contents)]
        return await self._client.replace_status(changed) if any(moved) else namespace

    async def _finalize(self, namespace: Namespace) -> None:
        log.info("namespace %s is empty", name_of(namespace))
        changed = clone(namespace)
        spec = need(changed.spec)
        spec.finalizers = [each for each in spec.finalizers or () if each != FINALIZER]
        try:
            await self._client.replace(changed, subresource="finalize")
        except NotFound:
            return
