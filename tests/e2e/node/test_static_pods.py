"""Static pods: from a folder, with and without an API server, and their mirrors."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, container_status, eventually, pod_of


class Manifests:
    """Files of one test in the node's folder."""

    def __init__(self, machine: Machine, namespace: str) -> None:
        self.machine, self.namespace = machine, namespace
        self.mark = uuid.uuid4().hex[:8]

    def path(self, name: str, suffix: str = "yaml") -> Path:
        return self.machine.manifests / f"{self.mark}-{name}.{suffix}"

    def pod(self, name: str, command: str = "", **spec: Any) -> dict[str, Any]:
        body = pod_of(name, self.machine.node, self.machine.image, command, **spec)
        body["metadata"]["namespace"] = self.namespace
        del body["spec"]["nodeName"]
        return body

    def write(self, name: str, text: str, suffix: str = "yaml") -> None:
        self.path(name, suffix).write_text(text)

    def clear(self) -> None:
        for path in self.machine.manifests.glob(f"{self.mark}-*"):
            path.unlink()


@pytest.fixture
def manifests(machine: Machine, kubectl: Kubectl) -> Iterator[Manifests]:
    made = Manifests(machine, kubectl.namespace)
    yield made
    made.clear()
    eventually("the static pods have ended", lambda: not machine.containers(kubectl.namespace))


def test_static_pods_and_their_mirrors(manifests: Manifests, kubectl: Kubectl, machine: Machine) -> None:
    first = manifests.pod("first", "echo one; sleep 999", hostNetwork=True)
    manifests.write("first", yaml.safe_dump(first) + "---\n" + yaml.safe_dump(manifests.pod("ignored")))
    manifests.write("second", json.dumps(manifests.pod("second")), "json")
    manifests.write("hidden", yaml.safe_dump(manifests.pod("hidden")))
    manifests.path("hidden").rename(machine.manifests / f".{manifests.mark}-hidden.yaml")
    manifests.write("broken", "kind: Pod\napiVersion: v1\nmetadata: {name: broken}\nspec: {containers: [")
    manifests.write("wrong", yaml.safe_dump({**manifests.pod("wrong"), "spec": {"containers": []}}))
    one, two = f"first-{machine.node}", f"second-{machine.node}"
    pod = kubectl.running(one)
    kubectl.running(two)
    assert pod["status"]["podIP"] == pod["status"]["hostIP"]
    assert kubectl("logs", one) == "one\n"
    annotations = pod["metadata"]["annotations"]
    assert annotations["kubernetes.io/config.source"] == "file" and annotations["kubernetes.io/config.seen"]
    assert annotations["kubernetes.io/config.mirror"] == annotations["kubernetes.io/config.hash"]
    node = kubectl.get("node", machine.node)
    [owner] = pod["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
        "Node",
        machine.node,
        node["metadata"]["uid"],
        True,
    )
    assert {each["effect"] for each in pod["spec"]["tolerations"]} >= {"NoExecute"}
    for name in ("broken", "wrong"):
        event = machine.kubectl().event("InvalidStaticPod", machine.node, str(manifests.path(name)))
        assert event["type"] == "Warning"
    listed = [each["metadata"]["name"] for each in kubectl.get("pods")["items"]]
    assert sorted(listed) == sorted([one, two])

    # The mirror is a picture: it comes back, and nothing happens to the containers.
    before = container_status(pod)["containerID"]
    kubectl("delete", "pod", one, "--wait=false")
    eventually("another mirror", lambda: (kubectl.find("pod", one) or pod)["metadata"]["uid"] != pod["metadata"]["uid"])
    again = kubectl.running(one)
    assert container_status(again)["containerID"] == before and container_status(again)["restartCount"] == 0

    # Another manifest is another pod; a broken one changes nothing.
    manifests.write("second", "{", "json")
    machine.kubectl().event("InvalidStaticPod", machine.node, str(manifests.path("second", "json")))
    assert kubectl.find("pod", two)
    first["spec"]["containers"][0]["command"] = ["sh", "-c", "echo two; sleep 999"]
    manifests.write("first", yaml.safe_dump(first))
    eventually("the new one's log", lambda: kubectl.attempt("logs", one).out == "two\n")
    changed = kubectl.running(one)
    assert changed["metadata"]["annotations"]["kubernetes.io/config.hash"] != annotations["kubernetes.io/config.hash"]

    manifests.path("first").unlink()
    eventually("its mirror is gone", lambda: kubectl.find("pod", one) is None)
    (machine.manifests / f".{manifests.mark}-hidden.yaml").unlink()


def test_a_mirror_that_the_api_server_refuses_stops_nobody(
    manifests: Manifests, kubectl: Kubectl, machine: Machine
) -> None:
    """A static pod may not refer to other objects: there is no picture of it. The others run on."""
    manifests.write("refers", yaml.safe_dump(manifests.pod("refers", serviceAccountName="default")))
    manifests.write("plain", yaml.safe_dump(manifests.pod("plain")))
    kubectl.running(f"plain-{machine.node}")
    log = machine.kubelet.log
    name = f"{kubectl.namespace}/refers-{machine.node}"
    eventually("it is said", lambda: f"mirror of pod {name}" in log.read_text(errors="replace"))
    assert kubectl.find("pod", f"refers-{machine.node}") is None


def test_without_an_api_server(manifests: Manifests, kubectl: Kubectl, machine: Machine) -> None:
    def containers() -> list[Any]:
        return [each for each in machine.containers(kubectl.namespace) if each["State"] == "running"]

    machine.apiserver.stop(signal.SIGKILL)
    try:
        machine.kubelet.restart(signal.SIGKILL)
        manifests.write("alone", yaml.safe_dump(manifests.pod("alone", "echo alone; sleep 999")))
        started = eventually("it runs", lambda: len(containers()) == 2 and containers())
    finally:
        machine.apiserver.start()
        eventually("the API server is ready", machine.api_ready)
    pod = kubectl.running(f"alone-{machine.node}")
    assert container_status(pod)["containerID"].removeprefix("docker://") in [each["Id"] for each in started]
    assert kubectl("logs", f"alone-{machine.node}") == "alone\n"
