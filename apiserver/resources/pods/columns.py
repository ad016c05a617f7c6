"""What ``kubectl get pods`` shows: the state of a pod in one word, as people know it from upstream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from apiserver.resources.columns import AGE, NAME, NONE, cell, dig, human_duration, seconds_since, text
from apiserver.types import Object

Status = dict[str, Any]


@dataclass
class Summary:
    ready: int
    total: int
    reason: str
    restarts: int
    last_restart: str


def summarize(pod: Object) -> Summary:
    """Upstream: printPod in pkg/printers/internalversion."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    sidecars = {c["name"] for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"}
    summary = Summary(0, len(spec.get("containers") or ()) + len(sidecars), _base_reason(status), 0, "")
    inits = status.get("initContainerStatuses") or ()
    initializing = _count_init(summary, inits, sidecars, len(spec.get("initContainers") or ()))
    if not initializing or _condition(status, "Initialized"):
        started = [c for c in inits if c.get("name") in sidecars]
        summary.restarts = sum(c.get("restartCount", 0) for c in started)
        summary.last_restart = _last_restart(started)
        _count_containers(summary, status)
    if dig(pod, "metadata", "deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            summary.reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            summary.reason = "Terminating"
    return summary


def _base_reason(status: Status) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            return "SchedulingGated"
    return status.get("reason") or status.get("phase") or ""


def _count_init(summary: Summary, statuses: Iterable[Status], sidecars: set[str], count: int) -> bool:
    """Whether the pod is still initialising; the reason then says how far it is."""
    seen: list[Status] = []
    for i, container in enumerate(statuses):
        seen.append(container)
        summary.restarts = sum(c.get("restartCount", 0) for c in seen)
        summary.last_restart = _last_restart(seen)
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if container.get("name") in sidecars and container.get("started"):
            summary.ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            summary.reason = f"Init:{terminated.get('reason') or _exit_text(terminated)}"
        elif waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            summary.reason = f"Init:{waiting['reason']}"
        else:
            summary.reason = f"Init:{i}/{count}"
        return True
    return False


def _count_containers(summary: Summary, status: Status) -> None:
    running = False
    statuses = status.get("containerStatuses") or ()
    for container in reversed(statuses):
        summary.restarts += container.get("restartCount", 0)
        state = container.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if waiting and waiting.get("reason"):
            summary.reason = waiting["reason"]
        elif terminated is not None:
            summary.reason = terminated.get("reason") or _exit_text(terminated)
        elif container.get("ready") and state.get("running") is not None:
            running = True
            summary.ready += 1
    summary.last_restart = max(summary.last_restart, _last_restart(statuses))
    if summary.reason == "Completed" and running:
        summary.reason = "Running" if _condition(status, "Ready") else "NotReady"


def _exit_text(terminated: Status) -> str:
    signal = terminated.get("signal")
    return f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode', 0)}"


def _last_restart(statuses: Iterable[Status]) -> str:
    return max((dig(c, "lastState", "terminated", "finishedAt") or "" for c in statuses), default="")


def _condition(status: Status, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ())


def _ready(pod: Object) -> str:
    summary = summarize(pod)
    return f"{summary.ready}/{summary.total}"


def _restarts(pod: Object) -> str:
    summary = summarize(pod)
    if summary.restarts and summary.last_restart:
        return f"{summary.restarts} ({human_duration(seconds_since(summary.last_restart))} ago)"
    return str(summary.restarts)


def _ip(pod: Object) -> str:
    ips = dig(pod, "status", "podIPs")
    return (ips[0].get("ip") if ips else dig(pod, "status", "podIP")) or NONE


def _gates(pod: Object) -> str:
    gates = dig(pod, "spec", "readinessGates")
    if not gates:
        return NONE
    status = pod.get("status") or {}
    return f"{sum(_condition(status, gate.get('conditionType', '')) for gate in gates)}/{len(gates)}"


COLUMNS = (
    NAME,
    cell("Ready", _ready),
    cell("Status", lambda pod: summarize(pod).reason),
    cell("Restarts", _restarts),
    AGE,
    cell("IP", _ip, priority=1),
    text("Node", "spec", "nodeName", priority=1, empty=NONE),
    text("Nominated Node", "status", "nominatedNodeName", priority=1, empty=NONE),
    cell("Readiness Gates", _gates, priority=1),
)

_COMPLETED = {
    "Succeeded": [
        {
            "type": "Completed",
            "status": "True",
            "reason": "Succeeded",
            "message": "The pod has completed successfully.",
        }
    ],
    "Failed": [{"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."}],
}


def row_conditions(pod: Object) -> list[Object]:
    """By these, kubectl leaves out the pods that have ended, where it is asked to."""
    return _COMPLETED.get(dig(pod, "status", "phase") or "", [])
