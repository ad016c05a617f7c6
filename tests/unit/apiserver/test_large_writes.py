"""What a large object costs is paid aside: others are served meanwhile."""

from __future__ import annotations

import threading
from typing import Any, cast

import orjson
import pytest

from apiserver.app import _as_json
from apiserver.endpoints.api import Api
from apiserver.endpoints.create import create_object
from apiserver.endpoints.options import WriteOptions
from apiserver.endpoints.request import Request, Target
from apiserver.endpoints.update import change_object
from apiserver.patch import apply_patch
from apiserver.resources.strategy import KindStrategy
from apiserver.schema import conform, decode
from apiserver.storage.cache import Entry
from apiserver.types import AdmissionRequest, Object, Resource, User
from apiserver.wire import transcode
from common.api.status import FieldError, Invalid, invalid_value
from common.aside import LARGE

USER = User("u")


class Noting(KindStrategy):
    """Notes which thread it was called in."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def default(self, obj: Object) -> None:
        self.threads.append(threading.get_ident())

    def validate(self, obj: Object) -> list[FieldError]:
        self.threads.append(threading.get_ident())
        return [invalid_value("data", 1, "no")] if "wrong" in obj["data"] else []

    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[FieldError]:
        return self.validate(obj)


class Chain:
    async def admit(self, request: AdmissionRequest) -> None:
        pass

    async def validate(self, request: AdmissionRequest) -> None:
        pass


class OneStore:
    """As a Store, of one object."""

    def __init__(self, resource: Resource, obj: Object | None = None) -> None:
        self.resource = resource
        self.obj = obj

    def store(self, group: str, plural: str) -> OneStore:
        return self

    async def create(self, obj: Object, guards: Any) -> Object:
        self.obj = obj
        return obj

    async def update_entry(self, namespace: str, name: str, change: Any, **_: Any) -> Object | None:
        assert self.obj is not None
        self.obj = await change(Entry(namespace, name, 1, orjson.dumps(self.obj), self.obj, {}))
        return self.obj


def setting(obj: Object | None = None) -> tuple[Api, Noting, Target]:
    strategy = Noting()
    resource = Resource("", "v1", "configmaps", "ConfigMap", "configmap", True, strategy)
    api = Api(cast(Any, OneStore(resource, obj)), Chain(), decode, conform, apply_patch)
    return api, strategy, Target(resource, "ns", "a")


def config_map(size: int, **data: str) -> Object:
    metadata = {
        "name": "a",
        "namespace": "ns",
        "uid": "1",
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": "v" * size, **data}}


@pytest.mark.parametrize(("size", "aside"), [(LARGE + 1, True), (10, False)])
async def test_a_create(size: int, aside: bool) -> None:
    api, strategy, target = setting()
    options = WriteOptions("CreateOptions").of_size(size)
    stored = await create_object(api, target.resource, "ns", config_map(size), USER, options, [])
    assert stored["metadata"]["managedFields"]
    assert [t != threading.get_ident() for t in strategy.threads] == [aside, aside]
    with pytest.raises(Invalid):
        await create_object(api, target.resource, "ns", config_map(size, wrong=""), USER, options, [])


@pytest.mark.parametrize(("there", "sent", "aside"), [(LARGE + 1, 10, True), (10, LARGE + 1, True), (10, 10, False)])
async def test_an_update_whichever_side_is_large(there: int, sent: int, aside: bool) -> None:
    api, strategy, target = setting(config_map(there))
    options = WriteOptions("UpdateOptions").of_size(sent)

    def produce(entry: Entry, warnings: list[str]) -> Object:
        strategy.threads.append(threading.get_ident())
        obj = entry.parse()
        obj["data"]["new"] = "x"
        return obj

    stored = await change_object(api, target, USER, options, produce, [])
    assert stored["data"]["new"] == "x"
    assert [t != threading.get_ident() for t in strategy.threads] == [aside] * 3


@pytest.mark.parametrize(("size", "aside"), [(LARGE + 1, True), (10, False)])
async def test_protobuf_becomes_json(monkeypatch: pytest.MonkeyPatch, size: int, aside: bool) -> None:
    threads = []

    def to_json(body: bytes) -> bytes:
        threads.append(threading.get_ident())
        return b"{}"

    monkeypatch.setattr(transcode, "to_json", to_json)
    headers = [(b"content-type", transcode.CONTENT_TYPE.encode()), (b"content-length", b"%d" % size)]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * size, "more_body": False}

    request = Request({"method": "POST", "path": "/", "headers": headers, "query_string": b""}, receive)
    await _as_json(request)
    assert (request.header(b"content-type"), await request.body()) == ("application/json", b"{}")
    assert [t != threading.get_ident() for t in threads] == [aside]
