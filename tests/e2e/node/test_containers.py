"""What a container's fields come to on the node: its words, its folder, its terminal, its user and its rights."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.e2e.node.machine import Machine, image_archive
from tests.e2e.node.support import SLEEP, Kubectl, container_status, eventually, pod_of


@pytest.fixture(scope="module")
def named() -> Iterator[str]:
    """An image with an entry point, arguments, a folder and a user (a name, not a number) of its own."""
    api, repository = docker.APIClient(), f"cox-test-{uuid.uuid4().hex[:8]}"
    changes = ['ENTRYPOINT ["echo","entry"]', 'CMD ["words"]', "WORKDIR /tmp", "USER app", "ENV PATH=/bin"]
    api.import_image_from_data(image_archive(), repository=repository, tag="v1", changes=changes)
    yield f"{repository}:v1"
    api.remove_image(f"{repository}:v1", force=True)
    api.close()


def test_words_and_folder_are_the_images_or_the_containers(kubectl: Kubectl, named: str) -> None:
    once = {"restartPolicy": "Never"}
    kubectl.pod("own", container={"image": named}, **once)
    kubectl.pod(
        "args", container={"image": named, "args": ["$(WHO)", "x"], "env": [{"name": "WHO", "value": "me"}]}, **once
    )
    kubectl.pod("command", container={"image": named, "command": ["pwd"]}, **once)
    kubectl.pod("folder", container={"image": named, "command": ["pwd"], "workingDir": "/etc"}, **once)
    kubectl.pod("missing", container={"image": named, "command": ["/no/such"]}, **once)
    for name, said in (("own", "entry words"), ("args", "entry me x"), ("command", "/tmp"), ("folder", "/etc")):
        kubectl.phase("Succeeded", name)
        assert kubectl("logs", name).strip() == said, name
    ended = container_status(kubectl.phase("Failed", "missing"))["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 127)
    assert "/no/such" in ended["message"]
    kubectl.event("Failed", "missing", "/no/such")


def test_a_terminal_and_what_is_typed(kubectl: Kubectl) -> None:
    kubectl.pod("tty", "tty; exec sleep 600", container={"tty": True, "stdin": True})
    kubectl.pod("once", "cat; echo end", container={"stdin": True, "stdinOnce": True}, restartPolicy="Never")
    kubectl.pod("none", "tty; cat", restartPolicy="Never")
    kubectl.running("tty")
    assert "/dev/" in kubectl("logs", "tty")
    kubectl.phase("Succeeded", "none")
    assert kubectl("logs", "none").strip() == "not a tty"
    kubectl.running("once")
    assert "typed" in kubectl("attach", "-i", "once", stdin="typed\n")
    kubectl.phase("Succeeded", "once")
    assert kubectl("logs", "once").split() == ["typed", "end"]


def test_users_and_groups(kubectl: Kubectl, named: str) -> None:
    def start(name: str, own: dict[str, Any], shared: dict[str, Any], **container: Any) -> None:
        fields = {"securityContext": own, **container}
        kubectl.pod(name, "id -u; id -g; id -G", container=fields, restartPolicy="Never", securityContext=shared)

    start("pod", {}, {"runAsUser": 1234, "runAsGroup": 2345, "fsGroup": 3456, "supplementalGroups": [4567]})
    start("own", {"runAsUser": 7, "runAsNonRoot": True}, {"runAsUser": 1234, "runAsGroup": 8})
    start("image", {"runAsGroup": 9}, {}, image=named)
    start("root", {"runAsNonRoot": True}, {})
    start("zero", {"runAsUser": 0}, {"runAsNonRoot": True})
    start("name", {"runAsNonRoot": True}, {}, image=named)
    for name, user, group, groups in (
        ("pod", "1234", "2345", {"2345", "3456", "4567"}),
        ("own", "7", "8", {"8"}),
        ("image", "1000", "9", {"9"}),
    ):
        kubectl.phase("Succeeded", name)
        said = kubectl("logs", name).splitlines()
        assert (said[0], said[1], set(said[2].split())) == (user, group, groups), name
    for name, why in (
        ("root", "container has runAsNonRoot and image will run as root"),
        ("zero", "container's runAsUser breaks non-root policy"),
        ("name", "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root"),
    ):
        uid = kubectl.get("pod", name)["metadata"]["uid"]
        text = f'{why} (pod: "{name}_{kubectl.namespace}({uid})", container: app)'
        assert kubectl.waiting(name, "CreateContainerConfigError") == text
        kubectl.event("Failed", name, f"Error: {text}")


def test_rights(kubectl: Kubectl, machine: Machine) -> None:
    folder = machine.kubelet_root / "seccomp"
    folder.mkdir(exist_ok=True)
    denied = {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO"}
    (folder / "no-chmod.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [denied]}))
    show = "exec 2>/dev/null; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; touch /tmp/x; "
    show += "chmod 600 /tmp/x; echo chmod $?"

    def start(name: str, own: dict[str, Any], **spec: Any) -> None:
        kubectl.pod(name, show, container={"securityContext": own}, restartPolicy="Never", **spec)

    start("plain", {})
    start("drop", {"capabilities": {"drop": ["ALL"]}})
    start("add", {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}, "allowPrivilegeEscalation": False})
    start("readonly", {"readOnlyRootFilesystem": True})
    start("default", {"seccompProfile": {"type": "RuntimeDefault"}})
    start("local", {"seccompProfile": {"type": "Localhost", "localhostProfile": "no-chmod.json"}})
    start("lost", {"seccompProfile": {"type": "Localhost", "localhostProfile": "none.json"}})
    start("privileged", {"privileged": True})
    said: dict[str, dict[str, str]] = {}
    for name in ("plain", "drop", "add", "readonly", "default", "local"):
        kubectl.phase("Succeeded", name)
        lines = (
            line.replace(":", " ").split(None, 1)
            for line in kubectl("logs", name).splitlines()
            if " " in line.replace("\t", " ")
        )
        said[name] = {words[0]: words[1].strip() for words in lines}
    assert said["plain"]["Seccomp"] == "0"
    assert said["plain"]["NoNewPrivs"] == "0"
    assert int(said["plain"]["CapEff"], 16) & 1
    assert int(said["drop"]["CapEff"], 16) == 0
    assert int(said["add"]["CapEff"], 16) == 1 << 12
    assert said["add"]["NoNewPrivs"] == "1"
    assert said["readonly"]["chmod"] == "1"
    assert said["default"]["Seccomp"] == "2"
    assert said["plain"]["chmod"] == said["default"]["chmod"] == "0"
    assert said["local"]["chmod"] == "1"
    lost = kubectl.waiting("lost", "CreateContainerError")
    assert "failed to load seccomp profile" in lost
    assert str(folder / "none.json") in lost
    if _host_allows_privileged():
        kubectl.phase("Succeeded", "privileged")
    else:
        kubectl.event("Failed", "privileged", "apply caps")
        ended = container_status(kubectl.phase("Failed", "privileged"))["state"]["terminated"]
        assert ended["reason"] == "StartError"


def _host_allows_privileged() -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    bounding = next(line for line in lines if line.startswith("CapBnd"))
    return bool(int(bounding.split()[1], 16) >> 24 & 1)


def test_what_the_node_does_not_take(kubectl: Kubectl, machine: Machine) -> None:
    safe = [
        {"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"},
        {"name": "kernel.shm_rmid_forced", "value": "1"},
    ]
    kubectl.pod("safe", SLEEP, securityContext={"sysctls": safe})
    kubectl.pod("unsafe", SLEEP, securityContext={"sysctls": [{"name": "net.core.somaxconn", "value": "99"}]})
    kubectl.pod(
        "profile", SLEEP, securityContext={"appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"}}
    )
    kubectl.pod("plain", SLEEP, securityContext={"appArmorProfile": {"type": "Unconfined"}})
    kubectl.pod("huge", SLEEP, container={"resources": {"limits": {"hugepages-2Mi": "8Mi", "memory": "8Mi"}}})
    kubectl.pod("large", SLEEP, container={"resources": {"requests": {"cpu": "999"}}})
    kubectl.pod("windows", SLEEP, os={"name": "windows"})
    kubectl.apply(
        {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": kubectl.namespace},
            "handler": "kata",
        }
    )
    try:
        kubectl.pod("class", SLEEP, runtimeClassName=kubectl.namespace)
        kubectl.event("FailedCreatePodSandBox", "class", "kata")
    finally:
        kubectl("delete", "runtimeclass", kubectl.namespace)
    image = {"name": "v", "image": {"reference": "registry.example/i:1"}}  # the gate of image volumes is off in v1.32
    with_image = pod_of("image", machine.node, machine.image, volumes=[image])
    refused_at_once = kubectl.attempt("create", "-f", "-", stdin=json.dumps(with_image))
    assert "must specify a volume type" in refused_at_once.err
    kubectl.running("safe")
    assert kubectl.sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "safe") == "80"
    assert kubectl.sh("cat /proc/sys/kernel/shm_rmid_forced", "safe") == "1"
    refused = {
        "unsafe": ("SysctlForbidden", 'Pod was rejected: forbidden sysctl: "net.core.somaxconn" not allowlisted'),
        "huge": ("OutOfhugepages-2Mi", "Pod was rejected: Node didn't have enough resource: hugepages-2Mi, "),
        "large": ("OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu, requested: 999000, "),
        "windows": ("PodOSNotSupported", "Pod was rejected: Failed to admit pod as the OS field"),
    }
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    if enabled.exists() and enabled.read_text().startswith("Y"):
        refused["profile"] = ("AppArmor", 'Pod was rejected: Cannot enforce AppArmor: profile "mine" is not loaded')
    else:
        refused["profile"] = (
            "AppArmor",
            "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host",
        )
    for name, (reason, message) in refused.items():
        status = kubectl.phase("Failed", name)["status"]
        assert status["reason"] == reason
        assert status["message"].startswith(message), status["message"]
    kubectl.running("plain")


def test_of_what_ended_one_is_kept(kubectl: Kubectl, machine: Machine) -> None:
    kubectl.pod("crashes", "echo round; sleep 1; exit 3")
    kubectl.pod("done", "echo once", restartPolicy="Never")

    def restarted() -> Any:
        own = container_status(kubectl.status("crashes"))
        return own if own.get("restartCount", 0) >= 2 and own["state"].get("running") else None

    own = eventually("it has been restarted twice", restarted)
    assert own["lastState"]["terminated"]["exitCode"] == 3

    def ended() -> list[str]:
        label = "io.kubernetes.container.name"
        found = [(each["Labels"], each["State"]) for each in machine.containers(kubectl.namespace)]
        return [
            labels["io.kubernetes.pod.name"] for labels, state in found if labels[label] == "app" and state != "running"
        ]

    eventually("one of each is kept", lambda: sorted(ended()) in (["crashes", "done"], ["done"]))
    assert kubectl("logs", "crashes", "--previous") == "round\n"
    assert kubectl("logs", "done") == "once\n"
