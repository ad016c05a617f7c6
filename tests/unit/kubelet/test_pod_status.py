"""A pod's status and its patch: pure functions."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lightkube.models.core_v1 import EphemeralContainer, PodStatus
from lightkube.resources.core_v1 import Pod

from kubelet.cri import SANDBOX_NAME, ContainerState, RuntimeContainer
from kubelet.pods.identity import PodIdentity
from kubelet.pods.observed import observe
from kubelet.pods.status import Findings, Waiting, build_status
from kubelet.pods.writer import status_patch

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING, EXITED = ContainerState.RUNNING, ContainerState.EXITED
ME = PodIdentity("web", "ns", "u")


def pod(policy: str = "Always", init: bool = False, status: PodStatus | None = None) -> Pod:
    spec: dict[str, Any] = {"restartPolicy": policy, "containers": [{"name": "app", "image": "i:1"}]}
    if init:
        spec["initContainers"] = [{"name": "init", "image": "i:1"}]
    made = Pod.from_dict({"metadata": {"name": "web", "namespace": "ns", "uid": "u"}, "spec": spec})
    made.status = status
    return made


def there(name: str, state: ContainerState = RUNNING, code: int = 0, attempt: int = 0) -> RuntimeContainer:
    return RuntimeContainer(
        f"{name}-{attempt}", name, "web", "ns", "u", attempt, state, "i:1", "sha256:1", {}, NOW, exit_code=code,
        started=NOW, finished=NOW if state is EXITED else None,
    )  # fmt: skip


SANDBOX = there(SANDBOX_NAME)
FOUND = Findings(now=NOW, pod_ips=("10.0.0.1",), host_ips=("192.0.2.1",))


def status(of: Pod, *containers: RuntimeContainer, **found: Any) -> PodStatus:
    return build_status(of, observe([SANDBOX, *containers]), dataclasses.replace(FOUND, **found))


def conditions(of: PodStatus) -> dict[str, str]:
    return {each.type: each.status for each in of.conditions or ()}


def only(of: PodStatus) -> Any:
    assert of.containerStatuses is not None
    return of.containerStatuses[0]


@pytest.mark.parametrize(
    ("policy", "state", "code", "phase"),
    [
        ("Always", RUNNING, 0, "Running"),
        ("Always", EXITED, 0, "Running"),
        ("Always", EXITED, 1, "Running"),
        ("OnFailure", EXITED, 0, "Succeeded"),
        ("OnFailure", EXITED, 1, "Running"),
        ("Never", EXITED, 0, "Succeeded"),
        ("Never", EXITED, 1, "Failed"),
    ],
)
def test_phase(policy: str, state: ContainerState, code: int, phase: str) -> None:
    assert status(pod(policy), there("app", state, code)).phase == phase


def test_before_anything_runs() -> None:
    made = status(pod())
    assert made.phase == "Pending"
    assert only(made).state.waiting.reason == "ContainerCreating"
    assert conditions(made)["Ready"] == "False"
    ready = next(each for each in made.conditions or () if each.type == "Ready")
    assert (ready.reason, ready.message) == ("ContainersNotReady", "containers with unready status: [app]")


def test_ready_needs_the_readiness_finding() -> None:
    assert conditions(status(pod(), there("app")))["Ready"] == "False"
    made = status(pod(), there("app"), ready=frozenset({"app-0"}), started=frozenset({"app-0"}))
    assert conditions(made) == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
        "PodScheduled": "True",
    }


def test_a_readiness_gate_that_nobody_has_set() -> None:
    made = pod()
    assert made.spec is not None
    made.spec = type(made.spec).from_dict({**made.spec.to_dict(), "readinessGates": [{"conditionType": "x/y"}]})
    given = status(made, there("app"), ready=frozenset({"app-0"}))
    assert (conditions(given)["Ready"], conditions(given)["ContainersReady"]) == ("False", "True")


def test_back_off_shows_the_last_termination() -> None:
    waiting = {"app": Waiting("CrashLoopBackOff", "back-off")}
    made = only(status(pod(), there("app", EXITED, 2, attempt=3), waiting=waiting))
    assert made.state.waiting.reason == "CrashLoopBackOff"
    assert (made.lastState.terminated.exitCode, made.restartCount, made.ready) == (2, 3, False)
    assert status(pod(), there("app", EXITED, 2), waiting=waiting).phase == "Running"


def test_a_restart_shows_what_was_before() -> None:
    made = only(status(pod(), there("app", EXITED, 137), there("app", attempt=1)))
    assert made.state.running and made.lastState.terminated.exitCode == 137 and made.restartCount == 1


def test_the_last_state_is_not_lost_with_its_container() -> None:
    before = status(pod(), there("app", EXITED, 137), there("app", attempt=1))
    assert only(status(pod(status=before), there("app", attempt=1))).lastState.terminated.exitCode == 137


def test_reasons_of_an_end() -> None:
    killed = dataclasses.replace(there("app", EXITED, 137), oom_killed=True)
    unstarted = dataclasses.replace(there("app", EXITED, 127), started=None, error="no such file")
    assert only(status(pod(), killed)).state.terminated.reason == "OOMKilled"
    assert only(status(pod(), unstarted)).state.terminated.reason == "StartError"
    assert only(status(pod(), there("app", EXITED, 0))).state.terminated.reason == "Completed"


def test_init_containers_hold_the_pod_back() -> None:
    made = status(pod(init=True), there("init"))
    assert made.phase == "Pending" and conditions(made)["Initialized"] == "False"
    assert only(made).state.waiting.reason == "PodInitializing"
    done = status(pod(init=True), there("init", EXITED), there("app"))
    assert done.phase == "Running" and conditions(done)["Initialized"] == "True"
    assert status(pod("Never", init=True), there("init", EXITED, 1)).phase == "Failed"


def test_a_deleted_pod_reaches_a_terminal_phase_whatever_its_policy() -> None:
    assert status(pod("Always"), there("app", EXITED, 0), terminating=True).phase == "Succeeded"
    assert status(pod("Always"), there("app", EXITED, 137), terminating=True).phase == "Failed"
    assert status(pod("Always"), there("app"), terminating=True).phase == "Running"


def test_a_terminal_phase_is_final() -> None:
    assert status(pod(status=PodStatus(phase="Failed", reason="Evicted"))).phase == "Failed"


def test_transition_times_stay_while_nothing_changes() -> None:
    first = status(pod(), there("app"))
    later = status(pod(status=first), there("app"), now=NOW + timedelta(hours=1))
    assert later.to_dict() == first.to_dict()


def test_no_patch_without_a_difference() -> None:
    made = status(pod(), there("app"))
    assert status_patch(ME, made, made) is None


def test_a_patch_says_what_changed_and_what_is_gone() -> None:
    before = status(pod(), there("app"))
    after = status(pod(status=before), there("app"), ready=frozenset({"app-0"}))
    patch = status_patch(ME, before, after)
    assert patch is not None and patch["metadata"] == {"uid": "u"}
    assert set(patch["status"]) == {"conditions", "containerStatuses"}
    ready = next(each for each in patch["status"]["conditions"] if each["type"] == "Ready")
    assert ready["status"] == "True" and ready["reason"] is None and ready["message"] is None
    assert "PodScheduled" not in {each["type"] for each in patch["status"]["conditions"]}


def test_a_changed_address_replaces_the_old_one() -> None:
    before = status(pod(), there("app"))
    after = status(pod(status=before), there("app"), pod_ips=("10.0.0.9",))
    patch = status_patch(ME, before, after)
    assert patch is not None
    assert patch["status"]["podIPs"] == [{"$patch": "replace"}, {"ip": "10.0.0.9"}]


def test_a_status_that_came_back_from_the_api_server_is_the_same() -> None:
    waiting = {"app": Waiting("CrashLoopBackOff", "back-off 10s")}
    made = status(pod(init=True), there("init", EXITED), there("app", EXITED, 1), waiting=waiting)
    assert status_patch(ME, PodStatus.from_dict(json.loads(json.dumps(made.to_dict()))), made) is None


def test_ephemeral_containers_have_statuses_of_their_own() -> None:
    debugged = pod()
    assert debugged.spec is not None
    debugged.spec.ephemeralContainers = [EphemeralContainer(name="debug", image="i:1")]
    before = build_status(debugged, observe([there(SANDBOX_NAME), there("app")]), Findings(NOW))
    [waiting] = before.ephemeralContainerStatuses or []
    assert waiting.state is not None and waiting.state.waiting is not None
    assert waiting.state.waiting.reason == "ContainerCreating"
    seen = observe([there(SANDBOX_NAME), there("app"), there("debug")])
    after = build_status(debugged, seen, Findings(NOW, ready=frozenset({"app-0", "debug-0"})))
    [running] = after.ephemeralContainerStatuses or []
    assert running.state is not None and running.state.running is not None
    assert (running.ready, running.started, running.restartCount) == (False, None, 0)
    assert [each.name for each in after.containerStatuses or []] == ["app"]
    assert {each.type: each.status for each in after.conditions or []}["Ready"] == "True"
    ended = build_status(
        debugged, observe([there(SANDBOX_NAME), there("app"), there("debug", EXITED, 1)]), Findings(NOW)
    )
    assert ended.phase == "Running"
