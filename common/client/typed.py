"""The client of a process: every verb, typed by lightkube's classes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Generic, Literal, TypeVar, cast

import httpx
import msgspec
import orjson

from common.client.config import ClusterConfig
from common.client.dynamic import DynamicClient, Object, ObjectList, PatchType, WatchEvent
from common.client.resources import ResourceInfo
from common.client.transport import Transport

log = logging.getLogger(__name__)
T = TypeVar("T")
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


class _Meta(msgspec.Struct):
    resourceVersion: str = ""


class _Page(msgspec.Struct, Generic[T]):
    metadata: _Meta
    items: list[T] | None = None


class _RawPage(msgspec.Struct):
    metadata: _Meta
    items: list[msgspec.Raw] | None = None


class _Bookmark(msgspec.Struct):
    metadata: _Meta


_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}
_page_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def _decode(kind: type[T], data: bytes | msgspec.Raw) -> T:
    """One object. Decoders are kept: making one costs a hundred times what using it does."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    return cast(T, decoder.decode(data))


def _decode_page(kind: type[T], data: bytes) -> _Page[T]:
    decoder = _page_decoders.get(kind)
    if decoder is None:
        decoder = _page_decoders[kind] = msgspec.json.Decoder(_Page[kind])  # type: ignore[valid-type]
    try:
        return cast(_Page[T], decoder.decode(data))
    except msgspec.ValidationError:
        return _decode_one_by_one(kind, data)


def _decode_one_by_one(kind: type[T], data: bytes) -> _Page[T]:
    """One object that does not fit its class must not hide all others from a control loop."""
    page = msgspec.json.decode(data, type=_RawPage)
    found = (_decode_or_none(kind, item) for item in page.items or ())
    return _Page(page.metadata, [obj for obj in found if obj is not None])


def _decode_or_none(kind: type[T], data: msgspec.Raw) -> T | None:
    try:
        return _decode(kind, data)
    except msgspec.ValidationError as error:
        metadata = orjson.loads(bytes(data)).get("metadata") or {}
        where = "/".join(filter(None, (metadata.get("namespace"), metadata.get("name"))))
        log.error("%s %s is left out, it cannot be read: %s", kind.__name__, where, error)
        return None


_bookmark = msgspec.json.Decoder(_Bookmark)


class Client:
    """The API server as one user. All verbs raise a StatusError (common.api.status) for any answer but success.

    One for each process; ``async with`` closes its connections. Shape of the verbs: a class of lightkube.resources, a
    name and a namespace (None for a cluster's kind, or all namespaces where a list makes sense).
    """

    def __init__(self, config: ClusterConfig, *, user_agent: str = "coxswain", connections: int = 100) -> None:
        self.transport = Transport(config, user_agent=user_agent, connections=connections)
        self.dynamic = DynamicClient(self.transport)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.transport.close()

    async def get(self, kind: type[T], name: str, namespace: str | None = None) -> T:
        return _decode(kind, await self.dynamic.send("GET", ResourceInfo.of(kind).path(namespace, name)))

    async def list(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        resource_version: str | None = None,
        limit: int | None = None,
    ) -> ObjectList[T]:
        """Everything that matches: pages are followed. ``resource_version`` "0": whatever the server's cache has."""
        items: list[T] = []
        version = ""
        async for page in self.dynamic.pages(
            ResourceInfo.of(kind),
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            limit=limit,
        ):
            listed = _decode_page(kind, page)
            items += listed.items or ()
            version = listed.metadata.resourceVersion
        return ObjectList(items, version)

    async def create(self, obj: T, *, namespace: str | None = None) -> T:
        kind, body = _encoded(obj)
        path = ResourceInfo.of(kind).path(namespace or _metadata(obj).namespace)
        return _decode(kind, await self.dynamic.send("POST", path, body=body))

    async def replace(self, obj: T, *, subresource: str | None = None) -> T:
        """PUT. Conflict when the object is no longer at ``obj.metadata.resourceVersion``."""
        kind, body = _encoded(obj)
        metadata = _metadata(obj)
        path = ResourceInfo.of(kind).path(metadata.namespace, metadata.name, subresource)
        return _decode(kind, await self.dynamic.send("PUT", path, body=body))

    async def replace_status(self, obj: T) -> T:
        return await self.replace(obj, subresource="status")

    async def patch(
        self,
        kind: type[T],
        name: str,
        patch: Object | Sequence[Any],
        namespace: str | None = None,
        *,
        patch_type: PatchType = PatchType.STRATEGIC,
        subresource: str | None = None,
    ) -> T:
        path = ResourceInfo.of(kind).path(namespace, name, subresource)
        body = orjson.dumps(patch)
        return _decode(kind, await self.dynamic.send("PATCH", path, body=body, content_type=patch_type.value))

    async def delete(
        self,
        kind: type[Any],
        name: str,
        namespace: str | None = None,
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        await self.dynamic.delete(
            ResourceInfo.of(kind),
            name,
            namespace,
            grace_period_seconds=grace_period_seconds,
            propagation_policy=propagation_policy,
            uid=uid,
            resource_version=resource_version,
        )

    async def delete_collection(
        self,
        kind: type[Any],
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
    ) -> None:
        await self.dynamic.delete_collection(
            ResourceInfo.of(kind),
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            grace_period_seconds=grace_period_seconds,
            propagation_policy=propagation_policy,
        )

    async def post_subresource(
        self, kind: type[Any], name: str, subresource: str, body: Object, namespace: str | None = None
    ) -> Object:
        """``binding``, ``eviction``, ``token``: the answer as a dict."""
        return await self.dynamic.post_subresource(ResourceInfo.of(kind), name, subresource, body, namespace)

    async def watch(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        resource_version: str | None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        timeout_seconds: int | None = None,
    ) -> AsyncIterator[WatchEvent[T]]:
        """Changes after ``resource_version``, until the server ends the watch. Raises Expired when it is too old.

        An object that does not fit its class is logged and left out, here as in lists.

        The object of a BOOKMARK has only metadata.resourceVersion.
        """
        async for event in self.dynamic.watch_raw(
            ResourceInfo.of(kind),
            namespace,
            resource_version=resource_version,
            label_selector=label_selector,
            field_selector=field_selector,
            timeout_seconds=timeout_seconds,
        ):
            if event.type == "BOOKMARK":
                version = _bookmark.decode(event.object).metadata.resourceVersion
                obj = msgspec.convert({"metadata": {"resourceVersion": version}}, _Marked)
                yield WatchEvent("BOOKMARK", cast(T, obj))
            elif (found := _decode_or_none(kind, event.object)) is not None:
                yield WatchEvent(cast(EventType, event.type), found)

    async def raw(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        if json is not None:
            content = orjson.dumps(json)
            headers = {"Content-Type": "application/json", **(headers or {})}
        return await self.transport.request(method, path, params=params, content=content, headers=headers)


class _Marked(msgspec.Struct):
    """What a bookmark says of its object."""

    metadata: _Meta


def _metadata(obj: Any) -> Any:
    if obj.metadata is None:
        raise ValueError(f"{type(obj).__name__} without metadata")
    return obj.metadata


def _encoded(obj: T) -> tuple[type[T], bytes]:
    """Class and JSON of an object, with apiVersion and kind (which items of lists and hand-made structs leave out)."""
    kind = type(obj)
    info = ResourceInfo.of(kind)
    body = {"apiVersion": info.api_version, "kind": info.kind, **msgspec.to_builtins(obj)}
    return kind, msgspec.json.encode(body)
