"""Calls that may hang, claims, and who may reach a volume."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod

from common.api.status import NotFound
from kubelet.types import VolumeError
from kubelet.volumes.affinity import reachable
from kubelet.volumes.claims import Unprocessed, claimed
from kubelet.volumes.manager import VolumeManager
from kubelet.volumes.nfs import arguments, source
from kubelet.volumes.objects import CachedObjects
from kubelet.volumes.operations import Operations
from kubelet.volumes.token import TokenManager


async def test_a_call_that_hangs_is_left_and_joined_by_the_next_one() -> None:
    operations, gate, calls = Operations(limit=2), threading.Event(), list[int]()

    def hang() -> str:
        calls.append(1)
        gate.wait(10)
        return "done"

    with pytest.raises(VolumeError, match="the server: no answer within 0 s"):
        await operations.run("uid/a", hang, seconds=0.01, what="the server")
    with pytest.raises(VolumeError, match="no answer"):
        operations.call("uid/a", hang, seconds=0.01, what="the server")
    with pytest.raises(VolumeError, match="no answer"):
        await operations.run("uid/b", hang, seconds=0.01, what="the server")
    with pytest.raises(VolumeError, match="too many operations"):
        await operations.run("other/c", hang, seconds=1, what="the server")
    assert not await operations.settled("uid/", 0.01)
    assert await operations.settled("other/", 0)
    gate.set()
    assert await operations.run("uid/a", hang, seconds=10, what="the server") == "done"
    assert await operations.settled("uid/", 10)
    assert len(calls) <= 3
    assert await operations.run("other/c", lambda: 1, seconds=10, what="") == 1


async def test_what_a_call_raises_is_raised() -> None:
    def refuse() -> None:
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        await Operations().run("uid/a", refuse, seconds=10, what="")


def test_mount_s_words() -> None:
    assert source("10.0.0.1", "/a") == "10.0.0.1:/a"
    assert source("::1", "/a") == "[::1]:/a"
    assert source("files.example.com", "/") == "files.example.com:/"
    assert arguments("s:/a", "/t", [], read_only=False) == ["-t", "nfs", "s:/a", "/t"]
    assert arguments("s:/a", "/t", ["vers=3", "ro"], read_only=True) == ["-t", "nfs", "-o", "ro,vers=3", "s:/a", "/t"]


def persistent(**spec: Any) -> PersistentVolume:
    return PersistentVolume.from_dict({"metadata": {"name": "pv"}, "spec": spec})


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        ([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}], True),
        ([{"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}], False),
        ([{"matchExpressions": [{"key": "none", "operator": "DoesNotExist"}]}], True),
        ([{"matchExpressions": [{"key": "number", "operator": "Gt", "values": ["6"]}]}], True),
        ([{"matchExpressions": [{"key": "zone", "operator": "Lt", "values": ["6"]}]}], False),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}], True),
        ([{}], False),
        ([{}, {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}], True),
    ],
)
def test_node_affinity(terms: list[Any], found: bool) -> None:
    volume = persistent(nodeAffinity={"required": {"nodeSelectorTerms": terms}})
    assert reachable(volume, "n1", {"zone": "a", "number": "7"}) is found
    assert reachable(persistent(), "n1", {})


class Objects:
    def __init__(self, *objects: Any) -> None:
        self.objects = {(type(each), each.metadata.name): each for each in objects}

    async def get(self, kind: type[Any], name: str, namespace: str | None = None) -> Any:
        try:
            return self.objects[kind, name]
        except KeyError:
            raise NotFound(f'"{name}" not found') from None


@pytest.mark.parametrize(
    ("claim", "volume", "problem"),
    [
        ({"spec": {"volumeName": "pv"}}, {}, "PVC is not bound"),
        ({"spec": {}, "status": {"phase": "Bound"}}, {}, "PVC has empty pvc.Spec.VolumeName"),
        (
            {"spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}},
            {},
            "found PV object pv but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim",
        ),
        (
            {"spec": {"volumeName": "other"}, "status": {"phase": "Bound"}},
            {},
            'failed to fetch PV other from API server: "other" not found',
        ),
        ({"spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}, {"claimRef": {"uid": "u1"}}, None),
    ],
)
async def test_claims(claim: dict[str, Any], volume: dict[str, Any], problem: str | None) -> None:
    wanted = PersistentVolumeClaim.from_dict({"metadata": {"name": "c", "uid": "u1"}, **claim})
    mounts = [{"name": "v", "mountPath": "/v"}]
    pod = Pod.from_dict(
        {
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {
                "containers": [{"name": "c", "volumeMounts": mounts}],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c", "readOnly": True}}],
            },
        }
    )
    assert pod.spec is not None and pod.spec.volumes
    look = claimed(Objects(wanted, persistent(**volume)), pod, pod.spec.volumes[0], frozenset("v"), frozenset())
    if problem is None:
        assert (await look).read_only
        return
    with pytest.raises(Unprocessed) as failed:
        await look
    assert str(failed.value) == f"error processing PVC n/c: {problem}"


async def test_a_volume_for_one_pod_is_not_given_to_another_after_a_restart(tmp_path: Path) -> None:
    """What an earlier kubelet has set up is on the disk."""
    claim = {"spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}
    wanted = PersistentVolumeClaim.from_dict({"metadata": {"name": "c", "uid": "u1"}, **claim})
    spec = {"claimRef": {"uid": "u1"}, "accessModes": ["ReadWriteOncePod"], "hostPath": {"path": str(tmp_path)}}
    objects: Any = Objects(wanted, persistent(**spec))
    volumes = VolumeManager(tmp_path, CachedObjects(objects), TokenManager(objects), {}, objects)
    mounts = [{"name": "v", "mountPath": "/v"}]
    pod = Pod.from_dict(
        {
            "metadata": {"name": "p", "namespace": "n", "uid": "mine"},
            "spec": {
                "containers": [{"name": "c", "volumeMounts": mounts}],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
            },
        }
    )
    other = tmp_path / "pods/other/volumes/kubernetes.io~local-volume/pv"
    other.mkdir(parents=True)
    with pytest.raises(VolumeError, match="already in use by another pod"):
        await volumes.mount(pod)
    await volumes.unmount("other")
    assert (await volumes.mount(pod))["v"].path == str(tmp_path)
