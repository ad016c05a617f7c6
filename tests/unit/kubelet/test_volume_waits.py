"""Volumes that take long, and objects that are followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Pod

from common.api.status import NotFound
from kubelet.types import MountedVolume, VolumeError, VolumesNotMounted
from kubelet.volumes import manager as module
from kubelet.volumes import objects as objects_module
from kubelet.volumes.manager import VolumeManager
from kubelet.volumes.objects import CachedObjects
from kubelet.volumes.token import TokenManager
from kubelet.volumes.used import references


@dataclass
class Server:
    """ConfigMaps, and watches of them one by one."""

    maps: dict[str, ConfigMap] = field(default_factory=dict)
    watchers: dict[str, asyncio.Queue[Any]] = field(default_factory=dict)
    gets: int = 0
    version: int = 0

    def put(self, name: str, *, immutable: bool = False, **data: str) -> None:
        self.version += 1
        meta = ObjectMeta(name=name, namespace="n", uid=f"{name}-uid", resourceVersion=str(self.version))
        self.maps[name] = ConfigMap(metadata=meta, data=data, immutable=immutable or None)
        if name in self.watchers:
            self.watchers[name].put_nowait(SimpleNamespace(type="MODIFIED", object=self.maps[name]))

    async def get(self, kind: type[Any], name: str, namespace: str | None = None) -> Any:
        self.gets += 1
        if name not in self.maps:
            raise NotFound(f'configmaps "{name}" not found')
        return self.maps[name]

    async def list(self, kind: type[Any], namespace: str | None = None, *, field_selector: str | None = None) -> Any:
        name = (field_selector or "").partition("=")[2]
        found = [self.maps[name]] if name in self.maps else []
        return SimpleNamespace(items=found, resource_version=str(self.version))

    async def watch(self, kind: type[Any], namespace: str | None = None, **options: Any) -> AsyncIterator[Any]:
        name = options["field_selector"].partition("=")[2]
        queue = self.watchers[name] = asyncio.Queue()
        try:
            while True:
                yield await queue.get()
        finally:
            del self.watchers[name]

    async def post_subresource(self, *words: Any, **options: Any) -> Any:
        raise AssertionError


def pod(*maps: str, uid: str = "u1", **volumes: Any) -> Pod:
    found = [{"name": name, "configMap": {"name": name}} for name in maps]
    found += [{"name": name, **source} for name, source in volumes.items()]
    mounts = [{"name": each["name"], "mountPath": f"/{each['name']}"} for each in found]
    container = {"name": "c", "volumeMounts": mounts}
    meta = {"name": "p", "namespace": "n", "uid": uid}
    return Pod.from_dict({"metadata": meta, "spec": {"containers": [container], "volumes": found}})


async def eventually(condition: Any) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 20 s")


async def test_a_volume_that_takes_long_holds_up_only_its_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    volumes = VolumeManager(tmp_path, CachedObjects(server), TokenManager(server), {})
    gate, begun, woken = asyncio.Event(), list[str](), list[str]()
    usual = volumes._set_up.volume

    async def slow(pod: Pod, volume: Any) -> MountedVolume:
        if volume.name != "slow":
            return await usual(pod, volume)
        begun.append(volume.name)
        await gate.wait()
        return MountedVolume("/there")

    monkeypatch.setattr(volumes._set_up, "volume", slow)
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.2)
    running = asyncio.create_task(volumes.run(wake=woken.append))
    wanted = pod(slow={"hostPath": {"path": "/x"}}, quick={"emptyDir": {}})
    with pytest.raises(VolumesNotMounted) as failed:
        await volumes.mount(wanted)
    assert failed.value.messages == ()
    monkeypatch.setattr(module, "_WAIT_SECONDS", -1.0)
    with pytest.raises(VolumesNotMounted) as failed:
        await volumes.mount(wanted)
    assert failed.value.messages == (
        "Unable to attach or mount volumes: unmounted volumes=[slow], unattached volumes=[], "
        "failed to process volumes=[]: timed out waiting for the condition",
    )
    assert begun == ["slow"]  # it was not begun twice
    gate.set()
    await eventually(lambda: woken == ["u1"])
    assert (await volumes.mount(wanted))["slow"].path == "/there"
    await volumes.unmount("u1")
    assert not (tmp_path / "pods/u1").exists()
    running.cancel()


async def test_how_a_long_set_up_failed_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    volumes = VolumeManager(tmp_path, CachedObjects(server), TokenManager(server), {})
    gate, begun = asyncio.Event(), list[str]()

    async def fail(pod: Pod, volume: Any) -> MountedVolume:
        begun.append(volume.name)
        await gate.wait()
        raise VolumeError(f"no {volume.name}")

    monkeypatch.setattr(volumes._set_up, "volume", fail)
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.05)
    wanted = pod(slow={"hostPath": {"path": "/x"}})
    with pytest.raises(VolumesNotMounted) as failed:
        await volumes.mount(wanted)
    assert failed.value.messages == ()
    gate.set()
    await eventually(lambda: not volumes._pods["u1"].tasks)
    with pytest.raises(VolumesNotMounted) as failed:
        await volumes.mount(wanted)
    assert failed.value.messages == ("no slow",) and begun == ["slow"]
    with pytest.raises(VolumesNotMounted):
        await volumes.mount(wanted)
    assert begun == ["slow", "slow"]


async def test_a_set_up_that_is_under_way_ends_with_the_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    volumes = VolumeManager(tmp_path, CachedObjects(server), TokenManager(server), {})
    ended = list[str]()

    async def hang(pod: Pod, volume: Any) -> MountedVolume:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(volume.name)
        raise AssertionError

    monkeypatch.setattr(volumes._set_up, "volume", hang)
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.05)
    with pytest.raises(VolumeError):
        await volumes.mount(pod(slow={"hostPath": {"path": "/x"}}))
    await volumes.unmount("u1")
    assert ended == ["slow"]


async def test_what_volumes_show_is_watched_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    server.put("a", key="1")
    server.put("fixed", immutable=True, key="1")
    objects = CachedObjects(server, ttl=0)
    volumes = VolumeManager(tmp_path, objects, TokenManager(server), {})
    woken = list[str]()
    running = asyncio.create_task(volumes.run(wake=woken.append))
    mounted = await volumes.mount(pod("a", "fixed"))
    await eventually(lambda: set(server.watchers) == {"a"})
    server.put("a", key="2")
    await eventually(lambda: (Path(mounted["a"]) / "key").read_text() == "2")
    gets = server.gets
    assert (await objects.config_map("n", "a")).data == {"key": "2"}
    server.put("fixed", key="other")
    assert (await objects.config_map("n", "fixed")).data == {"key": "1"}
    assert server.gets == gets

    # One that is not there yet: the worker is told when it comes.
    with pytest.raises(VolumesNotMounted, match='configmap "later" not found'):
        await volumes.mount(pod("later", uid="u2"))
    await eventually(lambda: "later" in server.watchers)
    server.put("later", key="1")
    await eventually(lambda: woken == ["u2"])
    await volumes.mount(pod("later", uid="u2"))

    # No more watches than there may be: what is beyond is asked for.
    monkeypatch.setattr(objects_module, "MAX_WATCHES", 2)
    server.put("more", key="1")
    await volumes.mount(pod("more", uid="u3"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert set(server.watchers) == {"a", "later"}

    for uid in ("u1", "u2", "u3"):
        await volumes.unmount(uid)
    await eventually(lambda: not server.watchers)
    assert (await objects.config_map("n", "fixed")).data == {"key": "other"}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_references() -> None:
    sources = [{"secret": {"name": "s"}}, {"configMap": {"name": "m"}}, {"serviceAccountToken": {"path": "t"}}]
    found = pod("a", hidden={"secret": {"secretName": "h"}}, all={"projected": {"sources": sources}})
    assert references(found) == {
        ("configmap", "n", "a"),
        ("configmap", "n", "m"),
        ("secret", "n", "h"),
        ("secret", "n", "s"),
    }
