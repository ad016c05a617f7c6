"""What a node survives: its kubelet killed at any moment, and an API server that is away."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.node.machine import Machine, image_archive
from tests.e2e.node.registry import Registry
from tests.e2e.node.support import Kubectl, container_status, eventually

SLEEP = "exec sleep 36000"
PODS = int(os.environ.get("COX_KILLED_PODS", "40"))
KILLS = int(os.environ.get("COX_KILLED_TIMES", "4"))
AWAY_SECONDS = float(os.environ.get("COX_AWAY_SECONDS", "20"))


def made(machine: Machine, kubectl: Kubectl) -> list[str]:
    """Names of the containers of the namespace, in Docker's order."""
    return [str(each["Names"]) for each in machine.containers(kubectl.namespace)]


def started(machine: Machine, kubectl: Kubectl, name: str, container: str = "app") -> list[str]:
    found = [each for each in machine.containers(kubectl.namespace) if f"k8s_{container}_{name}_" in str(each["Names"])]
    return [str(each["Id"]) for each in found]


def killed_and_back(machine: Machine) -> None:
    machine.kubelet.kill()
    machine.kubelet.start()


def once(kubectl: Kubectl, machine: Machine, name: str) -> dict[str, Any]:
    """Runs, was started once, and one sandbox is there for it."""
    pod = kubectl.running(name)
    assert container_status(pod)["restartCount"] == 0
    assert len(started(machine, kubectl, name)) == len(started(machine, kubectl, name, "POD")) == 1
    folder = Path(pod["spec"]["volumes"][0]["hostPath"]["path"])
    assert (folder / "starts").read_text().splitlines() == ["x"]
    return pod


def counting(machine: Machine) -> dict[str, Any]:
    """A folder that outlives the pod's containers, in which each start leaves a line."""
    place = {"path": str(machine.root / "starts" / uuid.uuid4().hex), "type": "DirectoryOrCreate"}
    container = {"name": "app", "command": ["sh", "-c", f"echo x >> /d/starts; {SLEEP}"]}
    container["volumeMounts"] = [{"name": "d", "mountPath": "/d"}]
    return {"containers": [container], "volumes": [{"name": "d", "hostPath": place}]}


def test_killed_while_pods_start(kubectl: Kubectl, machine: Machine) -> None:
    """At moments that differ: before the sandbox, between it and the container, after the container."""
    names = [f"p{n}" for n in range(6)]
    for n, name in enumerate(names):
        kubectl.pod(name, **counting(machine))
        if n % 2:
            time.sleep(0.07 * n)
            killed_and_back(machine)
    for name in names:
        once(kubectl, machine, name)
    before = {name: started(machine, kubectl, name) for name in names}
    killed_and_back(machine)
    kubectl.pod("later", SLEEP)
    kubectl.running("later")
    assert {name: started(machine, kubectl, name) for name in names} == before


def test_killed_while_an_image_is_pulled(kubectl: Kubectl, machine: Machine) -> None:
    spec = counting(machine)
    with Registry() as registry:
        registry.add("killed/app", image_archive())
        registry.free.clear()
        spec["containers"][0]["image"] = image = f"{registry.host}/killed/app:v1"
        kubectl.pod("pulls", **spec)
        eventually("the image is asked for", lambda: registry.pulls)
        machine.kubelet.kill()
        assert container_status(kubectl.status("pulls")).get("state", {}).get("running") is None
        machine.kubelet.start()
        registry.free.set()
        try:
            once(kubectl, machine, "pulls")
            kubectl("delete", "pod", "pulls")
        finally:
            api = machine.docker()
            api.remove_image(image, force=True)
            api.close()


def test_killed_between_create_and_start(kubectl: Kubectl, machine: Machine) -> None:
    """What was created and never started is not started twice, and not left behind."""
    spec = counting(machine)
    kubectl.pod("half", **spec)
    pod = kubectl.running("half")
    machine.kubelet.kill()
    api = machine.docker()
    old = container_status(pod)["containerID"].removeprefix("docker://")
    body = api.inspect_container(old)
    api.remove_container(old, force=True)
    folder = Path(spec["volumes"][0]["hostPath"]["path"])
    (folder / "starts").unlink()
    config = {**body["Config"], "HostConfig": body["HostConfig"]}
    config["Hostname"] = ""
    created = api.create_container_from_config(config, body["Name"].strip("/"))["Id"]
    api.close()
    machine.kubelet.start()
    eventually("it runs", lambda: (folder / "starts").exists())
    pod = kubectl.running("half")
    assert (folder / "starts").read_text().splitlines() == ["x"]
    ids = started(machine, kubectl, "half")
    assert len(ids) == 1
    assert ids != [created] or container_status(pod)["containerID"].endswith(created)


def test_killed_while_pods_end(kubectl: Kubectl, machine: Machine) -> None:
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo x >> /proc/1/fd/1; sleep 3"]}}}
    slow = "trap 'sleep 2; exit 0' TERM; while true; do sleep 0.1; done"
    kubectl.pod("hook", "trap 'exit 0' TERM; while true; do sleep 0.1; done", container={"lifecycle": hook},
                terminationGracePeriodSeconds=30)  # fmt: skip
    kubectl.pod("slow", slow, terminationGracePeriodSeconds=30)
    kubectl.pod("unseen", SLEEP)
    kubectl.pod("stays", SLEEP)
    for name in ("hook", "slow", "unseen", "stays"):
        kubectl.running(name)
    kubectl("delete", "pod", "hook", "slow", "--wait=false")
    kubectl.event("Killing", "hook")
    killed_and_back(machine)
    machine.kubelet.kill()
    kubectl("delete", "pod", "unseen", "--force", "--grace-period=0")  # nobody sees it go
    machine.kubelet.start()
    eventually("both have ended", lambda: {p["metadata"]["name"] for p in kubectl.get("pods")["items"]} == {"stays"})

    def left() -> bool:
        return all("_stays_" in name for name in made(machine, kubectl))

    eventually("nothing is left of them", left)
    assert container_status(kubectl.running("stays"))["restartCount"] == 0


def test_ends_while_the_kubelet_is_away_are_caught_up(kubectl: Kubectl, machine: Machine) -> None:
    kubectl.pod("ends", "while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 3", restartPolicy="Never")
    pod = kubectl.running("ends")
    container = container_status(pod)["containerID"].removeprefix("docker://")
    machine.kubelet.kill()
    subprocess.run(["docker", "exec", container, "touch", "/tmp/go"], check=True)
    subprocess.run(["docker", "wait", container], check=True, capture_output=True)
    assert kubectl.status("ends")["phase"] == "Running"
    machine.kubelet.start()
    ended = container_status(kubectl.phase("Failed", "ends"))["state"]["terminated"]
    assert ended["exitCode"] == 3


def test_the_api_server_is_away(kubectl: Kubectl, machine: Machine) -> None:
    """Pods run on, are probed and restarted; static pods start; what happened is caught up."""
    probe = {"periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 5}
    dead = {**probe, "exec": {"command": ["sh", "-c", "! test -e /tmp/dead"]}}
    ready = {**probe, "exec": {"command": ["sh", "-c", "! test -e /tmp/unready"]}}
    kubectl.pod("lives", SLEEP, container={"livenessProbe": dead})
    kubectl.pod("reads", SLEEP, container={"readinessProbe": ready})
    kubectl.pod("ends", "while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 3", restartPolicy="Never")
    kubectl.pod("goes", SLEEP)
    pods = {name: kubectl.running(name) for name in ("lives", "reads", "ends", "goes")}
    ids = {name: container_status(pod)["containerID"].removeprefix("docker://") for name, pod in pods.items()}

    def inside(name: str, *words: str) -> None:
        subprocess.run(["docker", "exec", ids[name], *words], check=True)

    manifest = machine.manifests / "away.yaml"
    machine.apiserver.stop()
    try:
        began = time.monotonic()
        inside("lives", "touch", "/tmp/dead")
        inside("reads", "touch", "/tmp/unready")
        inside("ends", "touch", "/tmp/go")
        eventually("restarted by its probe", lambda: len(started(machine, kubectl, "lives")) == 2)
        manifest.write_text(
            f"{{apiVersion: v1, kind: Pod, metadata: {{name: fixed, namespace: {kubectl.namespace}}}, spec: {{"
            "terminationGracePeriodSeconds: 1, "
            f"containers: [{{name: app, image: '{machine.image}', command: [sleep, '600']}}]}}}}"
        )
        eventually("a static pod starts", lambda: started(machine, kubectl, f"fixed-{machine.node}"))
        time.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - began)))
        assert len(started(machine, kubectl, "goes")) == 1
    finally:
        machine.apiserver.start()
        eventually("the API server is back", machine.api_ready)
        machine.manager.restart()  # it ends itself when it cannot keep its Lease
    assert container_status(kubectl.phase("Failed", "ends"))["state"]["terminated"]["exitCode"] == 3

    def caught_up() -> bool:
        lives, reads = container_status(kubectl.status("lives")), container_status(kubectl.status("reads"))
        return bool(lives.get("restartCount") == 1 and reads.get("ready") is False)

    eventually("statuses are caught up", caught_up)
    kubectl.running(f"fixed-{machine.node}")
    eventually("the node is Ready again", machine.node_ready)
    assert container_status(kubectl.running("goes"))["containerID"].endswith(ids["goes"])
    kubectl("delete", "pod", "goes")
    assert started(machine, kubectl, "goes") == []
    manifest.unlink()
    eventually("the static pod has gone", lambda: kubectl.find("pod", f"fixed-{machine.node}") is None)


def remains(machine: Machine, kubectl: Kubectl) -> dict[str, Any]:
    """Containers, mounts, folders and links of pods, beyond those that the kubelet's own pods have."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {
        "containers": made(machine, kubectl),
        "mounts": [path for path in mounts if path.startswith(f"{machine.kubelet_root}/pods/")],
        "folders": sorted(each.name for each in (machine.kubelet_root / "pods").glob("*")),
        "links": [line for line in machine.run("ip", "-o", "link", "show", "master", "cox0").splitlines() if line],
        "logs": sorted(each.name for each in (machine.logs / "pods").glob(f"*{kubectl.namespace}*")),
    }


@pytest.mark.parametrize("pods", [PODS])
def test_pods_come_and_go_while_the_kubelet_is_killed(kubectl: Kubectl, machine: Machine, pods: int) -> None:
    kubectl("create", "configmap", "c", "--from-literal=k=v")
    kubectl("create", "secret", "generic", "s", "--from-literal=k=v")
    volumes = [{"name": "c", "configMap": {"name": "c"}}, {"name": "s", "secret": {"secretName": "s"}}]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("c", "s")]
    before = remains(machine, kubectl)
    assert before["containers"] == []
    batch = max(1, pods // (KILLS * 2))
    alive: list[str] = []
    for n in range(pods):
        name = f"pod-{n}"
        kubectl.pod(name, "trap 'exit 0' TERM; sleep 600 & wait", container={"volumeMounts": mounts}, volumes=volumes)
        alive.append(name)
        if len(alive) > batch:
            grace = "0" if n % 3 == 0 else "1"
            force = ["--force"] if grace == "0" else []
            kubectl("delete", "pod", alive.pop(0), f"--grace-period={grace}", *force, "--wait=false")
        if n % max(1, pods // KILLS) == pods // KILLS - 1:
            killed_and_back(machine)
    last = kubectl.running(alive[-1])
    assert container_status(last)["restartCount"] == 0
    kubectl("delete", "pod", *alive, "--grace-period=1", "--wait=false")
    eventually("the API has no pod", lambda: kubectl.get("pods")["items"] == [], 120)
    deadline = time.monotonic() + 120
    while (left := remains(machine, kubectl)) != before:
        assert time.monotonic() < deadline, (before, left)
        time.sleep(0.5)
