"""Adoption and release: an owner's selector decides which orphans it takes and which of its own it lets go.

Upstream: `ControllerRefManager`, https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#non-template-pod-acquisitions
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from common.api.meta import controller_of, is_deleting, labels_of, owner_ref
from common.api.selectors import Selector
from common.api.status import NotFound, StatusError
from common.client import Client, PatchType
from controller_manager.objects import name_of, namespace_of, uid_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Claims(Generic[T]):
    """What an owner has, should adopt and should release."""

    owned: list[T]
    adopt: list[T]
    release: list[T]


def by_controller(obj: Any) -> Iterable[str]:
    """An index of dependents: by the uid of their controller, or by namespace for orphans (see `orphans_key`)."""
    ref = controller_of(obj)
    yield ref.uid if ref else orphans_key(namespace_of(obj))


def orphans_key(namespace: str) -> str:
    """Where `by_controller` files the namespace's objects without a controller."""
    return f"orphans/{namespace}"


def decide_claims(owner: Any, candidates: Iterable[T], selector: Selector) -> Claims[T]:
    """Sorts candidates. Nothing is adopted or released by an owner that is being deleted."""
    claims: Claims[T] = Claims([], [], [])
    for candidate in candidates:
        ref, matches = controller_of(candidate), selector.matches(labels_of(candidate))
        if ref is not None and ref.uid != uid_of(owner):
            continue
        if ref is not None:
            if matches:
                claims.owned.append(candidate)
            elif not is_deleting(owner):
                claims.release.append(candidate)
        elif matches and not is_deleting(owner) and not is_deleting(candidate):
            claims.adopt.append(candidate)
    return claims


async def claim(client: Client, kind: type[T], owner: Any, candidates: Iterable[T], selector: Selector) -> list[T]:
    """What the owner has once adoption and release are done. Raises Conflict when the owner is not what it was."""
    claims = decide_claims(owner, candidates, selector)
    for obj in claims.release:
        await _release(client, kind, owner, obj)
    if not claims.adopt:
        return claims.owned
    await _check_owner_lives(client, owner)
    adopted = [await _adopt(client, kind, owner, obj) for obj in claims.adopt]
    return claims.owned + [obj for obj in adopted if obj is not None]


async def _check_owner_lives(client: Client, owner: Any) -> None:
    """A cache may lag: an owner that was deleted (or made anew) meanwhile must adopt nothing."""
    fresh = await client.get(type(owner), name_of(owner), namespace_of(owner) or None)
    if uid_of(fresh) != uid_of(owner) or is_deleting(fresh):
        raise NotFound(f"{name_of(owner)} has just been deleted")


async def _adopt(client: Client, kind: type[T], owner: Any, obj: Any) -> T | None:
    patch = {"metadata": {"uid": uid_of(obj), "ownerReferences": [owner_ref(owner).to_dict()]}}
    try:
        return await client.patch(kind, name_of(obj), patch, namespace_of(obj), patch_type=PatchType.STRATEGIC)
    except NotFound:
        return None


async def _release(client: Client, kind: Any, owner: Any, obj: Any) -> None:
    patch = {"metadata": {"uid": uid_of(obj), "ownerReferences": [{"$patch": "delete", "uid": uid_of(owner)}]}}
    try:
        await client.patch(kind, name_of(obj), patch, namespace_of(obj), patch_type=PatchType.STRATEGIC)
    except StatusError as error:
        if error.code not in (404, 422):  # gone, or its owner references have been removed already
            raise
