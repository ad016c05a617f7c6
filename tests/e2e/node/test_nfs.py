"""nfs from a real server, where the machine's kernel has both sides of it (elsewhere: test_volume_faults.py)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.node.machine import ADDRESS, Machine
from tests.e2e.node.support import Kubectl, eventually
from tests.e2e.node.test_volume_claims import Binder, binder, claimed
from tests.e2e.node.test_volume_content import mount
from tests.e2e.node.test_volume_faults import mounted_below, nfs

__all__ = ["binder"]

PROGRAMS = ("rpc.nfsd", "rpc.mountd", "exportfs", "mount.nfs")
SERVE = """
mount -t nfsd nfsd /proc/fs/nfsd && mount -t tmpfs tmpfs /var/lib/nfs && mkdir -p /var/lib/nfs/v4recovery || exit
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
exportfs -i -o rw,no_root_squash,no_subtree_check,fsid=0 "*:$1" && rpc.nfsd -N 3 -G 10 -L 10 -H {address} 2 || exit
echo Y > /proc/fs/nfsd/v4_end_grace
rpc.mountd -N 3 -F & mountd=$!
trap 'rpc.nfsd 0; kill $mountd; exit 0' TERM
echo serving; wait
"""


def unable() -> str:
    """Why this machine cannot serve and mount NFS; "" when it can."""
    missing = [each for each in PROGRAMS if shutil.which(each, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if missing:
        return f"no {missing[0]} on this machine"
    for module in ("nfsd", "nfsv4"):
        subprocess.run(["modprobe", "-q", module], check=False)
    known = Path("/proc/filesystems").read_text().split()
    return "" if {"nfs4", "nfsd"} <= set(known) else "the machine's kernel knows no NFS"


class Server:
    """In the machine's network namespace; its exported folder is the root of what clients see."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self.folder = folder
        words = machine.inside("unshare", "-m", "sh", "-c", SERVE.format(address=ADDRESS), "sh", str(folder))
        self._running = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self._running.stdout is not None and self._running.stdout.readline() == b"serving\n"

    def stop(self) -> None:
        if self._running.poll() is None:
            self._running.terminate()
            self._running.wait(30)


@pytest.fixture
def server(machine: Machine, tmp_path: Path) -> Iterator[Server]:
    if reason := unable():
        pytest.skip(reason)
    tmp_path.chmod(0o755)
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data" / "greeting").write_text("of the server\n")
    found = Server(machine, tmp_path)
    yield found
    found.stop()


def test_volumes_of_a_server(kubectl: Kubectl, machine: Machine, server: Server, binder: Binder) -> None:
    binder.both("files", nfs={"server": ADDRESS, "path": "/data"}, mountOptions=["vers=4.1", "noatime"])
    kubectl.pod(
        volumes=[nfs("plain", ADDRESS, "/data"), nfs("fixed", ADDRESS, "/data", readOnly=True), claimed("files")],
        container={"volumeMounts": [mount("plain"), mount("fixed"), mount("files")]},
    )
    binder.both("later", nfs={"server": ADDRESS, "path": "/later"}, mountOptions=["vers=4.2"])  # else 3 is tried too
    kubectl.pod("wrong", volumes=[claimed("later")], container={"volumeMounts": [mount("later")]})
    kubectl.running()
    assert kubectl.sh("echo written > /files/new; cat /plain/new /fixed/greeting") == "written\nof the server"
    assert (server.folder / "data/new").read_text() == "written\n"
    assert "Read-only file system" in kubectl.sh("touch /fixed/no 2>&1 || true")
    options = kubectl.sh("grep ' /files ' /proc/mounts").split()[3].split(",")
    assert {"rw", "noatime", "vers=4.1"} <= set(options)

    message = kubectl.event("FailedMount", "wrong", "mount failed")["message"]
    assert f"Mounting arguments: -t nfs -o vers=4.2 {ADDRESS}:/later " in message and "Output: mount.nfs: " in message
    (server.folder / "later").mkdir()
    kubectl.running("wrong", 180)

    kubectl("delete", "pod", "wrong")
    server.stop()  # what is mounted does not answer any more
    kubectl("delete", "pod", "web", "--timeout=240s", timeout=300)
    pods = machine.kubelet_root / "pods"
    eventually("nothing is left mounted", lambda: not mounted_below(pods))
