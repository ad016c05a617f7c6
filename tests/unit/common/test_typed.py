"""What the typed client makes of objects that do not fit their class."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest
from lightkube.resources.core_v1 import Pod

from common.client.config import ClusterConfig
from common.client.dynamic import RawEvent
from common.client.typed import Client

GOOD = {"metadata": {"name": "good", "namespace": "a"}, "spec": {"containers": [{"name": "c"}]}}
BAD = {"metadata": {"name": "bad", "namespace": "a"}, "spec": {"containers": [{"image": "no name"}]}}


async def test_an_object_that_cannot_be_read_hides_no_other_in_a_list(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def send(*_: Any, **__: Any) -> bytes:
        return orjson.dumps({"metadata": {"resourceVersion": "7"}, "items": [BAD, GOOD]})

    client = Client(ClusterConfig("http://127.0.0.1:1"))
    monkeypatch.setattr(client.dynamic, "send", send)
    listed = await client.list(Pod)
    assert ([pod.metadata.name for pod in listed.items if pod.metadata], listed.resource_version) == (["good"], "7")
    assert "Pod a/bad is left out" in caplog.text


async def test_an_object_that_cannot_be_read_ends_no_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    async def watch_raw(*_: Any, **__: Any) -> Any:
        for obj in (BAD, GOOD):
            yield RawEvent("ADDED", msgspec.Raw(orjson.dumps(obj)))

    client = Client(ClusterConfig("http://127.0.0.1:1"))
    monkeypatch.setattr(client.dynamic, "watch_raw", watch_raw)
    seen = [event.object.metadata async for event in client.watch(Pod, resource_version="1")]
    assert [metadata.name for metadata in seen if metadata] == ["good"]
