"""The cluster on this machine: a compose project, extended by as many nodes as were asked for.

`docker-compose.yml` describes the usual cluster and works by itself. Another number of nodes is a second compose file,
derived from the first and kept in `.cox/`.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deploy.cli.console import ROOT, STATE, CoxError, Step, run, step, try_run

PROJECT = os.environ.get("COX_PROJECT", "coxswain")
PREFIX = os.environ.get("COX_PREFIX", "10.88.0")
KUBECONFIG = STATE / "kubeconfig"
_EXTENSION = STATE / "compose.json"
_SETTINGS = STATE / "cluster.json"
_FIRST_NODE_ADDRESS = 11
_MAX_NODES = 100
_COMPOSED_NODES = 2
CGROUP = "coxswain"
Kubectl = Callable[..., str]


@dataclass(frozen=True)
class Settings:
    """What was asked for, kept between runs."""

    nodes: int = _COMPOSED_NODES
    host_node: bool = False

    @property
    def members(self) -> dict[str, str]:
        """Name -> address of every node."""
        members = {f"node-{n}": f"{PREFIX}.{_FIRST_NODE_ADDRESS + n - 1}" for n in range(1, self.nodes + 1)}
        if self.host_node:
            members[host_name()] = f"{PREFIX}.1"
        return members


@dataclass(frozen=True)
class Container:
    service: str
    name: str
    state: str
    health: str
    exit_code: int

    @property
    def settled(self) -> bool:
        """Healthy, or a one-shot that ended well."""
        if self.state == "exited":
            return self.exit_code == 0
        return self.state == "running" and self.health in ("healthy", "")


def host_name() -> str:
    return platform.node().lower()


def load_settings() -> Settings:
    try:
        return Settings(**json.loads(_SETTINGS.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return Settings()


def save_settings(settings: Settings) -> None:
    if not 1 <= settings.nodes <= _MAX_NODES:
        raise CoxError(f"the number of nodes must be from 1 to {_MAX_NODES}")
    STATE.mkdir(exist_ok=True, mode=0o700)
    _SETTINGS.write_text(json.dumps(asdict(settings)))


def change_settings(*, nodes: int | None = None, host_node: bool | None = None) -> Settings:
    settings = load_settings()
    settings = replace(
        settings,
        nodes=settings.nodes if nodes is None else nodes,
        host_node=settings.host_node if host_node is None else host_node,
    )
    save_settings(settings)
    return settings


def environment(settings: Settings) -> dict[str, str]:
    return {
        "COX_PROJECT": PROJECT,
        "COX_PREFIX": PREFIX,
        # As in the compose file while this machine is none: plain `docker compose up` must find nothing to change.
        "COX_HOST_NODE": host_name() if settings.host_node else "host",
        "COX_NODES": " ".join(f"{name}={address}" for name, address in settings.members.items()),
        "COMPOSE_PROFILES": "host-node" if settings.host_node else "",
        "COMPOSE_IGNORE_ORPHANS": "false",
    }


def compose(settings: Settings, *words: str) -> list[str]:
    extension = ["-f", str(_EXTENSION)] if _EXTENSION.exists() else []
    return ["docker", "compose", "--ansi", "never", "-f", str(ROOT / "docker-compose.yml"), *extension, *words]


def write_extension(settings: Settings) -> None:
    """The second compose file: nodes beyond those of the first one, or fewer."""
    _EXTENSION.unlink(missing_ok=True)
    if settings.nodes == _COMPOSED_NODES:
        return
    services: dict[str, Any] = {
        f"node-{n}": {"profiles": ["spare"]} for n in range(settings.nodes + 1, _COMPOSED_NODES + 1)
    }
    volumes: dict[str, Any] = {}
    if settings.nodes > _COMPOSED_NODES:
        config = run(compose(settings, "config", "--format", "json"), env=environment(settings))
        model = json.loads(config)["services"]["node-1"]
        secrets = []
        for n in range(_COMPOSED_NODES + 1, settings.nodes + 1):
            name = f"node-{n}"
            services[name] = derive_node(model, name, settings.members[name])
            secrets.append(f"secrets-{name}:/secrets/{name}")
            volumes |= {name: {}, f"secrets-{name}": {}, f"kubelet-{name}": {}}
        services["pki"] = {"volumes": secrets}
    _EXTENSION.write_text(json.dumps({"services": services, "volumes": volumes}, indent=1))


def derive_node(model: dict[str, Any], name: str, address: str) -> dict[str, Any]:
    """Another node after the model of node-1, as `docker compose config` prints it."""
    node = json.loads(json.dumps(model).replace("node-1", name))
    node["environment"]["NODE_IP"] = address
    node["networks"]["cluster"]["ipv4_address"] = address
    node.pop("build", None)
    return dict(node)


def up(settings: Settings) -> bool:
    """Create or change what must be, and wait until all is well; whether anything changed."""
    before = _fingerprint()
    write_extension(settings)
    with step("Starting containers"):
        if settings.host_node:
            _share_kubelet_folder()
        else:
            release_host()
        _start(settings)
        _remove_spare_nodes(settings)
    write_kubeconfig()
    with step("Waiting until every process is healthy") as current:
        _wait(lambda: _unhealthy(settings), current, 180)
    forget_nodes(settings)
    with step("Waiting until every node is Ready") as current:
        _wait(lambda: _nodes_not_ready(settings), current, 120)
    return before != _fingerprint()


def _start(settings: Settings) -> None:
    """Secrets first, then the rest without its dependencies: compose would recreate every container whose dependency
    was recreated, and a new node or a change of the API server must leave the running nodes alone."""
    command, env = ("up", "-d", "--no-build", "--no-deps", "--quiet-pull"), environment(settings)
    run(compose(settings, *command, "pki"), env=env)
    if (code := run(["docker", "wait", f"{PROJECT}-pki"], timeout=60).strip()) != "0":
        logs = try_run(["docker", "logs", "--tail", "20", f"{PROJECT}-pki"])
        raise CoxError(f"making the certificates failed with {code}:\n{(logs.stdout + logs.stderr).decode()}")
    services = [name for name in run(compose(settings, "config", "--services"), env=env).split() if name != "pki"]
    run(compose(settings, *command, "--remove-orphans", *services), env=env)


def down(*, data: bool) -> None:
    settings = load_settings()
    everything = replace(settings, host_node=True)
    write_extension(settings)
    release_host()
    volumes = ["--volumes"] if data else []
    run(compose(settings, "down", "--remove-orphans", "-t", "20", *volumes), env=environment(everything))
    if data:
        _remove_volumes()
    remove_cgroups()


def remove_cgroups() -> None:
    """Nodes' containers leave empty cgroups on the machine; leaves first, since only an empty one can be removed."""
    for top in [*Path("/sys/fs/cgroup").glob(f"*/{CGROUP}"), Path("/sys/fs/cgroup") / CGROUP]:
        folders = sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
        for folder in [*folders, top]:
            try:
                folder.rmdir()
            except OSError:
                continue


def containers(settings: Settings) -> list[Container]:
    output = run(compose(settings, "ps", "--all", "--format", "json"), env=environment(settings)).strip()
    # Compose 2.21 and newer print a line for each container, older ones a list.
    rows = json.loads(output) if output.startswith("[") else [json.loads(line) for line in output.splitlines()]
    return [
        Container(row["Service"], row["Name"], row["State"], row.get("Health", ""), row.get("ExitCode", 0))
        for row in rows
    ]


def write_kubeconfig() -> None:
    """The admin's kubeconfig, and the same credentials as files for curl."""
    with step("Writing the admin's kubeconfig"):
        deadline = time.monotonic() + 30
        target = STATE / "admin.conf"
        while try_run(["docker", "cp", f"{PROJECT}-pki:/pki/admin.conf", target]).returncode != 0:
            if time.monotonic() > deadline:
                raise CoxError(f"no credentials were made; see `docker logs {PROJECT}-pki`")
            time.sleep(0.3)
        content = target.read_bytes()
        target.unlink()
        _write_private(KUBECONFIG, content)
        config = json.loads(content)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        for name, data in (
            ("ca.crt", cluster["certificate-authority-data"]),
            ("admin.crt", user["client-certificate-data"]),
            ("admin.key", user["client-key-data"]),
        ):
            _write_private(STATE / name, base64.b64decode(data))


def _write_private(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() == content:
        return
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def merge_kubeconfig() -> Path:
    """Make the cluster the current context of the person's own kubeconfig; the former file is kept beside it."""
    own = Path(os.environ.get("KUBECONFIG", "").split(":")[0] or Path.home() / ".kube" / "config")
    own.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    merged = run(
        ["kubectl", "config", "view", "--flatten", "--raw"], env={"KUBECONFIG": f"{KUBECONFIG}:{own}"}
    ).encode()
    if own.exists():
        shutil.copy2(own, own.with_name(own.name + ".before-cox"))
    _write_private(own, merged)
    return own


def kubectl(*words: str) -> str:
    return run(["kubectl", "--kubeconfig", KUBECONFIG, *words], timeout=60)


def forget_nodes(settings: Settings) -> None:
    """Delete the Node objects of nodes that this machine no longer has."""
    known = [line.split("/")[1] for line in kubectl("get", "nodes", "-o", "name").split()]
    ours = (name for name in known if name.startswith("node-") or name == host_name())
    spare = [name for name in ours if name not in settings.members]
    if spare:
        kubectl("delete", "node", *spare)


def release_host() -> None:
    """The machine is a node no more: stop its kubelet and proxy, and take away what they made on it."""
    container, folder = f"{PROJECT}-host-node", Path("/var/lib/kubelet")
    found = try_run(["docker", "inspect", "-f", "{{.Config.Image}}", container])
    if found.returncode == 0:
        run(["docker", "stop", "-t", "20", container])
        env = environment(replace(load_settings(), host_node=True))
        once = ["run", "--rm", "--no-deps", "-T", "--name", f"{container}-release"]
        run([*compose(load_settings(), *once), "host-node", "/usr/local/sbin/host-release"], env=env)
        run(["docker", "rm", "-f", container])
    while _is_mounted(folder):
        run(["umount", folder])


def _is_mounted(folder: Path) -> bool:
    """Bind mounts within one file system count too, which os.path.ismount does not see."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(folder) for line in mounts)


def _remove_spare_nodes(settings: Settings) -> None:
    project = f"label=com.docker.compose.project={PROJECT}"
    template = '{{.Label "com.docker.compose.service"}} {{.ID}}'
    for row in run(["docker", "ps", "-a", "--filter", project, "--format", template]).splitlines():
        service, identity = row.split()
        if (service.startswith("node-") and service not in settings.members) or (
            service == "host-node" and not settings.host_node
        ):
            run(["docker", "stop", "-t", "20", identity])
            run(["docker", "rm", "-f", identity])


def _unhealthy(settings: Settings) -> list[str]:
    return [
        f"{one.service} ({one.health or one.state})"
        for one in containers(settings)
        if not one.settled and not (one.service.startswith("node-") and one.service not in settings.members)
    ]


def _nodes_not_ready(settings: Settings) -> list[str]:
    result = try_run(["kubectl", "--kubeconfig", KUBECONFIG, "get", "nodes", "-o", "json"])
    if result.returncode != 0:
        return [result.stderr.decode().strip() or "no answer from the API server"]
    ready = {
        node["metadata"]["name"]
        for node in json.loads(result.stdout)["items"]
        for condition in node["status"].get("conditions") or []
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
    return [name for name in settings.members if name not in ready]


def _wait(missing: Callable[[], list[str]], current: Step, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while what := missing():
        current.detail = ", ".join(what)
        if time.monotonic() > deadline:
            raise CoxError(
                f"still waiting after {seconds:.0f} s for: {current.detail}\n"
                f"    `docker logs {PROJECT}-NAME` shows what a process says"
            )
        time.sleep(0.3)


def _fingerprint() -> str:
    """The identities of the running containers: what tells whether something was changed."""
    label = f"label=com.docker.compose.project={PROJECT}"
    output = run(["docker", "ps", "-q", "--no-trunc", "--filter", label])
    return "\n".join(sorted(output.split()))


def _remove_volumes() -> None:
    """Volumes of nodes that were there once and are no longer in the compose files."""
    label = f"label=com.docker.compose.project={PROJECT}"
    names = run(["docker", "volume", "ls", "-q", "--filter", label]).split()
    if names:
        run(["docker", "volume", "rm", "-f", *names])


def _share_kubelet_folder() -> None:
    """Mounts that the kubelet makes in its container must appear on the machine, where Docker looks for them."""
    folder = Path("/var/lib/kubelet")
    folder.mkdir(parents=True, exist_ok=True)
    Path("/run/xtables.lock").touch()  # a lock that is not there would be mounted as a folder
    if not _is_mounted(folder):
        run(["mount", "--bind", folder, folder])
    run(["mount", "--make-rshared", folder])
