"""What ``kubectl get`` shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apiserver.resources.columns import human_duration, selector_text
from apiserver.resources.table import RESOURCES


def cells(qualified: str, obj: Any, wide: bool = False) -> list[Any]:
    resource = next(r for r in RESOURCES if r.qualified == qualified)
    return [c.cell(obj) for c in resource.columns if wide or not c.priority]


def ago(**span: int) -> str:
    return (datetime.now(UTC) - timedelta(**span)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"), (600, "10m"),
        (10799, "179m"), (10800, "3h"), (11700, "3h15m"), (28799, "7h59m"), (28800, "8h"), (172799, "47h"),
        (172800, "2d"), (180000, "2d2h"), (691200, "8d"), (63071999, "729d"), (63072000, "2y"), (63158400, "2y1d"),
        (252288000, "8y"),
    ],
)  # fmt: skip
def test_ages(seconds: int, text: str) -> None:
    assert human_duration(seconds) == text


def status(*containers: Any, phase: str = "Running", **more: Any) -> Any:
    return {"phase": phase, "containerStatuses": list(containers), **more}


RUNNING = {"name": "a", "ready": True, "restartCount": 0, "state": {"running": {}}}


def waiting(reason: str) -> Any:
    return {"name": "a", "ready": False, "restartCount": 0, "state": {"waiting": {"reason": reason}}}


def ended(code: int, reason: str = "", **more: Any) -> Any:
    return {
        "name": "a",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "reason": reason, **more}},
    }


ONE = {"containers": [{"name": "a"}]}
TWO = {"containers": [{"name": "a"}, {"name": "b"}]}
INIT = {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]}


@pytest.mark.parametrize(
    ("spec", "state", "ready", "word"),
    [
        (ONE, {"phase": "Pending"}, "0/1", "Pending"),
        (ONE, status(RUNNING), "1/1", "Running"),
        (ONE, status(waiting("CrashLoopBackOff")), "0/1", "CrashLoopBackOff"),
        (ONE, status(waiting("ContainerCreating"), phase="Pending"), "0/1", "ContainerCreating"),
        (ONE, status(ended(0, "Completed"), phase="Succeeded"), "0/1", "Completed"),
        (ONE, status(ended(1, "Error"), phase="Failed"), "0/1", "Error"),
        (ONE, status(ended(3)), "0/1", "ExitCode:3"),
        (ONE, status(ended(137, signal=9)), "0/1", "Signal:9"),
        (ONE, {"phase": "Failed", "reason": "Evicted"}, "0/1", "Evicted"),
        (TWO, status(RUNNING, ended(0, "Completed")), "1/2", "NotReady"),
        (INIT, {"phase": "Pending", "initContainerStatuses": [ended(0, "Completed"), RUNNING]}, "0/1", "Init:1/2"),
        (INIT, {"phase": "Pending", "initContainerStatuses": [ended(1, "Error")]}, "0/1", "Init:Error"),
        (INIT, {"phase": "Pending", "initContainerStatuses": [waiting("Backing")]}, "0/1", "Init:Backing"),
        (
            ONE,
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]},
            "0/1",
            "SchedulingGated",
        ),
    ],
)  # fmt: skip
def test_a_pod_in_one_word(spec: Any, state: Any, ready: str, word: str) -> None:
    assert cells("pods", {"metadata": {"name": "p"}, "spec": spec, "status": state})[1:3] == [ready, word]


def test_a_completed_container_beside_a_running_one_of_a_ready_pod() -> None:
    done_first = status(ended(0, "Completed"), RUNNING, conditions=[{"type": "Ready", "status": "True"}])
    assert cells("pods", {"metadata": {}, "spec": TWO, "status": done_first})[2] == "Running"


def test_pods_that_are_going() -> None:
    going = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": ONE, "status": status(RUNNING)}
    assert cells("pods", going)[2] == "Terminating"
    assert cells("pods", going | {"status": status(RUNNING, reason="NodeLost")})[2] == "Unknown"


def test_restarts_tell_when() -> None:
    restarted = {**RUNNING, "restartCount": 3, "lastState": {"terminated": {"finishedAt": ago(minutes=5)}}}
    restarts = cells("pods", {"metadata": {}, "spec": ONE, "status": status(restarted)})[3]
    assert restarts in ("3 (5m ago)", "3 (5m1s ago)")
    assert cells("pods", {"metadata": {}, "spec": ONE, "status": status(RUNNING)})[3] == "0"


def test_sidecars_count_as_containers() -> None:
    spec = {"containers": [{"name": "a"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]}
    sidecar = {**RUNNING, "name": "s", "started": True}
    state = status(RUNNING, initContainerStatuses=[sidecar])
    assert cells("pods", {"metadata": {}, "spec": spec, "status": state})[1:3] == ["2/2", "Running"]


def test_wide_pods() -> None:
    pod = {
        "metadata": {"name": "p", "creationTimestamp": ago(hours=1)},
        "spec": {**ONE, "nodeName": "n"},
        "status": status(RUNNING, podIPs=[{"ip": "10.244.0.2"}]),
    }
    assert cells("pods", pod, wide=True)[4:] == ["60m", "10.244.0.2", "n", "<none>", "<none>"]


def test_nodes() -> None:
    node = {
        "metadata": {
            "name": "n",
            "labels": {"node-role.kubernetes.io/control-plane": ""},
            "creationTimestamp": ago(days=3),
        },
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.32.0", "osImage": "Debian"},
        },
    }
    assert cells("nodes", node, wide=True) == [
        "n", "Ready,SchedulingDisabled", "control-plane", "3d", "v1.32.0", "10.0.0.1", "<none>", "Debian",
        "<unknown>", "<unknown>",
    ]  # fmt: skip


def test_services() -> None:
    spec = {"type": "NodePort", "clusterIP": "10.96.0.5", "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]}
    shown = cells("services", {"metadata": {"name": "s"}, "spec": spec})
    assert shown == ["s", "NodePort", "10.96.0.5", "<none>", "80:30080/TCP", "<unknown>"]
    assert cells("services", {"metadata": {}, "spec": {"type": "LoadBalancer"}})[3] == "<pending>"


def test_workloads() -> None:
    deployment = {
        "metadata": {"name": "d"},
        "spec": {"replicas": 3},
        "status": {"readyReplicas": 2, "updatedReplicas": 3},
    }
    assert cells("deployments.apps", deployment)[:4] == ["d", "2/3", 3, 0]
    job = {
        "metadata": {"name": "j"},
        "spec": {"completions": 1},
        "status": {
            "succeeded": 1,
            "startTime": "2026-01-01T00:00:00Z",
            "completionTime": "2026-01-01T00:00:07Z",
            "conditions": [{"type": "Complete", "status": "True"}],
        },
    }
    assert cells("jobs.batch", job)[:4] == ["j", "Complete", "1/1", "7s"]


def test_events() -> None:
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p"},
        "type": "Normal",
        "reason": "Pulled",
        "message": "done\n",
        "lastTimestamp": ago(minutes=20),
    }
    assert cells("events", event) == ["20m", "Normal", "Pulled", "pod/p", "done"]


def test_endpoints_are_shortened() -> None:
    addresses = [{"ip": f"10.0.0.{i}"} for i in range(5)]
    shown = cells("endpoints", {"metadata": {}, "subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]})[1]
    assert shown == "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more..."
    assert cells("endpoints", {"metadata": {}})[1] == "<none>"


def test_selectors_in_words() -> None:
    expression = {"key": "b", "operator": "NotIn", "values": ["y", "x"]}
    assert selector_text({"matchLabels": {"a": "1"}, "matchExpressions": [expression]}) == "a=1,b notin (x,y)"
    assert selector_text(None) == "<none>"


def test_rows_tell_which_pods_have_ended() -> None:
    resource = next(r for r in RESOURCES if r.qualified == "pods")
    assert resource.row_conditions is not None
    (ended_well,) = resource.row_conditions({"status": {"phase": "Succeeded"}})
    assert (ended_well["type"], ended_well["reason"]) == ("Completed", "Succeeded")
    assert resource.row_conditions({"status": {"phase": "Running"}}) == []


def test_all_addresses_of_a_balanced_service_are_shown() -> None:
    balanced = {"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}, {"hostname": "long.example.com"}]}}
    spec = {"type": "LoadBalancer", "externalIPs": ["4.3.2.1"]}
    assert "9.9.9.9,long.example.com,4.3.2.1" in cells("services", {"metadata": {}, "spec": spec, "status": balanced})
