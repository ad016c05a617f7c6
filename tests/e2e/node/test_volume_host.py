"""emptyDir and hostPath: media and sizes, types, sub paths, propagation of mounts, and what is left afterwards."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, container_status, eventually
from tests.e2e.node.test_volume_content import mount, volume

MEMORY = {"limits": {"memory": "48Mi"}}


def host_path(name: str, path: Path | str, kind: str = "") -> dict[str, Any]:
    return volume(name, hostPath={"path": str(path), **({"type": kind} if kind else {})})


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Path]:
    """A folder of the machine's with one of everything, on a mount that is shared."""
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "sub" / "file").write_text("inside\n")
    (tmp_path / "folder" / "inner").symlink_to("sub")
    (tmp_path / "folder" / "outer").symlink_to(tmp_path / "secret")
    (tmp_path / "folder" / "file").write_text("text\n")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "mark").write_text("of the host\n")
    (tmp_path / "shared").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "shared"], check=True)
    subprocess.run(["mount", "--make-shared", tmp_path / "shared"], check=True)
    listening = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tmp_path)  # the name of a socket is short
    listening.bind("socket")
    os.chdir(here)
    yield tmp_path
    listening.close()
    subprocess.run(["umount", "-R", "-l", tmp_path / "shared"], check=True)


def test_media_types_and_sub_paths(kubectl: Kubectl, machine: Machine, host: Path) -> None:
    volumes = [
        volume("disk", emptyDir={}),
        volume("small", emptyDir={"medium": "Memory", "sizeLimit": "4Mi"}),
        volume("memory", emptyDir={"medium": "Memory"}),
        host_path("folder", host / "folder", "Directory"),
        host_path("new", host / "made" / "here", "DirectoryOrCreate"),
        host_path("file", host / "folder" / "file", "File"),
        host_path("touched", host / "touched", "FileOrCreate"),
        host_path("socket", host / "socket", "Socket"),
        host_path("char", "/dev/null", "CharDevice"),
        host_path("block", "/dev/loop0", "BlockDevice"),
        host_path("shared", host / "shared"),
    ]
    mounts = [
        *(mount(name) for name in ("disk", "small", "memory", "new", "file", "touched", "socket", "char", "block")),
        mount("folder", readOnly=True, recursiveReadOnly="IfPossible"),
        mount("folder", "/inner", subPath="inner"),
        mount("disk", "/mine", subPathExpr="of/$(NAME)"),
        mount("folder", "/one", subPath="sub/file"),
        mount("shared", mountPropagation="HostToContainer"),
        mount("disk", "/seen", mountPropagation="HostToContainer"),
    ]
    name = {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    first = {"name": "first", "command": ["sh", "-c", "id -u > /disk/first"], "volumeMounts": [mount("disk")]}
    second = {"name": "second", "volumeMounts": [mount("disk", "/other")], "resources": MEMORY}
    app = {"name": "app", "volumeMounts": mounts, "env": [name], "resources": MEMORY}
    kubectl.pod(volumes=volumes, initContainers=[first], containers=[app, second], securityContext={"fsGroup": 3000})
    pod = kubectl.running()
    folder = machine.kubelet_root / "pods" / pod["metadata"]["uid"]

    assert kubectl.sh("cat /disk/first; stat -c '%a %g' /disk /memory").split("\n") == ["0", "2777 3000", "3777 3000"]
    kubectl.sh("echo shared > /other/file", container="second")
    assert kubectl.sh("cat /disk/file", container="app") == "shared"
    sizes = "for d in /small /memory; do df -k $d | tail -1 | awk '{print $2}'; stat -f -c %T $d; done"
    assert kubectl.sh(sizes).split() == [str(4 << 10), "tmpfs", str(96 << 10), "tmpfs"]
    full = kubectl.attempt("exec", "web", "-c", "app", "--", "dd", "if=/dev/zero", "of=/small/x", "bs=1M", "count=5")
    assert "No space left" in full.err
    kubectl.sh("rm /small/x")
    assert (folder / "volumes/kubernetes.io~empty-dir/disk/of/web").is_dir()

    told = container_status(pod)["volumeMounts"]
    assert {"name": "disk", "mountPath": "/disk"} in told
    folder_told = {"name": "folder", "mountPath": "/folder", "readOnly": True, "recursiveReadOnly": "Enabled"}
    assert folder_told in told
    read_only = kubectl.attempt("exec", "web", "-c", "app", "--", "touch", "/folder/x")
    assert "Read-only file system" in read_only.err
    assert kubectl.sh("cat /file /inner/file /one") == "text\ninside\ninside"
    kubectl.sh("echo new > /new/file; echo more > /touched; [ -S /socket ] && [ -c /char ] && [ -b /block ]")
    assert (host / "made/here/file").read_text() == "new\n" and (host / "touched").read_text() == "more\n"
    assert (host / "folder/file").stat().st_gid == 0  # fsGroup is not for the host's files

    # Mounts of the host's are seen by who asked for it, in a hostPath and in an emptyDir; afterwards what was the
    # user's is as it was, also when it is mounted in the pod's own folder.
    (host / "shared/below").mkdir()
    kubectl.sh("mkdir /disk/below")
    targets = [host / "shared/below", folder / "volumes/kubernetes.io~empty-dir/disk/below"]
    for target in targets:
        subprocess.run(["mount", "--bind", host / "secret", target], check=True)
    assert kubectl.sh("cat /shared/below/mark /seen/below/mark; ls /disk/below") == "of the host\nof the host"
    kubectl("delete", "pod", "web")
    eventually("the pod's folder is gone", lambda: not folder.exists())
    assert f"{folder}/" not in Path("/proc/self/mountinfo").read_text()
    assert (host / "secret/mark").exists() and (host / "folder/sub/file").exists() and (host / "touched").exists()


def test_what_is_refused(kubectl: Kubectl, host: Path) -> None:
    file, folder = host / "folder" / "file", host / "folder"
    check = "hostPath type check failed: "
    wrong = {
        "directory": (host_path("directory", file, "Directory"), f"{check}{file} is not a directory"),
        "create": (host_path("create", file, "DirectoryOrCreate"), f"{check}{file} is not a directory"),
        "none": (host_path("none", host / "none", "Directory"), f"{check}{host / 'none'} is not a directory"),
        "file": (host_path("file", folder, "File"), f"{check}{folder} is not a file"),
        "touch": (
            host_path("touch", host / "no/folder", "FileOrCreate"),
            f"open {host / 'no/folder'}: no such file or directory",
        ),
        "socket": (host_path("socket", file, "Socket"), f"{check}{file} is not a socket file"),
        "char": (host_path("char", file, "CharDevice"), f"{check}{file} is not a character device"),
        "block": (host_path("block", "/dev/null", "BlockDevice"), f"{check}/dev/null is not a block device"),
        "huge": (
            volume("huge", emptyDir={"medium": "HugePages"}),
            "medium HugePages: hugePages storage requested, but there is no resource request for huge pages",
        ),
    }
    kubectl.pod(
        "wrong",
        volumes=[each for each, _ in wrong.values()],
        container={"volumeMounts": [mount(name) for name in wrong]},
    )
    mounts = {
        "expr": mount("v", subPathExpr="$(NONE)"),
        "outer": mount("v", subPath="outer"),
        "made": mount("v", subPath="outer/made"),
        "beneath": mount("v", subPath="file/beneath"),
    }
    failed = 'subPath directory for volumeMount "v" of container "app"'
    messages = {
        "expr": 'missing value for "NONE"',
        "outer": 'failed to prepare subPath for volumeMount "v" of container "app"',
        "made": f"failed to create {failed}",
        "beneath": f"failed to create {failed}",
    }
    for name, each in mounts.items():
        kubectl.pod(name, volumes=[host_path("v", folder)], container={"volumeMounts": [each]})
    for name, (_, text) in wrong.items():
        event = kubectl.event("FailedMount", "wrong", f'"{name}"')
        assert event["message"] == f'MountVolume.SetUp failed for volume "{name}" : {text}'
    for name, message in messages.items():
        waiting = {"reason": "CreateContainerConfigError", "message": message}
        eventually(
            f"{name} waits",
            lambda n=name, w=waiting: container_status(kubectl.status(n)).get("state") == {"waiting": w},
        )  # type: ignore[misc]
    assert sorted(os.listdir(host / "secret")) == ["mark"]
    recursive = BIDIRECTIONAL.replace("mountPropagation: Bidirectional", "recursiveReadOnly: Enabled")
    assert "may only be specified when readOnly is true" in kubectl.attempt("create", "-f", "-", stdin=recursive).err
    refused = kubectl.attempt("create", "-f", "-", stdin=BIDIRECTIONAL)
    assert "Bidirectional mount propagation is available only to privileged containers" in refused.err


def test_read_only_with_all_that_is_mounted_within(kubectl: Kubectl, machine: Machine, host: Path) -> None:
    handlers = kubectl.get("node", machine.node)["status"]["runtimeHandlers"]
    assert [(each.get("name", ""), each["features"]["recursiveReadOnlyMounts"]) for each in handlers] == [("", True)]
    (host / "shared" / "part").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", host / "shared" / "part"], check=True)
    mounts = [
        mount("host", "/all", readOnly=True, recursiveReadOnly="Enabled"),
        mount("host", "/part", subPath="shared", readOnly=True, recursiveReadOnly="IfPossible"),
        mount("host", "/top", readOnly=True, recursiveReadOnly="Disabled"),
        mount("host", "/plain"),
    ]
    kubectl.pod(volumes=[host_path("host", host)], container={"volumeMounts": mounts})
    pod = kubectl.running()
    told = {each["mountPath"]: each.get("recursiveReadOnly") for each in container_status(pod)["volumeMounts"]}
    assert (told["/all"], told["/part"], told["/top"], told["/plain"]) == ("Enabled", "Enabled", "Disabled", None)
    for path in ("/all/x", "/all/shared/x", "/all/shared/part/x", "/part/x", "/part/part/x", "/top/x"):
        assert "Read-only file system" in kubectl.attempt("exec", "web", "--", "touch", path).err, path
    kubectl.sh("touch /top/shared/part/x /plain/y /plain/shared/part/y")
    assert kubectl.sh("ls /all/shared/part /part/part") == "/all/shared/part:\nx\ny\n\n/part/part:\nx\ny"

    # A container sees what is mounted within as of its start; the one before it is gone by then.
    subprocess.run(["umount", host / "shared" / "part"], check=True)
    kubectl.attempt("exec", "web", "--", "kill", "1")
    eventually("it runs again", lambda: container_status(kubectl.status("web"))["restartCount"] == 1)
    kubectl.running()
    assert kubectl.sh("ls /all/shared/part /part/part") == "/all/shared/part:\n\n/part/part:"
    folder = machine.kubelet_root / "pods" / pod["metadata"]["uid"]
    kubectl("delete", "pod", "web")
    eventually("the pod's folder is gone", lambda: not folder.exists())
    assert f"{folder}/" not in Path("/proc/self/mountinfo").read_text()
    assert (host / "y").exists() and (host / "shared").exists() and (host / "secret/mark").exists()


BIDIRECTIONAL = """
apiVersion: v1
kind: Pod
metadata: {name: both}
spec:
  volumes: [{name: v, emptyDir: {}}]
  containers:
  - {name: c, image: i, volumeMounts: [{name: v, mountPath: /v, mountPropagation: Bidirectional}]}
"""
