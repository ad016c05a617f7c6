"""How pods end: signals, grace periods, hooks, deadlines, sidecars, and what containers say at last."""

from __future__ import annotations

import io
import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, container_status, eventually

SLEEP = "exec sleep 600"
DEAF = "trap '' TERM; while true; do sleep 1; done"
POLITE = "trap 'echo term; exit 0' TERM; while true; do sleep 0.1; done"


@pytest.fixture(scope="module")
def stopped_by_usr1(image: str) -> Iterator[str]:
    api, tag = docker.APIClient(), f"cox-test-{uuid.uuid4().hex[:8]}:v1"
    dockerfile = io.BytesIO(f"FROM {image}\nSTOPSIGNAL SIGUSR1\n".encode())
    for line in api.build(fileobj=dockerfile, tag=tag, rm=True, decode=True):
        assert "error" not in line, line
    yield tag
    api.remove_image(tag, force=True)
    api.close()


def gone(kubectl: Kubectl, machine: Machine, *names: str) -> None:
    def nothing() -> bool:
        there = {each["metadata"]["name"] for each in kubectl.get("pods")["items"]}
        made = " ".join(str(each["Names"]) for each in machine.containers(kubectl.namespace))
        return not there & set(names) and not any(f"_{name}_{kubectl.namespace}_" in made for name in names)

    eventually(f"{names} are gone from the API and from Docker", nothing)


def ended(kubectl: Kubectl, name: str, container: str = "app") -> dict[str, Any]:
    def there() -> Any:
        return container_status(kubectl.status(name), container).get("state", {}).get("terminated")

    return dict(eventually(f"{container} of {name} has ended", there))


def restarted(kubectl: Kubectl, name: str, container: str = "app") -> dict[str, Any]:
    def there() -> Any:
        status = container_status(kubectl.status(name), container)
        return status.get("lastState", {}).get("terminated")

    return dict(eventually(f"{container} of {name} has ended once", there))


def kept(name: str) -> dict[str, Any]:
    """A finalizer keeps the object, so that its last status can be read."""
    return {"metadata": {"name": name, "finalizers": ["example.com/keep"]}}


def let_go(kubectl: Kubectl, *names: str) -> None:
    for name in names:
        kubectl("patch", "pod", name, "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')


def test_signals_and_grace_periods(kubectl: Kubectl, machine: Machine, stopped_by_usr1: str) -> None:
    usr1 = "trap 'exit 7' USR1; trap '' TERM; while true; do sleep 0.1; done"
    kubectl.pod("polite", POLITE, terminationGracePeriodSeconds=60, **kept("polite"))
    kubectl.pod("deaf", DEAF, terminationGracePeriodSeconds=2, **kept("deaf"))
    kubectl.pod("usr1", usr1, container={"image": stopped_by_usr1}, terminationGracePeriodSeconds=60, **kept("usr1"))
    kubectl.pod("slow", DEAF, terminationGracePeriodSeconds=300)
    kubectl.pod("forced", DEAF, terminationGracePeriodSeconds=2)
    for name in ("polite", "deaf", "usr1", "slow", "forced"):
        kubectl.running(name)
    kubectl("delete", "pod", "polite", "deaf", "usr1", "slow", "--wait=false")
    polite = ended(kubectl, "polite")
    assert (polite["exitCode"], polite["reason"]) == (0, "Completed")
    assert kubectl.phase("Succeeded", "polite")["metadata"]["deletionTimestamp"]
    deaf = ended(kubectl, "deaf")
    assert (deaf["exitCode"], deaf["reason"]) == (137, "Error")
    kubectl.phase("Failed", "deaf")
    assert ended(kubectl, "usr1")["exitCode"] == 7
    assert kubectl.event("Killing", "deaf")["message"] == "Stopping container app"
    let_go(kubectl, "polite", "deaf", "usr1")
    # A second deletion makes the time shorter; one with force takes the object at once and the containers after it.
    assert kubectl.find("pod", "slow")["metadata"]["deletionGracePeriodSeconds"] == 300
    kubectl("delete", "pod", "slow", "--grace-period=1", "--wait=false")
    kubectl("delete", "pod", "forced", "--grace-period=0", "--force")
    assert kubectl.find("pod", "forced") is None
    gone(kubectl, machine, "polite", "deaf", "usr1", "slow", "forced")


def test_hooks(kubectl: Kubectl, machine: Machine) -> None:
    def lifecycle(**hooks: Any) -> dict[str, Any]:
        return {"container": {"lifecycle": hooks}, "terminationGracePeriodSeconds": 30}

    server = "mkdir -p /w/cgi-bin; echo > /w/ok; httpd -p 8080 -h /w; exec sleep 600"
    seen = 'echo "got $HTTP_X_WHO $HTTP_USER_AGENT" > /proc/1/fd/1; echo; echo'
    script = f"mkdir -p /w/cgi-bin; printf '#!/bin/sh\\n{seen}' > /w/cgi-bin/p; chmod +x /w/cgi-bin/p; "
    script += f"httpd -p 8080 -h /w; {POLITE}"
    get = {"path": "/cgi-bin/p", "port": "web", "httpHeaders": [{"name": "X-Who", "value": "me"}]}
    ports = {"ports": [{"name": "web", "containerPort": 8080}]}
    kubectl.pod(
        "http",
        container={"command": ["sh", "-c", script], "lifecycle": {"preStop": {"httpGet": get}}, **ports},
        terminationGracePeriodSeconds=60,
    )
    refused = {"httpGet": {"path": "/", "port": 1}}
    kubectl.pod("start", "until grep -s hook /tmp/started; do sleep 0.1; done; exec sleep 600",
                **lifecycle(postStart={"exec": {"command": ["sh", "-c", "echo hook > /tmp/started"]}}))  # fmt: skip
    kubectl.pod("badstart", POLITE, **lifecycle(postStart={"exec": {"command": ["sh", "-c", "exit 1"]}}))
    kubectl.pod("badhttp", POLITE, **lifecycle(postStart=refused))
    kubectl.pod("badstop", POLITE, **lifecycle(preStop={"exec": {"command": ["sh", "-c", "exit 1"]}}))
    kubectl.pod("sleep", POLITE, **lifecycle(preStop={"sleep": {"seconds": 2}}))
    hang = {"container": {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "1000"]}}}}}
    kubectl.pod("hang", DEAF, terminationGracePeriodSeconds=2, **hang)
    # An answer of whatever kind is an answer: upstream does not look at its status.
    missing = {"postStart": {"httpGet": {"path": "/none", "port": 8080}}}
    kubectl.pod("answer", server, container={"lifecycle": {"preStop": missing["postStart"]}})
    refused_zero = kubectl.attempt("create", "-f", "-", stdin=json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "zero"}, "spec": {"containers": [
            {"name": "app", "image": "x", "lifecycle": {"preStop": {"sleep": {"seconds": 0}}}}]}}))  # fmt: skip
    assert "must be greater than 0 and less than terminationGracePeriodSeconds" in refused_zero.err

    for name in ("http", "start", "badstop", "sleep", "hang", "answer"):
        kubectl.running(name)
    eventually("its hook has run", lambda: kubectl("logs", "start") == "hook\n")
    for name in ("badstart", "badhttp"):
        event = kubectl.event("FailedPostStartHook", name)
        assert (event["message"], event["type"]) == ("PostStartHook failed", "Warning")
        kubectl.event("Killing", name, "FailedPostStartHook")
        assert restarted(kubectl, name)["exitCode"] == 0  # by SIGTERM
    began = time.monotonic()
    follow = following(kubectl, "http")
    names = ("http", "badstop", "sleep", "hang", "answer")
    kubectl("delete", "pod", *names, "badstart", "badhttp", "--wait=false")
    assert kubectl.event("FailedPreStopHook", "badstop")["message"] == "PreStopHook failed"
    kubectl.event("FailedPreStopHook", "hang")
    gone(kubectl, machine, *names)
    assert time.monotonic() - began >= 2  # the hook that sleeps
    assert follow().splitlines() == ["got me kube-lifecycle/1.32", "term"]
    assert [e for e in kubectl.events("answer") if e["reason"] == "FailedPreStopHook"] == []


def following(kubectl: Kubectl, name: str) -> Any:
    """Follows a log; the result gives all of it once its container has ended."""
    running = subprocess.Popen(kubectl.words("logs", "-f", name), stdout=subprocess.PIPE, text=True)
    return lambda: running.communicate(timeout=60)[0]


def test_sidecars(kubectl: Kubectl, machine: Machine) -> None:
    def sidecar(name: str, script: str, **more: Any) -> dict[str, Any]:
        mount = [{"name": "d", "mountPath": "/d"}]
        return {
            "name": name, "command": ["sh", "-c", script], "volumeMounts": mount, "restartPolicy": "Always", **more,
        }  # fmt: skip

    def logging(name: str) -> str:
        end = f"trap 'echo {name} >> /d/order; exit 0' TERM; echo {name} >> /d/begun"
        return f"{end}; while true; do sleep 0.1; done"

    shared = {
        "volumes": [{"name": "d", "hostPath": {"path": str(machine.root / "sidecars"), "type": "DirectoryOrCreate"}}]
    }
    waits = {"startupProbe": {"exec": {"command": ["test", "-e", "/d/go"]}, "periodSeconds": 1, "failureThreshold": 90}}
    unready = {"readinessProbe": {"exec": {"command": ["test", "-e", "/d/ready"]}, "periodSeconds": 1}}
    app = {
        "name": "app", "command": ["sh", "-c", logging("app")], "volumeMounts": [{"name": "d", "mountPath": "/d"}],
    }  # fmt: skip
    kubectl.pod(
        "ordered",
        initContainers=[sidecar("one", logging("one"), **waits), sidecar("two", logging("two"), **unready)],
        containers=[app],
        terminationGracePeriodSeconds=60,
        **shared,
    )
    again = "echo x >> /d/n; [ $(wc -l < /d/n) -ge 2 ] && touch /d/again && exec sleep 600; sleep 3; exit 1"
    kubectl.pod(
        "done",
        restartPolicy="Never",
        initContainers=[sidecar("side", again)],
        containers=[{**app, "command": ["sh", "-c", "while [ ! -e /d/again ]; do sleep 0.1; done"]}],
        volumes=[{"name": "d", "emptyDir": {}}],
    )
    folder = machine.root / "sidecars"
    eventually("one runs", lambda: container_status(kubectl.status("ordered"), "one").get("state", {}).get("running"))
    pod = kubectl.find("pod", "ordered")
    assert container_status(pod, "one")["started"] is False
    assert container_status(pod, "two")["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert pod["status"]["phase"] == "Pending"
    (folder / "go").touch()
    eventually("app runs", lambda: container_status(kubectl.status("ordered"), "app").get("ready"))
    pod = kubectl.find("pod", "ordered")
    conditions = {each["type"]: each for each in pod["status"]["conditions"]}
    assert conditions["Initialized"]["status"] == "True"
    assert conditions["ContainersReady"]["message"] == "containers with unready status: [two]"
    assert pod["status"]["phase"] == "Running"
    (folder / "ready").touch()
    kubectl.running("ordered")
    assert (folder / "begun").read_text().split() == ["one", "two", "app"]
    # A sidecar comes back, whatever the pod's policy; alone it keeps no pod.
    pod = kubectl.phase("Succeeded", "done")
    assert container_status(pod, "side")["restartCount"] == 1
    assert container_status(pod, "side")["state"].get("terminated")
    kubectl("delete", "pod", "ordered")
    assert (folder / "order").read_text().split() == ["app", "two", "one"]


def test_deadlines(kubectl: Kubectl, machine: Machine) -> None:
    kubectl.pod("counted", POLITE, activeDeadlineSeconds=900)
    kubectl.pod("short", POLITE, activeDeadlineSeconds=2)
    kubectl.pod("lowered", POLITE, activeDeadlineSeconds=600)
    kubectl.pod("pending", SLEEP, container={"image": "no.such.registry.invalid/x:v1"}, activeDeadlineSeconds=2)
    kubectl.running("lowered")
    kubectl.running("counted")
    machine.kubelet.kill()  # the next one goes on counting from where the pod's status says
    early = '{"status":{"startTime":"2020-01-01T00:00:00Z"}}'
    kubectl("patch", "pod", "counted", "--subresource=status", "-p", early)
    machine.kubelet.start()
    kubectl("patch", "pod", "lowered", "-p", '{"spec":{"activeDeadlineSeconds":1}}')
    for name in ("short", "lowered", "pending", "counted"):
        status = kubectl.phase("Failed", name)["status"]
        text = "Pod was active on the node longer than the specified deadline"
        assert (status["reason"], status["message"]) == ("DeadlineExceeded", text)
        event = kubectl.event("DeadlineExceeded", name)
        assert (event["message"], event["type"]) == (text, "Normal")
    assert ended(kubectl, "short")["exitCode"] == 0
    assert kubectl.attempt("patch", "pod", "lowered", "-p", '{"spec":{"activeDeadlineSeconds":9}}').code != 0


def test_last_words(kubectl: Kubectl) -> None:
    fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    kubectl.pod("file", "printf 'the end' > /dev/termination-log; exit 1", restartPolicy="Never")
    kubectl.pod(
        "path", "printf 'my end' > /tmp/end", container={"terminationMessagePath": "/tmp/end"}, restartPolicy="Never"
    )
    kubectl.pod(
        "big", "yes x | tr -d '\\n' | head -c 5000 > /dev/termination-log; printf end >> /dev/termination-log",
        restartPolicy="Never",
    )  # fmt: skip
    many = [{"name": f"c{n}", "command": ["sh", "-c", "yes x | head -c 4096 > /dev/termination-log"]} for n in range(4)]
    kubectl.pod("many", containers=many, restartPolicy="Never")
    kubectl.pod("log", "for n in $(seq 100); do echo line $n; done; exit 1", container=fallback, restartPolicy="Never")
    kubectl.pod("long", "yes xyz | head -c 10000 | tr -d '\\n'; exit 1", container=fallback, restartPolicy="Never")
    kubectl.pod("good", "echo fine", container=fallback, restartPolicy="Never")

    def message(name: str, container: str = "app") -> str:
        return str(ended(kubectl, name, container).get("message", ""))

    assert (message("file"), message("path")) == ("the end", "my end")
    assert message("big") == "x" * 4093 + "end"  # the last 4096 bytes
    assert [len(message("many", f"c{n}")) for n in range(4)] == [3072] * 4  # 12 KiB for all
    assert message("log").splitlines() == [f"line {n}" for n in range(21, 101)]
    assert len(message("long")) == 2048
    assert message("good") == ""


def test_a_probe_may_have_a_grace_period_of_its_own(kubectl: Kubectl) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    own = {"livenessProbe": {**probe, "terminationGracePeriodSeconds": 1}}
    kubectl.pod("own", DEAF, container=own, terminationGracePeriodSeconds=600)
    kubectl.pod("pods", DEAF, container={"livenessProbe": probe}, terminationGracePeriodSeconds=600)
    kubectl.event("Killing", "pods", "Container app failed liveness probe, will be restarted")
    assert restarted(kubectl, "own")["exitCode"] == 137
    assert container_status(kubectl.status("pods"))["restartCount"] == 0
    kubectl("delete", "pod", "pods", "--grace-period=1")
