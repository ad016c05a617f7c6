"""nfs through mount(8), mounts that fail, hang or freeze, and what a kubelet finds that was killed.

The kernel of a test's machine may know no NFS, so a ``mount`` of the test's own takes the place of the real one on the
kubelet's PATH: it writes down what it is asked, and does by the server's name what such a server would.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.node import frozen_mount
from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, container_status, eventually
from tests.e2e.node.test_volume_claims import Binder, binder, claimed
from tests.e2e.node.test_volume_content import config_map, mount, secret, volume

__all__ = ["binder"]

MOUNT = """#!/bin/sh
echo "$*" >> {root}/calls
for target; do :; done
case "$*" in
*refusing:*) echo "mount.nfs: Connection refused"; exit 32;;
*slow:*) echo $$ >> {root}/slow; [ -e {root}/back ] || exec sleep 600;;
*frozen:*) {python} {frozen} "$target" >> {root}/frozen; exit;;
esac
/bin/mount --bind {root}/export "$target" || exit
case "$*" in *ro*,*) /bin/mount -o remount,bind,ro "$target";; esac
"""


@dataclass(frozen=True)
class Server:
    """Of NFS, as far as the kubelet can tell."""

    root: Path

    def calls(self) -> list[str]:
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def pids(self, name: str) -> list[int]:
        file = self.root / name
        return [int(word) for word in file.read_text().split()] if file.exists() else []

    def end(self) -> None:
        for pid in [*self.pids("slow"), *self.pids("frozen")]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def server(machine: Machine, tmp_path: Path) -> Iterator[Server]:
    script = tmp_path / "bin" / "mount"
    script.parent.mkdir()
    script.write_text(MOUNT.format(root=tmp_path, python=sys.executable, frozen=frozen_mount.__file__))
    script.chmod(0o755)
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "file").write_text("of the server\n")
    usual = machine.kubelet.command
    path = f"PATH={script.parent}:{os.environ['PATH']}"
    machine.kubelet.stop()
    machine.kubelet.command = [*usual[:2], "env", path, *usual[2:]]
    machine.kubelet.start()
    found = Server(tmp_path)
    yield found
    found.end()
    machine.kubelet.stop()
    machine.kubelet.command = usual
    machine.kubelet.start()
    eventually("the node is Ready", machine.node_ready)


@pytest.fixture
def ice(tmp_path: Path) -> Iterator[Path]:
    """A folder of the machine's that does not answer."""
    folder = tmp_path / "ice"
    folder.mkdir()
    subprocess.run([sys.executable, frozen_mount.__file__, folder], check=True, stdout=subprocess.DEVNULL)
    yield folder
    subprocess.run(["umount", "--force", "--lazy", folder], check=True)


def condition(pod: dict[str, Any], name: str) -> str:
    found = pod["status"].get("conditions", [])
    return next((str(each["status"]) for each in found if each["type"] == name), "")


def nfs(name: str, server: str, path: str = "/export", **fields: Any) -> dict[str, Any]:
    return volume(name, nfs={"server": server, "path": path, **fields})


def mounted_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(f"{folder}/")]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_nfs_and_mounts_that_fail_hang_and_freeze(
    kubectl: Kubectl, machine: Machine, server: Server, binder: Binder, ice: Path
) -> None:
    binder.both("files", nfs={"server": "192.0.2.7", "path": "/a"}, mountOptions=["vers=4.2", "hard"])
    wrong = {"slow": nfs("v", "slow"), "refused": nfs("v", "refusing"), "frozen": nfs("v", "frozen")}
    for name, source in wrong.items():
        kubectl.pod(name, volumes=[source], container={"volumeMounts": [mount("v", subPath="sub")]})
    kubectl.pod("ice", volumes=[volume("v", hostPath={"path": str(ice)})], container={"volumeMounts": [mount("v")]})
    eventually("two mounts do not come back", lambda: server.pids("slow") and server.pids("frozen"))
    kubectl.pod(
        volumes=[nfs("plain", "192.0.2.8"), nfs("six", "2001:db8::1", readOnly=True), claimed("files", readOnly=True)],
        container={
            "volumeMounts": [mount("plain"), mount("six"), mount("files"), mount("plain", "/f", subPath="file")]
        },
    )
    uid = kubectl.running()["metadata"]["uid"]
    folder = machine.kubelet_root / "pods" / uid
    below = folder / "volumes/kubernetes.io~nfs"
    assert set(server.calls()) >= {
        f"-t nfs 192.0.2.8:/export {below}/plain",
        f"-t nfs -o ro [2001:db8::1]:/export {below}/six",
        f"-t nfs -o hard,ro,vers=4.2 192.0.2.7:/a {below}/{binder.pv_name('files')}",
    }
    assert kubectl.sh("echo w > /plain/new; cat /plain/file /six/new /f") == "of the server\nw\nof the server"
    assert "Read-only file system" in kubectl.attempt("exec", "web", "--", "touch", "/six/x").err
    assert "Read-only file system" in kubectl.attempt("exec", "web", "--", "touch", "/files/x").err

    refused = kubectl.event("FailedMount", "refused")
    uid = kubectl.get("pod", "refused")["metadata"]["uid"]
    target = machine.kubelet_root / "pods" / uid / "volumes/kubernetes.io~nfs/v"
    assert refused["message"] == (
        'MountVolume.SetUp failed for volume "v" : mount failed: exit status 32\nMounting command: mount\n'
        f"Mounting arguments: -t nfs refusing:/export {target}\nOutput: mount.nfs: Connection refused\n"
    )
    kubectl.event("FailedMount", "frozen", 'failed for volume "v" : frozen:/export: no answer within 20 s')
    kubectl.event("FailedMount", "ice", f'failed for volume "v" : hostPath {ice}: no answer within 20 s')
    for name in ("slow", "refused", "ice"):  # no sandbox before the volumes
        assert condition(kubectl.get("pod", name), "PodReadyToStartContainers") == "False"
    folders = [machine.kubelet_root / "pods" / each["metadata"]["uid"] for each in kubectl.get("pods")["items"]]
    kubectl("delete", "pods", "--all", "--timeout=60s")
    eventually("nothing of them is left", lambda: not any(each.exists() for each in folders))
    assert all(mounted_below(each) == [] for each in folders)
    assert alive(server.pids("slow")) == []
    eventually("nobody waits for the server that froze", lambda: alive(server.pids("frozen")) == [])
    assert sorted(os.listdir(server.root / "export")) == ["file", "new"]


def test_a_kubelet_that_is_killed_leaves_no_mount(
    kubectl: Kubectl, machine: Machine, server: Server, tmp_path: Path
) -> None:
    """In the middle of a set-up, and with pods that go while it is away."""
    kubectl.apply(config_map("settings", data={"a": "1"}), secret("hidden", a="2"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    own = [
        volume("map", configMap={"name": "settings"}),
        volume("hidden", secret={"secretName": "hidden"}),
        volume("memory", emptyDir={"medium": "Memory"}),
        volume("disk", emptyDir={}),
        volume("host", hostPath={"path": str(tmp_path / "mine")}),
        nfs("files", "192.0.2.8"),
    ]
    mounts = [
        *(mount(each["name"]) for each in own),
        mount("disk", "/sub", subPath="a/b"),
        mount("map", "/f", subPath="a"),
    ]
    for name in ("kept", "gone"):
        kubectl.pod(name, volumes=own, container={"volumeMounts": mounts})
    kubectl.pod("slow", volumes=[*own, nfs("slow", "slow")], container={"volumeMounts": [*mounts, mount("slow")]})
    pods = {name: kubectl.running(name) for name in ("kept", "gone")}
    folders = {name: machine.kubelet_root / "pods" / pod["metadata"]["uid"] for name, pod in pods.items()}
    uid = kubectl.get("pod", "slow")["metadata"]["uid"]
    folders["slow"] = machine.kubelet_root / "pods" / uid
    eventually("its mount hangs", lambda: alive(server.pids("slow")))
    kubectl.sh("echo data > /disk/data; echo data > /memory/data", "kept")
    restarts = container_status(pods["kept"])["containerID"]

    machine.kubelet.kill()
    kubectl("delete", "pod", "gone", "--force", "--grace-period=0")
    # As a kubelet leaves it that dies while it writes.
    content = folders["kept"] / "volumes/kubernetes.io~configmap/map"
    (content / "..2020_01_01_00_00_00.half").mkdir()
    (content / "..2020_01_01_00_00_00.half" / "a").write_text("half")
    (content / "..data_tmp").symlink_to("..2020_01_01_00_00_00.half")
    (server.root / "back").touch()
    machine.kubelet.start()
    eventually("what belongs to no pod is gone", lambda: not folders["gone"].exists())
    assert mounted_below(folders["gone"]) == []
    kubectl.running("slow")
    kubectl("patch", "configmap", "settings", "-p", '{"data": {"a": "new"}}')
    eventually("the file follows", lambda: kubectl.sh("cat /map/a", "kept") == "new")
    assert sorted(name for name in os.listdir(content) if name.startswith("..2020")) == []
    assert kubectl.sh("cat /disk/data /memory/data /f", "kept") == "data\ndata\n1"
    assert container_status(kubectl.get("pod", "kept"))["containerID"] == restarts

    deleting = subprocess.Popen(kubectl.words("delete", "pod", "kept", "slow"), stdout=subprocess.DEVNULL)
    eventually(
        "they end",
        lambda: (
            kubectl.get("pod", "kept")["metadata"].get("deletionTimestamp") if kubectl.find("pod", "kept") else True
        ),
    )
    machine.kubelet.kill()  # in the middle of taking down
    machine.kubelet.start()
    assert deleting.wait(120) == 0
    eventually("nothing of them is left", lambda: not any(each.exists() for each in folders.values()))
    assert all(mounted_below(each) == [] for each in folders.values())
    assert (tmp_path / "mine/file").read_text() == "mine"
    assert (server.root / "export/file").read_text() == "of the server\n"
