"""A machine of the tests: its network namespace, the processes in it, and what they leave on Docker."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import docker

from kubelet.cgroups.hierarchy import remove
from kubelet.cgroups.tree import find_hierarchy
from kubelet.runtime.naming import LABEL_NODE
from tests.e2e.node.support import Kubectl, eventually

ROOT = Path(__file__).resolve().parents[3]
BUSYBOX = Path("/bin/busybox")
API, ETCD, ETCD_PEER, KUBELET, MANAGER = 6443, 2379, 2380, 10250, 10257
"""Ports in the machine's own network namespace: nobody else is there."""
ADDRESS = "192.0.2.10"
"""The machine's, on a link that leads nowhere; the API server and the kubelet are there."""
POD_CIDR, CLUSTER_CIDR, SERVICE_CIDR = "10.251.1.0/24", "10.251.0.0/16", "10.250.0.0/16"
USERS = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n"
GROUPS = "root:x:0:\napp:x:1000:\nextra:x:3000:app\n"


@contextmanager
def built_image() -> Iterator[str]:
    """An image of the machine's static busybox, without any registry."""
    api = docker.APIClient()
    repository = f"cox-test-{uuid.uuid4().hex[:8]}"
    api.import_image_from_data(image_archive(), repository=repository, tag="v1", changes=[_COMMAND, _PATH])
    try:
        yield f"{repository}:v1"
    finally:
        api.remove_image(f"{repository}:v1", force=True)
        api.close()


_COMMAND = 'CMD ["sh","-c","trap \'exit 0\' TERM; while true; do sleep 3600 & wait $!; done"]'
_PATH = "ENV PATH=/bin"


def image_archive() -> bytes:
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(BUSYBOX, "bin/busybox")
        for applet in applets:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            if applet != "busybox":
                archive.addfile(link)
        for directory in ("tmp", "etc", "dev", "proc", "sys", "root", "home/app", "var/run"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            archive.addfile(entry)
        for name, text in (("etc/passwd", USERS), ("etc/group", GROUPS)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@dataclass
class Process:
    """A process of the machine that may be ended in any way and started again."""

    name: str
    command: Sequence[str]
    log: Path
    running: subprocess.Popen[bytes] | None = None
    _out: IO[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        self._out = self.log.open("ab")
        self.running = subprocess.Popen(self.command, stdout=self._out, stderr=subprocess.STDOUT, cwd=ROOT)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 20) -> None:
        if self.running is not None and self.running.poll() is None:
            self.running.send_signal(number)
            try:
                self.running.wait(seconds)
            except subprocess.TimeoutExpired:
                self.running.kill()
                self.running.wait()
        if self._out is not None:
            self._out.close()

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def restart(self, number: int = signal.SIGTERM) -> None:
        self.stop(number)
        self.start()


class Machine:
    """``inside(…)`` gives the words that run a command in its network namespace. ``extra``: flags of the kubelet that a
    test adds to the usual ones, or sets otherwise."""

    def __init__(self, root: Path, image: str, extra: dict[str, object] | None = None, docker_socket: str = "") -> None:
        self.root, self.image = root, image
        self.node = f"node-{uuid.uuid4().hex[:8]}"
        self.space = f"cox-{self.node}"
        self.pki = root / "pki"
        self.manifests = root / "manifests"
        self.kubelet_root, self.logs = root / "kubelet", root / "log"
        self.docker_socket = docker_socket or "/var/run/docker.sock"
        self._stack = ExitStack()
        self.etcd = self._process("etcd", ["etcd", *_flags(self._etcd_flags())])
        self.apiserver = self._process("apiserver", _python("apiserver", self._apiserver_flags()))
        self.manager = self._process("controller-manager", _python("controller_manager", self._manager_flags()))
        self.scheduler = self._process("scheduler", _python("scheduler", self._scheduler_flags()))
        self.kubelet = self._process("kubelet", _python("kubelet", {**self._kubelet_flags(), **(extra or {})}))

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def inside(self, *words: str) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.space}", *words]

    def run(self, *words: str, check: bool = True, timeout: float = 60) -> str:
        """What a command in the namespace writes."""
        done = subprocess.run(self.inside(*words), check=check, capture_output=True, text=True, timeout=timeout)
        return done.stdout

    def kubectl(self) -> Kubectl:
        return Kubectl(self)

    def docker(self) -> docker.APIClient:
        return docker.APIClient(f"unix://{self.docker_socket}")

    def containers(self, namespace: str = "") -> list[dict[str, object]]:
        """All that the kubelet has made, running or not."""
        labels = [f"{LABEL_NODE}={self.node}"]
        if namespace:
            labels.append(f"io.kubernetes.pod.namespace={namespace}")
        client = self.docker()
        try:
            return list(client.containers(all=True, filters={"label": labels}))
        finally:
            client.close()

    def start(self) -> None:
        """Everything, until the node is Ready."""
        for folder in (self.manifests, self.kubelet_root, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "deploy.pki", "--out", str(self.pki), "--node", f"{self.node}={ADDRESS}"]
        server = f"https://{ADDRESS}:{API}"
        command += ["--san", ADDRESS, "--server", server, "--internal-server", server]
        subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
        subprocess.run(["ip", "netns", "add", self.space], check=True)
        self._stack.callback(subprocess.run, ["ip", "netns", "del", self.space])
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
        self.run("ip", "addr", "add", f"{ADDRESS}/24", "dev", "up0")
        for link in ("up0", "up1"):
            self.run("ip", "link", "set", link, "up")
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self._stack.callback(unmount_below, self.kubelet_root)
        self._stack.callback(self._clean_up)
        for process in (self.etcd, self.apiserver, self.manager, self.scheduler, self.kubelet):
            self._stack.callback(process.stop)
        self.etcd.start()
        self.apiserver.start()
        eventually("the API server is ready", self.api_ready)
        self.manager.start()
        self.kubelet.start()
        eventually("the node is Ready", self.node_ready)

    def start_scheduler(self) -> None:
        """For those who let it choose the only node."""
        self.scheduler.start()
        lease = ("lease", "kube-scheduler", "-n", "kube-system")
        eventually("the scheduler leads", lambda: self.kubectl().find(*lease))

    def api_ready(self) -> bool:
        assert self.apiserver.running is not None and self.apiserver.running.poll() is None
        return self.kubectl().attempt("get", "--raw", "/readyz").out == "ok"

    def node_ready(self) -> bool:
        assert self.kubelet.running is not None and self.kubelet.running.poll() is None
        node = self.kubectl().find("node", self.node) or {}
        conditions = node.get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def kubelet_get(self, path: str, identity: str = "apiserver-kubelet-client") -> str:
        """GET from the kubelet's own port by curl, as the API server or with no certificate (identity "")."""
        words = ["curl", "-sS", "--max-time", "20", "--cacert", str(self.pki / "ca.crt")]
        if identity:
            words += ["--cert", str(self.pki / f"{identity}.crt"), "--key", str(self.pki / f"{identity}.key")]
        return self.run(*words, f"https://{ADDRESS}:{KUBELET}{path}")

    @contextmanager
    def kubelet_with(self, **flags: object) -> Iterator[None]:
        """The kubelet, started again with these flags; afterwards as it was. None of its pods ends for that."""
        usual = self.kubelet.command
        self._restart_kubelet(_python("kubelet", {**self._kubelet_flags(), **{_kebab(k): v for k, v in flags.items()}}))
        try:
            yield
        finally:
            self.kubelet.stop()
            self.kubelet.command = usual
            self.kubelet.start()
            eventually("the node is as it was", self.node_well)

    def kubelet_refuses(self, **flags: object) -> str:
        """What a kubelet writes that does not start with these flags; the one that runs is left alone."""
        command = _python("kubelet", {**self._kubelet_flags(), **{_kebab(k): v for k, v in flags.items()}})
        done = subprocess.run(self.inside(*command), capture_output=True, text=True, timeout=60, cwd=ROOT)
        assert done.returncode != 0
        return done.stdout + done.stderr

    def _restart_kubelet(self, command: Sequence[str]) -> None:
        began = self._started_events()
        self.kubelet.stop()
        self.kubelet.command = self.inside(*command)
        self.kubelet.start()
        eventually("the kubelet has started anew", lambda: self._started_events() > began)

    def _started_events(self) -> int:
        events = self.kubectl().get("events", "--field-selector=reason=Starting,involvedObject.kind=Node")["items"]
        return sum(event["count"] for event in events)

    def node_well(self) -> bool:
        """Ready, and under no pressure."""
        conditions = self.conditions()
        pressed = [kind for kind, each in conditions.items() if kind != "Ready" and each["status"] != "False"]
        return not pressed and self.node_ready()

    def conditions(self) -> dict[str, dict[str, str]]:
        """The node's, by type."""
        node = self.kubectl().find("node", self.node) or {}
        return {each["type"]: each for each in node.get("status", {}).get("conditions", [])}

    def _clean_up(self) -> None:
        """What the kubelet would have left for its successor."""
        client = self.docker()
        for container in self.containers():
            client.remove_container(container["Id"], force=True, v=True)
        if client.info()["CgroupDriver"] == "systemd":
            subprocess.run(["systemctl", "stop", f"{self.space.replace('-', '_')}.slice"])
        client.close()
        cgroups = find_hierarchy()
        if cgroups is not None:
            remove(cgroups, self.space)

    def _process(self, name: str, command: Sequence[str]) -> Process:
        return Process(name, self.inside(*command), self.root / f"{name}.log")

    def _etcd_flags(self) -> dict[str, object]:
        files = self.pki / "etcd"
        client, peer = f"https://127.0.0.1:{ETCD}", f"http://127.0.0.1:{ETCD_PEER}"
        return {
            "data-dir": self.root / "etcd",
            "log-level": "warn",
            "unsafe-no-fsync": "true",
            "max-txn-ops": 2048,
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "cert-file": files / "server.crt",
            "key-file": files / "server.key",
            "trusted-ca-file": files / "ca.crt",
            "client-cert-auth": "true",
        }

    def _apiserver_flags(self) -> dict[str, object]:
        pki = self.pki
        return {
            "etcd-servers": f"https://127.0.0.1:{ETCD}",
            "etcd-cafile": pki / "etcd/ca.crt",
            "etcd-certfile": pki / "apiserver-etcd-client.crt",
            "etcd-keyfile": pki / "apiserver-etcd-client.key",
            "client-ca-file": pki / "ca.crt",
            "tls-cert-file": pki / "apiserver.crt",
            "tls-private-key-file": pki / "apiserver.key",
            "service-account-key-file": pki / "sa.pub",
            "service-account-signing-key-file": pki / "sa.key",
            "kubelet-client-certificate": pki / "apiserver-kubelet-client.crt",
            "kubelet-client-key": pki / "apiserver-kubelet-client.key",
            "kubelet-certificate-authority": pki / "ca.crt",
            "proxy-client-cert-file": pki / "front-proxy-client.crt",
            "proxy-client-key-file": pki / "front-proxy-client.key",
            "requestheader-client-ca-file": pki / "front-proxy-ca.crt",
            "requestheader-allowed-names": "front-proxy-client",
            "service-cluster-ip-range": SERVICE_CIDR,
            "bind-address": "0.0.0.0",
            "advertise-address": ADDRESS,
            "secure-port": API,
            "enable-bootstrap-token-auth": "true",
        }

    def _manager_flags(self) -> dict[str, object]:
        pki = self.pki
        return {
            "kubeconfig": pki / "controller-manager.conf",
            "root-ca-file": pki / "ca.crt",
            "cluster-signing-cert-file": pki / "ca.crt",
            "cluster-signing-key-file": pki / "ca.key",
            "client-ca-file": pki / "ca.crt",
            "tls-cert-file": pki / "controller-manager.crt",
            "tls-private-key-file": pki / "controller-manager.key",
            "bind-address": "127.0.0.1",
            "secure-port": MANAGER,
        }

    def _scheduler_flags(self) -> dict[str, object]:
        pki = self.pki
        return {
            "kubeconfig": pki / "scheduler.conf",
            "client-ca-file": pki / "ca.crt",
            "tls-cert-file": pki / "scheduler.crt",
            "tls-private-key-file": pki / "scheduler.key",
            "bind-address": "127.0.0.1",
        }

    def _kubelet_flags(self) -> dict[str, object]:
        pki = self.pki
        return {
            "kubeconfig": pki / f"kubelet-{self.node}.conf",
            "hostname-override": self.node,
            "node-ip": ADDRESS,
            "port": KUBELET,
            "root-dir": self.kubelet_root,
            "cgroup-root": f"/{self.space}",
            "pod-log-dir": self.logs / "pods",
            "pod-manifest-path": self.manifests,
            "file-check-frequency": "200ms",
            "image-gc-high-threshold": 100,
            "pod-cidr": POD_CIDR,
            "cluster-cidr": CLUSTER_CIDR,
            "cluster-dns": "10.250.0.10",
            "pod-infra-container-image": self.image,
            "container-runtime-endpoint": f"unix://{self.docker_socket}",
            "tls-cert-file": pki / f"kubelet-{self.node}.crt",
            "tls-private-key-file": pki / f"kubelet-{self.node}.key",
            "client-ca-file": pki / "ca.crt",
        }


def unmount_below(folder: Path) -> None:
    """What a kubelet leaves mounted for its successor: the folder itself is a mount of its own."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((path for path in mounts if f"{path}/".startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", mount])


def _python(module: str, flags: dict[str, object]) -> list[str]:
    return [sys.executable, "-m", module, *_flags(flags)]


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _flags(flags: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]
