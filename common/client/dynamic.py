"""The verbs over plain dicts and ResourceInfos: for kinds that are known only by discovery."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

import msgspec
import orjson

from common.api.status import StatusError
from common.client.resources import ResourceInfo
from common.client.transport import Transport

T = TypeVar("T")
Object = dict[str, Any]
PAGE = 500
"""Objects a page of a list, as client-go's pager asks for."""


class PatchType(StrEnum):
    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class ObjectList(Generic[T]):
    items: list[T]
    resource_version: str


@dataclass(frozen=True)
class WatchEvent(Generic[T]):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: T


class RawEvent(msgspec.Struct):
    """A watch line whose object is not parsed yet."""

    type: str
    object: msgspec.Raw


_raw_event = msgspec.json.Decoder(RawEvent)


def compact(**values: Any) -> dict[str, str]:
    """Query parameters: None is left out, the rest as text."""
    return {
        k: ("true" if v else "false") if isinstance(v, bool) else str(v) for k, v in values.items() if v is not None
    }


class DynamicClient:
    """See :class:`common.client.Client` for what each verb does; objects are dicts here."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def get(self, kind: ResourceInfo, name: str, namespace: str | None = None) -> Object:
        return _object(await self.send("GET", kind.path(namespace, name)))

    async def list(
        self,
        kind: ResourceInfo,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        resource_version: str | None = None,
        limit: int | None = None,
        accept: str | None = None,
    ) -> ObjectList[Object]:
        items: list[Object] = []
        async for page in self.pages(
            kind,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            limit=limit,
            accept=accept,
        ):
            listed = orjson.loads(page)
            items += listed.get("items") or ()
        return ObjectList(items, listed["metadata"]["resourceVersion"])

    async def pages(
        self,
        kind: ResourceInfo,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        resource_version: str | None = None,
        limit: int | None = None,
        accept: str | None = None,
    ) -> AsyncIterator[bytes]:
        """The pages of a list, not parsed. ``resource_version`` "0" gives one page from the server's cache."""
        from_cache = resource_version == "0"
        token: str | None = None
        while True:
            params = compact(
                labelSelector=label_selector,
                fieldSelector=field_selector,
                resourceVersion=None if token else resource_version,
                limit=None if from_cache else limit or PAGE,
                **{"continue": token},
            )
            page = await self.send("GET", kind.path(namespace), params=params, accept=accept)
            yield page
            token = msgspec.json.decode(page, type=_Continued).metadata.continue_
            if not token:
                return

    async def create(self, kind: ResourceInfo, obj: Object, namespace: str | None = None) -> Object:
        namespace = namespace or obj.get("metadata", {}).get("namespace")
        return _object(await self.send("POST", kind.path(namespace), body=orjson.dumps(obj)))

    async def replace(
        self, kind: ResourceInfo, obj: Object, namespace: str | None = None, *, subresource: str | None = None
    ) -> Object:
        metadata = obj["metadata"]
        path = kind.path(namespace or metadata.get("namespace"), metadata["name"], subresource)
        return _object(await self.send("PUT", path, body=orjson.dumps(obj)))

    async def patch(
        self,
        kind: ResourceInfo,
        name: str,
        patch: Object | Sequence[Any],
        namespace: str | None = None,
        *,
        patch_type: PatchType = PatchType.STRATEGIC,
        subresource: str | None = None,
    ) -> Object:
        path = kind.path(namespace, name, subresource)
        return _object(await self.send("PATCH", path, body=orjson.dumps(patch), content_type=patch_type.value))

    async def delete(
        self,
        kind: ResourceInfo,
        name: str,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        options = _delete_options(grace_period_seconds, propagation_policy, uid, resource_version)
        await self.send("DELETE", kind.path(namespace, name), body=orjson.dumps(options))

    async def delete_collection(
        self,
        kind: ResourceInfo,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
    ) -> None:
        options = _delete_options(grace_period_seconds, propagation_policy, None, None)
        params = compact(labelSelector=label_selector, fieldSelector=field_selector)
        await self.send("DELETE", kind.path(namespace), params=params, body=orjson.dumps(options))

    async def post_subresource(
        self, kind: ResourceInfo, name: str, subresource: str, body: Object, namespace: str | None = None
    ) -> Object:
        return _object(await self.send("POST", kind.path(namespace, name, subresource), body=orjson.dumps(body)))

    async def watch_raw(
        self,
        kind: ResourceInfo,
        namespace: str | None = None,
        *,
        resource_version: str | None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout_seconds: int | None = None,
        accept: str | None = None,
    ) -> AsyncIterator[RawEvent]:
        """Watch events whose objects are not parsed. An ERROR event is raised (Expired for 410)."""
        params = compact(
            watch=True,
            allowWatchBookmarks=True,
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=timeout_seconds,
        )
        async with self.transport.stream(kind.path(namespace), params=params, accept=accept) as lines:
            async for line in lines:
                if not line:
                    continue
                event = _raw_event.decode(line)
                if event.type == "ERROR":
                    raise StatusError.from_status(orjson.loads(bytes(event.object)))
                yield event

    async def watch(
        self, kind: ResourceInfo, namespace: str | None = None, **options: Any
    ) -> AsyncIterator[WatchEvent[Object]]:
        async for event in self.watch_raw(kind, namespace, **options):
            yield WatchEvent(event.type, orjson.loads(bytes(event.object)))  # type: ignore[arg-type]

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str | None = None,
    ) -> bytes:
        """One request, its answer's body. Raises StatusError."""
        headers = {"Content-Type": content_type} if body is not None else {}
        if accept:
            headers["Accept"] = accept
        response = await self.transport.request(method, path, params=params, content=body, headers=headers)
        return response.content


class _ListMeta(msgspec.Struct):
    continue_: str | None = msgspec.field(name="continue", default=None)
    resourceVersion: str = ""


class _Continued(msgspec.Struct):
    metadata: _ListMeta


def _object(body: bytes) -> Object:
    return orjson.loads(body)  # type: ignore[no-any-return]


def _delete_options(grace: int | None, policy: str | None, uid: str | None, resource_version: str | None) -> Object:
    options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    if policy is not None:
        options["propagationPolicy"] = policy
    preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v is not None}
    if preconditions:
        options["preconditions"] = preconditions
    return options
