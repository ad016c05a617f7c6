"""What dies comes back: containers, nodes, and every process of the cluster in the middle of a rollout."""

from __future__ import annotations

import json
import os
import signal

from tests.e2e.cluster.support import PROJECT, Kubectl, command, eventually, node_exec

CONTROL_PLANE = {
    "etcd": ("etcd", "etcd "),
    "apiserver": ("apiserver", "-m apiserver"),
    "controller-manager": ("controller-manager", "-m controller_manager"),
    "scheduler": ("scheduler", "-m scheduler"),
}
NODE = {"kubelet": "-m kubelet", "proxy": "-m proxy"}


def process_ids(container: str, pattern: str) -> list[int]:
    """Of the machine's processes those of a container whose command line contains the pattern."""
    rows = command(["docker", "top", f"{PROJECT}-{container}", "-eo", "pid,args"]).out.splitlines()[1:]
    found = [row.strip().split(None, 1) for row in rows]
    return [int(pid) for pid, line in found if pattern in line and "catatonit" not in line]


def kill(container: str, pattern: str) -> None:
    victims = process_ids(container, pattern)
    assert victims, f"no process {pattern} in {container}"
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    eventually(
        f"{pattern} runs again in {container}",
        lambda: (now := process_ids(container, pattern)) and not set(now) & set(victims),
        30,
    )


def app_containers(node: str, namespace: str) -> list[str]:
    """Identities of the containers, pause ones included, of a namespace's pods on a node."""
    label = f"label=io.kubernetes.pod.namespace={namespace}"
    return sorted(node_exec(node, "docker", "ps", "-q", "--no-trunc", "--filter", label).out.split())


def statuses(kubectl: Kubectl, pod: str) -> list[dict]:
    return kubectl.get("pod", pod)["status"].get("containerStatuses", [])


def node_condition(name: str) -> str:
    kubectl = Kubectl("default")
    conditions = kubectl.get("node", name)["status"]["conditions"]
    return next(condition["status"] for condition in conditions if condition["type"] == "Ready")


def test_killed_container_is_restarted(kubectl: Kubectl) -> None:
    kubectl("run", "web", "--image=httpd:v1")
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    node = kubectl.get("pod", "web")["spec"]["nodeName"]
    identity = statuses(kubectl, "web")[0]["containerID"].removeprefix("docker://")
    assert node_exec(node, "docker", "kill", identity).code == 0
    eventually("one restart", lambda: [s["restartCount"] for s in statuses(kubectl, "web") if s["ready"]] == [1], 45)


def test_pods_of_a_dead_node_move_to_another(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "web", "--image=httpd:v1", "--replicas=2")
    # The default is to wait five minutes; the test's pods say that they do not.
    tolerations = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2}
        for key in ("not-ready", "unreachable")
    ]
    patch = {"spec": {"template": {"spec": {"tolerations": tolerations}}}}
    kubectl("patch", "deployment", "web", "-p", json.dumps(patch))
    kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    eventually("a pod on each node", lambda: {p["spec"]["nodeName"] for p in kubectl.pods("app=web")} >= {"node-2"}, 30)
    assert command(["docker", "kill", f"{PROJECT}-node-2"]).code == 0
    try:
        eventually("NotReady", lambda: node_condition("node-2") != "True", 50)

        def moved() -> bool:
            pods = kubectl.pods("app=web")
            ready = [p for p in pods if all(s["ready"] for s in p["status"].get("containerStatuses", [{"ready": 0}]))]
            return len(ready) == 2 and {p["spec"]["nodeName"] for p in ready} == {"node-1"}

        eventually("both pods run on the other node", moved, 60)
    finally:
        command(["docker", "start", f"{PROJECT}-node-2"])
        eventually("the node is back", lambda: node_condition("node-2") == "True", 60)


def test_every_process_killed_during_a_rollout(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "deployment", "bystander", "--image=httpd:v1", "--replicas=4")
    kubectl("create", "deployment", "httpd", "--image=httpd:v1", "--replicas=4")
    for name in ("bystander", "httpd"):
        kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")
    untouched = {p["metadata"]["uid"]: statuses(kubectl, p["metadata"]["name"]) for p in kubectl.pods("app=bystander")}

    kubectl("set", "image", "deployment/httpd", "httpd=httpd:v2")
    for container, pattern in CONTROL_PLANE.values():
        kill(container, pattern)
    for node in ("node-1", "node-2"):
        for pattern in NODE.values():
            kill(node, pattern)

    def finished() -> bool:
        result = kubectl.attempt("rollout", "status", "deployment/httpd", "--timeout=20s")
        return result.code == 0

    eventually("the end of the rollout", finished, 150)
    pods = eventually("four new pods", lambda: (p := kubectl.pods("app=httpd")) and len(p) == 4 and p, 60)
    assert {c["image"] for pod in pods for c in pod["spec"]["containers"]} == {"httpd:v2"}
    now = {p["metadata"]["uid"]: statuses(kubectl, p["metadata"]["name"]) for p in kubectl.pods("app=bystander")}
    assert {uid: [(s["containerID"], s["restartCount"]) for s in all_] for uid, all_ in now.items()} == {
        uid: [(s["containerID"], s["restartCount"]) for s in all_] for uid, all_ in untouched.items()
    }
