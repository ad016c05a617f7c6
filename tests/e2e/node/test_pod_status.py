"""What a pod's status says from its first container to its last: phases, conditions, states, reasons, counts."""

from __future__ import annotations

import json
from typing import Any

import docker

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import SLEEP, Kubectl, container_status, eventually


def condition(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    found = [each for each in pod.get("status", {}).get("conditions", []) if each["type"] == kind]
    return found[0] if found else {}


def said(pod: dict[str, Any], kind: str) -> tuple[str | None, str | None, str | None]:
    found = condition(pod, kind)
    return found.get("status"), found.get("reason"), found.get("message")


def waits(kubectl: Kubectl, name: str, reason: str, container: str = "app") -> dict[str, Any]:
    """The pod, once its container waits for that reason."""

    def there() -> Any:
        pod = kubectl.find("pod", name) or {}
        state = container_status(pod, container).get("state", {})
        return pod if state.get("waiting", {}).get("reason") == reason else None

    return dict(eventually(f"{container} of {name} waits: {reason}", there))


def runs(kubectl: Kubectl, name: str, container: str) -> None:
    eventually(
        f"{container} of {name} runs",
        lambda: container_status(kubectl.status(name), container).get("state", {}).get("running"),
    )


def test_from_the_first_init_container_to_the_end(kubectl: Kubectl, machine: Machine) -> None:
    go = "while [ ! -e /d/go ]; do sleep 0.1; done"
    volume = {"volumes": [{"name": "d", "emptyDir": {}}], "restartPolicy": "Never"}
    mount = {"volumeMounts": [{"name": "d", "mountPath": "/d"}]}
    kubectl.pod(
        "good",
        initContainers=[
            {"name": "first", "command": ["sh", "-c", "true"], **mount},
            {"name": "second", "command": ["sh", "-c", go], **mount},
        ],
        containers=[
            {"name": "z", "command": ["sh", "-c", "true"], **mount},
            {"name": "a", "command": ["sh", "-c", f"rm /d/go; {go}"], **mount},
        ],
        **volume,
    )
    kubectl.pod("bad", "exit 3", restartPolicy="Never")
    kubectl.pod("init", SLEEP, initContainers=[{"name": "first", "command": ["sh", "-c", "exit 4"]}], **volume)
    eventually(
        "second runs", lambda: container_status(kubectl.status("good"), "second").get("state", {}).get("running")
    )
    pod = kubectl.find("pod", "good")
    assert pod["status"]["phase"] == "Pending"
    assert (pod["status"]["qosClass"], pod["status"]["hostIP"]) == ("BestEffort", "192.0.2.10")
    assert [each["name"] for each in pod["status"]["initContainerStatuses"]] == ["first", "second"]
    assert [each["name"] for each in pod["status"]["containerStatuses"]] == ["a", "z"]  # by name, as upstream
    first = container_status(pod, "first")
    assert (first["state"]["terminated"]["reason"], first["ready"], first["started"]) == ("Completed", True, False)
    assert container_status(pod, "z")["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert said(pod, "Initialized") == (
        "False", "ContainersNotInitialized", "containers with incomplete status: [second]",
    )  # fmt: skip
    message = "containers with unready status: [z a]"
    assert said(pod, "Ready") == said(pod, "ContainersReady") == ("False", "ContainersNotReady", message)
    assert said(pod, "PodReadyToStartContainers")[0] == said(pod, "PodScheduled")[0] == "True"
    since = condition(pod, "PodReadyToStartContainers")["lastTransitionTime"]

    kubectl("exec", "good", "-c", "second", "--", "touch", "/d/go")
    runs(kubectl, "good", "a")
    pod = eventually(
        "z has ended",
        lambda: (
            (p := kubectl.find("pod", "good")) and container_status(p, "z").get("state", {}).get("terminated") and p
        ),
    )
    assert pod["status"]["phase"] == "Running"
    assert said(pod, "Initialized") == ("True", None, None)
    assert said(pod, "Ready") == ("False", "ContainersNotReady", "containers with unready status: [z]")
    assert condition(pod, "PodReadyToStartContainers")["lastTransitionTime"] == since
    a = container_status(pod, "a")
    assert (a["ready"], a["started"], a["restartCount"], a["image"]) == (True, True, 0, machine.image)
    assert a["containerID"].startswith("docker://")
    assert a["imageID"].startswith("docker")

    kubectl("exec", "good", "-c", "a", "--", "touch", "/d/go")
    pod = kubectl.phase("Succeeded", "good")
    for kind in ("Ready", "ContainersReady"):
        assert said(pod, kind) == ("False", "PodCompleted", None)
    assert said(pod, "Initialized") == ("True", "PodCompleted", None)
    eventually("its sandbox ends", lambda: said(kubectl.find("pod", "good"), "PodReadyToStartContainers")[0] == "False")
    assert kubectl.status("good")["podIP"] == pod["status"]["podIP"]

    pod = kubectl.phase("Failed", "bad")
    ended = container_status(pod)["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("Error", 3)
    assert ended["startedAt"] <= ended["finishedAt"]
    assert said(pod, "Ready") == ("False", "PodFailed", None)
    pod = kubectl.phase("Failed", "init")
    assert container_status(pod, "first")["state"]["terminated"]["exitCode"] == 4
    assert said(pod, "Initialized")[1] == "ContainersNotInitialized"


def test_restarts_by_policy(kubectl: Kubectl) -> None:
    volume = {"volumes": [{"name": "d", "emptyDir": {}}]}
    mount = {"volumeMounts": [{"name": "d", "mountPath": "/d"}]}
    twice = "[ -e /d/x ] && exit 0; touch /d/x; exit 1"
    kubectl.pod("onfailure", twice, container=mount, restartPolicy="OnFailure", **volume)
    kubectl.pod("always", "exit 0")
    kubectl.pod("init", SLEEP, initContainers=[{"name": "first", "command": ["sh", "-c", twice], **mount}], **volume)
    memory = {"resources": {"limits": {"memory": "16Mi"}}}
    kubectl.pod("oom", container={"command": ["tail", "/dev/zero"], **memory}, restartPolicy="Never")
    status = container_status(kubectl.phase("Succeeded", "onfailure"))
    assert (status["restartCount"], status["lastState"]["terminated"]["exitCode"]) == (1, 1)
    assert status["state"]["terminated"]["exitCode"] == 0
    first = container_status(kubectl.running("init"), "first")
    assert (first["restartCount"], first["ready"]) == (1, True)

    ended = container_status(kubectl.phase("Failed", "oom"))["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)

    pod = waits(kubectl, "always", "CrashLoopBackOff")
    status = container_status(pod)
    uid = pod["metadata"]["uid"]
    where = f"pod=always_{kubectl.namespace}({uid})"
    assert status["state"]["waiting"]["message"] == f"back-off 10s restarting failed container=app {where}"
    assert (status["lastState"]["terminated"]["reason"], status["restartCount"]) == ("Completed", 1)
    assert pod["status"]["phase"] == "Running"
    event = kubectl.event("BackOff", "always")
    assert event["message"] == f"Back-off restarting failed container app in pod always_{kubectl.namespace}({uid})"
    assert event["involvedObject"]["fieldPath"] == "spec.containers{app}"
    # A pod that is deleted waits for no restart any more: how its container ended is what is left to say.
    kubectl("delete", "pod", "always")


def test_readiness_gates(kubectl: Kubectl) -> None:
    kubectl.pod("gated", SLEEP, readinessGates=[{"conditionType": "example.com/open"}])

    def ready(status: str) -> Any:
        pod = kubectl.find("pod", "gated")
        return pod if said(pod, "ContainersReady")[0] == "True" and said(pod, "Ready")[0] == status else None

    pod = eventually("not ready for its gate", lambda: ready("False"))
    text = 'corresponding condition of pod readiness gate "example.com/open" does not exist.'
    assert said(pod, "Ready") == ("False", "ReadinessGatesNotReady", text)

    def say(value: str) -> None:
        patch = {"status": {"conditions": [{"type": "example.com/open", "status": value}]}}
        kubectl("patch", "pod", "gated", "--subresource=status", "-p", json.dumps(patch))

    say("False")
    text = 'the status of pod readiness gate "example.com/open" is not "True", but False'
    eventually("says so", lambda: said(kubectl.find("pod", "gated"), "Ready")[2] == text)
    say("True")
    pod = eventually("ready", lambda: ready("True"))
    assert said(pod, "example.com/open")[0] == "True"


def test_a_container_or_sandbox_that_somebody_removes(kubectl: Kubectl, machine: Machine) -> None:
    kubectl.pod("lost", SLEEP)
    kubectl.pod("dead", SLEEP, initContainers=[{"name": "first", "command": ["true"]}])
    lost, dead = kubectl.running("lost"), kubectl.running("dead")
    api = docker.APIClient()
    machine.kubelet.kill()
    api.remove_container(container_status(lost)["containerID"].removeprefix("docker://"), force=True)
    machine.kubelet.start()
    pod = eventually(
        "made anew", lambda: (p := kubectl.running("lost")) and container_status(p)["restartCount"] == 1 and p
    )
    assert container_status(pod)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert container_status(pod)["lastState"]["terminated"]["exitCode"] == 137
    sandbox = next(
        each for each in machine.containers(kubectl.namespace) if f"/k8s_POD_dead_{kubectl.namespace}" in str(each)
    )
    api.kill(sandbox["Id"])
    api.close()
    event = kubectl.event("SandboxChanged", "dead")
    assert event["message"] == "Pod sandbox changed, it will be killed and re-created."
    first = container_status(dead, "first")["containerID"]

    def again() -> Any:
        pod = kubectl.running("dead")
        new = container_status(pod, "first")
        return pod if new["containerID"] != first and container_status(pod)["restartCount"] == 1 else None

    pod = eventually("runs in another sandbox, its init container too", again)
    assert container_status(pod, "first")["restartCount"] == 1
    assert kubectl.sh("hostname", "dead") == "dead"


def test_pods_that_the_node_does_not_take(kubectl: Kubectl, machine: Machine) -> None:
    expression = {"key": "nothing", "operator": "Exists"}
    term = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    port = {"ports": [{"containerPort": 80, "hostPort": 18080}]}
    kubectl.pod("first", SLEEP, container=port)
    kubectl.running("first")
    kubectl.pod("port", SLEEP, container=port)
    kubectl.pod("other", SLEEP, container={"ports": [{"containerPort": 80, "hostPort": 18080, "protocol": "UDP"}]})
    kubectl.pod("label", SLEEP, nodeSelector={"no": "such"})
    required = {"requiredDuringSchedulingIgnoredDuringExecution": term}
    kubectl.pod("affinity", SLEEP, affinity={"nodeAffinity": required})
    kubectl.pod("cpu", SLEEP, container={"resources": {"requests": {"cpu": "500"}}})
    pods = {name: kubectl.phase("Failed", name) for name in ("port", "label", "affinity", "cpu")}
    text = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    assert pods["port"]["status"]["reason"] == "NodePorts"
    assert pods["port"]["status"]["message"] == f"Pod was rejected: {text}"
    assert kubectl.event("NodePorts", "port")["message"] == text
    for name in ("label", "affinity"):
        assert pods[name]["status"]["reason"] == "NodeAffinity"
        assert "didn't match Pod's node affinity/selector" in pods[name]["status"]["message"]
    assert pods["cpu"]["status"]["reason"] == "OutOfcpu"
    assert "resource: cpu, requested: 500000, used: " in pods["cpu"]["status"]["message"]
    for pod in pods.values():  # nothing was made of it, and nothing is said of its containers
        assert "containerStatuses" not in pod["status"]
        assert pod["status"]["startTime"]
        assert pod["status"]["qosClass"]
    kubectl.running("other")
    kubectl.running("first")
    machine.kubelet.restart()
    kubectl.pod("later", SLEEP)
    kubectl.running("later")
    assert kubectl.status("cpu") == pods["cpu"]["status"]


def test_pods_that_wait_keep_no_other_from_starting(kubectl: Kubectl) -> None:
    """More of them than pods may start at a time."""
    hook = {"lifecycle": {"postStart": {"exec": {"command": ["sleep", "1000"]}}}}
    names = [f"hook-{n}" for n in range(9)]
    for name in names:
        kubectl.pod(name, SLEEP, container=hook)
    kubectl.event("Started", names[-1])
    kubectl.pod("free", SLEEP)
    kubectl.running("free")
    for name in names:  # as upstream: a container whose hook has not ended does not count as running yet
        status = kubectl.status(name)
        assert (status["phase"], "running" in container_status(status)["state"]) == ("Pending", False)
    kubectl("delete", "pod", *names)  # ends the hooks
