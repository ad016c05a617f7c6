"""Containers of every sort that fail again and again: what waits for them, and how long they wait."""

from __future__ import annotations

from tests.e2e.node.support import Kubectl, container_status, eventually

SLEEP = "exec sleep 600"


def test_what_fails_waits_longer_each_time(kubectl: Kubectl) -> None:
    fails = {"name": "first", "command": ["sh", "-c", "exit 5"]}
    kubectl.pod("app", "exit 1")
    kubectl.pod("init", SLEEP, initContainers=[fails])
    kubectl.pod("sidecar", SLEEP, initContainers=[{**fails, "restartPolicy": "Always"}])
    unready = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 600}
    lasting = {"name": "first", "command": ["sh", "-c", SLEEP], "restartPolicy": "Always", "startupProbe": unready}
    kubectl.pod("unstarted", SLEEP, initContainers=[lasting])
    kubectl.pod("hook", SLEEP, container={"lifecycle": {"postStart": {"sleep": {"seconds": 1}}}})
    proc = {"securityContext": {"procMount": "Unmasked"}}
    kubectl.pod("masked", "exec sleep 600", container=proc)
    kubectl.running("hook")
    # Of a feature that v1.32 has off by default the API server takes nothing, and nothing comes of it.
    masked = kubectl.running("masked")["spec"]["containers"][0]["securityContext"]
    assert masked == {"procMount": "Default"}
    assert kubectl.sh("grep -c ' /proc/sys ' /proc/mounts", "masked") == "1"

    for name, container in (("init", "first"), ("sidecar", "first"), ("app", "app")):
        message = kubectl.waiting(name, "CrashLoopBackOff", container)
        assert message.startswith("back-off 10s restarting failed container=") or "back-off 20s" in message
    pod = kubectl.find("pod", "init")
    assert container_status(pod)["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert pod["status"]["phase"] == "Pending"
    assert container_status(pod, "first")["lastState"]["terminated"]["exitCode"] == 5
    assert "Init:CrashLoopBackOff" in kubectl("get", "pod", "init")
    # One that has run counts as begun, whatever became of it; only one that has not started up holds the others up.
    unstarted = kubectl.find("pod", "unstarted")
    assert container_status(unstarted, "first")["started"] is False
    assert container_status(unstarted)["state"] == {"waiting": {"reason": "PodInitializing"}}
    for name, container in (("app", "app"), ("init", "first")):

        def longer(name: str = name, container: str = container) -> bool:
            waiting = container_status(kubectl.status(name), container).get("state", {}).get("waiting", {})
            return str(waiting.get("message", "")).startswith("back-off 20s restarting failed container=")

        eventually(f"{name} waits twice as long", longer)
        assert container_status(kubectl.status(name), container)["restartCount"] >= 2
