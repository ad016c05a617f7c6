"""What should be done for a pod, from what is wanted and what is there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lightkube.models.core_v1 import EphemeralContainer, PodSpec

from kubelet.cri import SANDBOX_NAME, ContainerState, RuntimeContainer
from kubelet.pods.actions import LABEL_HASH, ProbeFindings, compute_actions, container_hash
from kubelet.pods.observed import LABEL_SANDBOX_ID, observe

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING, EXITED, CREATED = ContainerState.RUNNING, ContainerState.EXITED, ContainerState.CREATED
NO_PROBES = ProbeFindings({}, frozenset())


def spec(policy: str = "Always", init: Sequence[dict[str, Any]] = (), names: Sequence[str] = ("app",)) -> PodSpec:
    containers = [{"name": name, "image": "i"} for name in names]
    return PodSpec.from_dict({"restartPolicy": policy, "containers": containers, "initContainers": list(init)})


def there(
    name: str, state: ContainerState = RUNNING, code: int = 0, attempt: int = 0, sandbox: str = "POD-0"
) -> RuntimeContainer:
    return RuntimeContainer(
        id=f"{name}-{attempt}",
        name=name,
        pod_name="p",
        namespace="ns",
        pod_uid="u",
        attempt=attempt,
        state=state,
        image="i",
        image_id="sha256:1",
        labels={LABEL_SANDBOX_ID: sandbox},
        created=NOW + timedelta(seconds=attempt),
        exit_code=code,
        started=NOW,
        finished=NOW if state is EXITED else None,
    )


def sandbox(state: ContainerState = RUNNING, attempt: int = 0) -> RuntimeContainer:
    return there(SANDBOX_NAME, state, attempt=attempt)


def actions(wanted: PodSpec, *found: RuntimeContainer, probes: ProbeFindings = NO_PROBES) -> Any:
    return compute_actions(wanted, observe(found), probes)


def test_nothing_there_makes_a_sandbox() -> None:
    done = actions(spec())
    assert done.create_sandbox and done.attempt == 0 and not done.kill_pod
    assert actions(spec(names=("a", "b"))).start == ("a", "b")


def test_a_running_sandbox_gets_its_containers() -> None:
    assert actions(spec(names=("a", "b")), sandbox(), there("a")).start == ("b",)


def test_all_running_is_nothing_to_do() -> None:
    done = actions(spec(), sandbox(), there("app"))
    assert not (done.start or done.kill or done.kill_pod or done.create_sandbox)


def test_a_dead_sandbox_is_replaced_and_what_runs_in_it_ended() -> None:
    done = actions(spec(), sandbox(EXITED), there("app"))
    assert done.create_sandbox and done.attempt == 1 and done.kill_pod and done.start == ("app",)


def test_a_dead_sandbox_of_a_pod_that_never_restarts_is_its_end() -> None:
    done = actions(spec("Never"), sandbox(EXITED), there("app", EXITED, 137))
    assert done.kill_pod and not done.create_sandbox


def test_a_dead_sandbox_of_a_finished_pod_stays_dead() -> None:
    done = actions(spec("OnFailure"), sandbox(EXITED), there("app", EXITED, 0))
    assert done.kill_pod and not done.create_sandbox


def test_restart_policies() -> None:
    failed, succeeded = there("app", EXITED, 1), there("app", EXITED, 0)
    assert actions(spec("Always"), sandbox(), succeeded).start == ("app",)
    assert actions(spec("OnFailure"), sandbox(), failed).start == ("app",)
    assert actions(spec("OnFailure"), sandbox(), succeeded).kill_pod
    assert actions(spec("Never"), sandbox(), failed).kill_pod


def test_a_pod_goes_on_while_one_container_runs() -> None:
    done = actions(spec("Never", names=("a", "b")), sandbox(), there("a", EXITED, 0), there("b"))
    assert not done.kill_pod and not done.start


def test_what_was_created_and_never_started_is_started_anew() -> None:
    assert actions(spec("Never"), sandbox(), there("app", CREATED)).start == ("app",)


INIT = ({"name": "one", "image": "i"}, {"name": "two", "image": "i"})


def test_init_containers_one_by_one() -> None:
    wanted = spec(init=INIT)
    assert actions(wanted).start == ("one",)
    assert actions(wanted, sandbox()).start == ("one",)
    assert actions(wanted, sandbox(), there("one")).start == ()
    assert actions(wanted, sandbox(), there("one", EXITED)).start == ("two",)
    assert actions(wanted, sandbox(), there("one", EXITED), there("two", EXITED)).start == ("app",)


def test_a_failed_init_container() -> None:
    failed = there("one", EXITED, 1)
    assert actions(spec("OnFailure", INIT), sandbox(), failed).start == ("one",)
    assert actions(spec("Never", INIT), sandbox(), failed).kill_pod


def test_init_containers_of_an_earlier_sandbox_do_not_count() -> None:
    assert actions(spec(init=INIT), sandbox(attempt=1), there("one", EXITED, sandbox="POD-0")).start == ("one",)


def test_init_containers_are_not_repeated_once_the_app_has_begun() -> None:
    assert not actions(spec(init=INIT), sandbox(), there("app")).start


SIDECAR = ({"name": "side", "image": "i", "restartPolicy": "Always"},)


def test_a_sidecar_must_have_started_before_the_app() -> None:
    wanted = spec(init=SIDECAR)
    assert actions(wanted, sandbox()).start == ("side",)
    assert actions(wanted, sandbox(), there("side")).start == ()
    started = ProbeFindings({}, frozenset({"side-0"}))
    assert actions(wanted, sandbox(), there("side"), probes=started).start == ("app",)


def test_a_dead_sidecar_comes_back_beside_the_app() -> None:
    assert actions(spec(init=SIDECAR), sandbox(), there("side", EXITED), there("app")).start == ("side",)


def test_a_sidecar_alone_does_not_keep_a_finished_pod() -> None:
    found = [sandbox(), there("side"), there("app", EXITED, 0)]
    done = actions(spec("OnFailure", SIDECAR), *found, probes=ProbeFindings({}, frozenset({"side-0"})))
    assert done.kill_pod


def test_probes_that_failed_end_their_container() -> None:
    done = actions(spec(), sandbox(), there("app"), probes=ProbeFindings({"app-0": "startup"}, frozenset()))
    assert [kill.message for kill in done.kill] == ["Container app failed startup probe, will be restarted"]
    assert not done.kill_pod


def test_another_image_replaces_the_container() -> None:
    wanted = spec()
    old = there("app")
    labels = {**old.labels, LABEL_HASH: "other"}
    changed = RuntimeContainer(**{f: getattr(old, f) for f in old.__slots__} | {"labels": labels})
    assert actions(wanted, sandbox(), changed).kill[0].message == "Container app definition changed, will be restarted"
    same = {**old.labels, LABEL_HASH: container_hash(wanted.containers[0])}
    kept = RuntimeContainer(**{f: getattr(old, f) for f in old.__slots__} | {"labels": same})
    assert not actions(wanted, sandbox(), kept).kill


def debugged(policy: str = "Never", init: Sequence[dict[str, Any]] = ()) -> PodSpec:
    wanted = spec(policy, init)
    wanted.ephemeralContainers = [EphemeralContainer(name="debug", image="i", targetContainerName="app")]
    return wanted


def test_an_ephemeral_container_runs_once() -> None:
    assert actions(debugged(), sandbox(), there("app")).start == ("debug",)
    assert actions(debugged("Always"), sandbox(), there("app"), there("debug", EXITED, 1)).start == ()
    assert actions(debugged("Always"), sandbox(), there("app"), there("debug", CREATED)).start == ("debug",)


def test_an_ephemeral_container_does_not_wait_for_init_containers() -> None:
    init = {"name": "init", "image": "i"}
    assert actions(debugged(init=[init]), sandbox(), there("init")).start == ("debug",)
    assert actions(debugged(init=[init]), sandbox()).start == ("debug", "init")


def test_an_ephemeral_container_keeps_no_pod_and_makes_no_sandbox() -> None:
    assert actions(debugged(), sandbox(), there("app", EXITED), there("debug")).kill_pod
    assert actions(debugged("Always")).start == ("app",)
