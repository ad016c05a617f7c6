"""The client, informers, events and leader election against a real API server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from lightkube.models.core_v1 import NamespaceSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import ConfigMap, Event, Namespace

from common.api.meta import clone
from common.api.status import AlreadyExists, Conflict, Expired, NotFound, ServiceUnavailable, Unauthorized
from common.client import Client, ClusterConfig, PatchType, ResourceInfo, discover
from common.events import EventRecorder
from common.informer import Informer
from common.leader import LeaderElector

SECONDS = 20


@pytest.fixture
async def client(apiserver: Any) -> AsyncIterator[Client]:
    async with Client(ClusterConfig.from_kubeconfig(apiserver.kubeconfig())) as client:
        yield client


@pytest.fixture
async def space(client: Client) -> str:
    """A namespace of the test's own."""
    name = f"common-{uuid.uuid4().hex[:8]}"
    await client.create(Namespace(metadata=ObjectMeta(name=name), spec=NamespaceSpec()))
    return name


async def eventually(check: Callable[[], Any]) -> Any:
    async with asyncio.timeout(SECONDS):
        while not (answer := check()):  # noqa: ASYNC110 - looks at a store, which has no event to wait for
            await asyncio.sleep(0.02)
        return answer


@asynccontextmanager
async def running(coroutine: Any) -> AsyncIterator[asyncio.Task[Any]]:
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def config_map(space: str, name: str = "cm", **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=space, labels={"test": name}), data=data or None)


async def test_every_verb(client: Client, space: str) -> None:
    made = await client.create(config_map(space, a="1"))
    with pytest.raises(AlreadyExists):
        await client.create(config_map(space))
    patched = await client.patch(ConfigMap, "cm", {"data": {"b": "2"}}, space, patch_type=PatchType.MERGE)
    assert patched.data == {"a": "1", "b": "2"}
    stale = clone(made)
    stale.data = {}
    with pytest.raises(Conflict, match="the object has been modified"):
        await client.replace(stale)
    fresh = clone(patched)
    fresh.data = {"c": "3"}
    assert (await client.replace(fresh)).data == {"c": "3"}
    listed = await client.list(ConfigMap, space, label_selector="test=cm")
    assert [c.metadata.name for c in listed.items] == ["cm"]
    with pytest.raises(Conflict):
        await client.delete(ConfigMap, "cm", space, uid="other")
    await client.delete(ConfigMap, "cm", space)
    with pytest.raises(NotFound, match='configmaps "cm" not found'):
        await client.get(ConfigMap, "cm", space)


async def test_pages_are_followed(client: Client, space: str) -> None:
    await asyncio.gather(*(client.create(config_map(space, f"cm-{i}")) for i in range(7)))
    listed = await client.list(ConfigMap, space, limit=3, label_selector="test")
    assert len(listed.items) == 7


async def test_credentials_that_are_none_of_the_cluster(apiserver: Any) -> None:
    config = ClusterConfig.from_kubeconfig(apiserver.kubeconfig())
    stranger = ClusterConfig(server=config.server, ca_data=config.ca_data, token="x")
    async with Client(stranger) as client:
        with pytest.raises(Unauthorized):
            await client.list(ConfigMap, "default")


async def test_discovery_names_what_is_served(client: Client) -> None:
    found = {(r.group, r.plural): r for r in await discover(client)}
    assert found["apps", "deployments"].path("ns", "web") == "/apis/apps/v1/namespaces/ns/deployments/web"
    assert not found["", "nodes"].namespaced
    assert ("", "pods/log") not in found


async def test_a_watch_tells_what_happens_and_expires(client: Client, space: str, apiserver: Any) -> None:
    start = (await client.list(ConfigMap, space)).resource_version
    await client.create(config_map(space))
    await client.delete(ConfigMap, "cm", space)
    seen = []
    async for event in client.watch(ConfigMap, space, resource_version=start, label_selector="test=cm"):
        if event.type != "BOOKMARK":
            seen.append(event.type)
        if len(seen) == 2:
            break
    assert seen == ["ADDED", "DELETED"]
    apiserver.restart()  # its history begins anew
    with pytest.raises(Expired):
        await _retried(lambda: anext(client.watch(ConfigMap, space, resource_version=start)))


async def test_an_informer_keeps_up_through_a_restart_of_the_server(client: Client, space: str, apiserver: Any) -> None:
    informer = Informer(client, ConfigMap, namespace=space, indexers={"value": lambda c: (c.data or {}).values()})
    told: list[tuple[str, str]] = []
    informer.add_handler(
        lambda new: told.append(("add", new.metadata.name)),
        lambda old, new: told.append(("update", new.metadata.name)),
        lambda old: told.append(("delete", old.metadata.name)),
    )
    await client.create(config_map(space, "first", a="x"))
    async with running(informer.run()):
        await informer.wait_synced()
        assert informer.store.by_index("value", "x")
        apiserver.restart()
        created = await _retried(lambda: client.create(config_map(space, "second", a="y")))
        created.data = {"a": "z"}
        await client.replace(created)
        await client.delete(ConfigMap, "first", space)
        await eventually(lambda: ("delete", "first") in told and informer.store.by_index("value", "z"))
        assert not informer.store.by_index("value", "x")
        assert told.count(("add", "second")) == 1


async def _retried(call: Callable[[], Any]) -> Any:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return await call()
            except ServiceUnavailable:
                await asyncio.sleep(0.1)


async def test_an_informer_over_dicts(client: Client, space: str) -> None:
    await client.create(config_map(space, a="1"))
    accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    informer: Informer[Any] = Informer(client, ResourceInfo.of(ConfigMap), namespace=space, accept=accept)
    async with running(informer.run()):
        await informer.wait_synced()  # with what the server's cache had; what was just made may follow
        obj = await eventually(lambda: informer.store.get(f"{space}/cm"))
        assert obj["kind"] == "PartialObjectMetadata"
        assert "data" not in obj


async def test_the_same_event_is_counted(client: Client, space: str) -> None:
    recorder = EventRecorder(client, "tester", "here")
    target = await client.create(config_map(space))
    async with running(recorder.run()):
        for _ in range(3):
            recorder.event(target, "Warning", "Tried", "and failed")
        recorder.event(target, "Normal", "Tried", "and succeeded")

        async with asyncio.timeout(SECONDS):
            while True:
                events = (await client.list(Event, space)).items
                counts = {e.message: e.count for e in events}
                if counts == {"and failed": 3, "and succeeded": 1}:
                    break
                await asyncio.sleep(0.05)
    assert events[0].involvedObject.kind == "ConfigMap"
    assert events[0].source.component == "tester"


async def test_one_leads_and_the_other_follows(client: Client, space: str) -> None:
    leading: list[str] = []

    def elector(identity: str) -> LeaderElector:
        return LeaderElector(
            client,
            name="lease",
            namespace=space,
            identity=identity,
            lease_duration=3,
            renew_deadline=2,
            retry_period=0.2,
        )

    async def lead(name: str) -> None:
        leading.append(name)
        await asyncio.Event().wait()

    async with running(elector("a").run(lambda: lead("a"))) as first:
        await eventually(lambda: leading == ["a"])
        async with running(elector("b").run(lambda: lead("b"))):
            assert (await client.get(Lease, "lease", space)).spec.holderIdentity == "a"
            first.cancel()  # gives the Lease back
            await eventually(lambda: leading == ["a", "b"])
            lease = await client.get(Lease, "lease", space)
            assert lease.spec.holderIdentity == "b"
            assert lease.spec.leaseTransitions == 1
