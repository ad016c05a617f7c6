"""Persistent volumes through claims: hostPath, local and block devices, bound by hand; what upstream's kubelet checks;
generic ephemeral volumes.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, eventually
from tests.e2e.node.test_volume_content import mount, volume


class Binder:
    """Makes persistent volumes and claims, and binds them as the controller would."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl

    def pv_name(self, name: str) -> str:
        return f"{self.kubectl.namespace}-{name}"

    def volume(self, name: str, **spec: Any) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": self.pv_name(name), **spec.pop("metadata", {})},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                **spec,
            },
        }
        self.kubectl.apply(body)

    def claim(self, name: str, **fields: Any) -> None:
        metadata = {"name": name, **fields.pop("metadata", {})}
        spec = {
            "storageClassName": "",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeName": self.pv_name(name),
            **fields,
        }
        self.kubectl.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})

    def bind(self, name: str) -> None:
        uid = self.kubectl.get("pvc", name)["metadata"]["uid"]
        reference = {"name": name, "namespace": self.kubectl.namespace, "uid": uid}
        self.kubectl("patch", "pv", self.pv_name(name), "-p", json.dumps({"spec": {"claimRef": reference}}))
        bound = json.dumps({"status": {"phase": "Bound"}})
        self.kubectl("patch", "pvc", name, "--subresource=status", "-p", bound)

    def both(self, name: str, claim: dict[str, Any] | None = None, **spec: Any) -> None:
        self.volume(name, **spec)
        shared = {key: value for key, value in spec.items() if key in ("volumeMode", "accessModes")}
        self.claim(name, **shared, **(claim or {}))
        self.bind(name)


@pytest.fixture
def binder(kubectl: Kubectl) -> Iterator[Binder]:
    yield Binder(kubectl)
    names = kubectl("get", "pv", "-o", "name").split()
    mine = [name for name in names if f"/{kubectl.namespace}-" in name]
    if mine:
        kubectl.attempt("delete", "--wait=false", *mine)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(1 << 20)
    name = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    yield name
    subprocess.run(["losetup", "--detach", name], check=True)


def on_node(name: str) -> dict[str, Any]:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [name]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


def claimed(name: str, **fields: Any) -> dict[str, Any]:
    return volume(name, persistentVolumeClaim={"claimName": name, **fields})


def test_bound_claims(kubectl: Kubectl, machine: Machine, binder: Binder, device: str, tmp_path: Path) -> None:
    for name in ("host", "local", "kept"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "file").write_text(f"{name}\n")
    here = on_node(machine.node)
    group = {"annotations": {"pv.beta.kubernetes.io/gid": "4321"}}
    binder.both("host", hostPath={"path": str(tmp_path / "host"), "type": "Directory"}, metadata=group)
    binder.both("local", local={"path": str(tmp_path / "local")}, nodeAffinity=here)
    binder.both("kept", local={"path": str(tmp_path / "kept")}, nodeAffinity=here)
    binder.both("raw", local={"path": device}, nodeAffinity=here, volumeMode="Block")
    mounts = [mount("host"), mount("local"), mount("local", "/sub", subPath="sub"), mount("kept")]
    body = kubectl.pod(
        volumes=[
            claimed("host"),
            claimed("local"),
            claimed("kept", readOnly=True),
            claimed("raw"),
            volume("own", ephemeral=OWN),
        ],
        securityContext={"fsGroup": 4000, "fsGroupChangePolicy": "OnRootMismatch"},
        container={
            "volumeMounts": [*mounts, mount("own")],
            "volumeDevices": [{"name": "raw", "devicePath": "/dev/raw"}],
        },
    )
    assert body["metadata"]["name"] == "web"
    text = "failed to process volumes=[own]: error processing PVC"
    kubectl.event("FailedMount", text=text)
    # The controller makes the claim; here the test does, with the pod as its owner.
    uid = kubectl.get("pod", "web")["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": uid, "controller": True}
    (tmp_path / "own").mkdir()
    binder.volume("web-own", hostPath={"path": str(tmp_path / "own")})
    if kubectl.find("pvc", "web-own") is None:
        binder.claim("web-own", metadata={"ownerReferences": [owner]})
    binder.bind("web-own")
    kubectl.running()
    assert kubectl.sh("cat /host/sub/file /local/sub/file /sub/file /kept/sub/file") == "host\nlocal\nlocal\nkept"
    assert "Read-only file system" in kubectl.attempt("exec", "web", "--", "touch", "/kept/x").err
    assert {"4000", "4321"} <= set(kubectl.sh("id -G").split())
    kubectl.sh("echo w > /host/new; echo w > /local/new; echo w > /own/new; echo block > /dev/raw")
    assert Path(device).read_bytes()[:6] == b"block\n"
    owners = {name: (tmp_path / name / "sub/file").stat().st_gid for name in ("host", "local", "kept")}
    assert owners == {"host": 0, "local": 4000, "kept": 0}
    folder = machine.kubelet_root / "pods" / uid
    target = folder / "volumes/kubernetes.io~local-volume" / binder.pv_name("local")
    assert f" {target} " in Path("/proc/self/mountinfo").read_text()
    # OnRootMismatch: the root has the group, so what is below is not looked at again.
    (tmp_path / "local/new").chmod(0o600)
    kubectl.pod(
        "second",
        volumes=[claimed("local")],
        securityContext={"fsGroup": 4000, "fsGroupChangePolicy": "OnRootMismatch"},
        container={"volumeMounts": [mount("local")]},
    )
    kubectl.running("second")
    assert (tmp_path / "local/new").stat().st_mode & 0o777 == 0o600
    kubectl.pod(
        "third",
        volumes=[claimed("local")],
        securityContext={"fsGroup": 4000},
        container={"volumeMounts": [mount("local")]},
    )
    kubectl.running("third")
    assert (tmp_path / "local/new").stat().st_mode & 0o777 == 0o660
    kubectl("delete", "pod", "web", "second", "third")
    eventually("the pod's folder is gone", lambda: not folder.exists())
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    assert (tmp_path / "local/new").exists() and (tmp_path / "local/sub/file").read_text() == "local\n"


OWN = {
    "volumeClaimTemplate": {
        "spec": {
            "storageClassName": "",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        }
    }
}


def test_claims_that_cannot_be_used(kubectl: Kubectl, machine: Machine, binder: Binder, tmp_path: Path) -> None:
    namespace, here = kubectl.namespace, on_node(machine.node)
    path = {"path": str(tmp_path)}
    binder.claim("unbound")
    binder.volume("unbound", hostPath=path)
    binder.both("taken", hostPath=path)
    stolen = json.dumps({"spec": {"claimRef": {"uid": "other"}}})
    kubectl("patch", "pv", binder.pv_name("taken"), "-p", stolen)
    binder.both("far", local=path, nodeAffinity=on_node("elsewhere"))
    binder.both("void", local={"path": str(tmp_path / "void")}, nodeAffinity=here)
    binder.both("block", local=path, nodeAffinity=here, volumeMode="Block")
    binder.both("iscsi", iscsi={"targetPortal": "192.0.2.1", "iqn": "iqn.2001-04.com.example:x", "lun": 0})
    binder.both("once", hostPath=path, accessModes=["ReadWriteOncePod"])
    binder.both("ending", claim={"metadata": {"finalizers": ["example.com/hold"]}}, hostPath=path)
    kubectl("delete", "pvc", "ending", "--wait=false")
    binder.both("owned-own", hostPath=path)

    def unprocessed(name: str, text: str) -> str:
        return (
            f"Unable to attach or mount volumes: unmounted volumes=[{name}], unattached volumes=[], "
            f"failed to process volumes=[{name}]: {text}"
        )

    def claim(name: str, text: str) -> str:
        return unprocessed(name, f"error processing PVC {namespace}/{name}: {text}")

    uid = kubectl.get("pvc", "taken")["metadata"]["uid"]
    pv = binder.pv_name
    wrong = {
        "gone": claim("gone", 'failed to fetch PVC from API server: persistentvolumeclaims "gone" not found'),
        "unbound": claim("unbound", "PVC is not bound"),
        "ending": claim("ending", "PVC is being deleted"),
        "taken": claim(
            "taken",
            f"found PV object {pv('taken')} but its pv.Spec.ClaimRef.UID other does not point to claim.UID {uid}",
        ),
        "far": f'MountVolume.NodeAffinity check failed for volume "{pv("far")}" : no matching NodeSelectorTerms',
        "void": f'MountVolume.NewMounter initialization failed for volume "{pv("void")}" : '
        f'path "{tmp_path / "void"}" does not exist',
        "block": unprocessed("block", "volume block has volumeMode Block, but is specified in volumeMounts"),
        "iscsi": unprocessed(
            "iscsi", f'failed to get Plugin from volumeSpec for volume "{pv("iscsi")}" err=no volume plugin matched'
        ),
    }
    for name in [*wrong, "once"]:
        kubectl.pod(name, volumes=[claimed(name)], container={"volumeMounts": [mount(name)]})
    kubectl.pod("owned", volumes=[volume("own", ephemeral=OWN)], container={"volumeMounts": [mount("own")]})
    kubectl.running("once")
    kubectl.pod("twice", volumes=[claimed("once")], container={"volumeMounts": [mount("once")]})
    for name, message in wrong.items():
        assert kubectl.event("FailedMount", name)["message"] == message
    text = f"PVC {namespace}/owned-own was not created for pod {namespace}/owned (pod is not owner)"
    kubectl.event("FailedMount", "owned", unprocessed("own", text))
    in_use = "volume uses the ReadWriteOncePod access mode and is already in use by another pod"
    kubectl.event("FailedMount", "twice", in_use)
    binder.bind("unbound")
    (tmp_path / "void").mkdir()
    kubectl("delete", "pod", "once")
    for name in ("unbound", "void", "twice"):
        kubectl.running(name)
    kubectl("patch", "pvc", "ending", "--type=json", "-p", '[{"op": "remove", "path": "/metadata/finalizers"}]')
