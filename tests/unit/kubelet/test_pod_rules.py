"""Rules about pods that are pure functions: phases, whom a node fits, DNS limits, who ends before whom; and slots."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lightkube.models.core_v1 import ContainerStatus, PodSpec
from lightkube.resources.core_v1 import Node, Pod

from kubelet.pods.files import DNSConfig, fit
from kubelet.pods.fit import misfit
from kubelet.pods.handlers import health_request, health_state
from kubelet.pods.identity import probe_grace_period
from kubelet.pods.phase import compute_phase
from kubelet.pods.slots import StartSlot
from kubelet.pods.terminator import ends_before

SIDE = {"name": "side", "restartPolicy": "Always"}
RUNS: dict[str, Any] = {"running": {}}
WAITS: dict[str, Any] = {"waiting": {"reason": "CrashLoopBackOff"}}


def ended(code: int) -> dict[str, Any]:
    return {"terminated": {"exitCode": code}}


def pod(**spec: Any) -> Pod:
    spec = {"containers": [{"name": "app", "image": "i"}], **spec}
    return Pod.from_dict({"metadata": {"name": "web", "namespace": "ns", "uid": "u"}, "spec": spec})


def container(name: str, state: dict[str, Any], last: dict[str, Any] | None = None, **more: Any) -> ContainerStatus:
    body = {"image": "i", "imageID": "", "ready": False, "restartCount": 0, "lastState": last or {}, **more}
    return ContainerStatus.from_dict({"name": name, "state": state, **body})


@pytest.mark.parametrize(
    ("policy", "statuses", "terminal", "phase"),
    [
        ("Never", [("side", RUNS, True), ("app", ended(0), None)], False, "Running"),
        ("Never", [("side", ended(1), None), ("app", ended(0), None)], False, "Succeeded"),
        ("Always", [("side", RUNS, False), ("app", {}, None)], False, "Pending"),
        ("Always", [("side", RUNS, False), ("app", RUNS, True)], False, "Running"),
        ("Always", [("side", ended(0), None), ("app", ended(0), None)], True, "Succeeded"),
        ("Always", [("side", ended(0), None), ("app", ended(137), None)], True, "Failed"),
        ("Always", [("side", ended(0), None), ("app", ended(137), None)], False, "Running"),
        ("OnFailure", [("side", RUNS, True), ("app", {}, None)], True, "Pending"),
    ],
)
def test_phases_with_sidecars(policy: str, statuses: list[Any], terminal: bool, phase: str) -> None:
    spec = pod(restartPolicy=policy, initContainers=[SIDE]).spec
    assert spec is not None
    made = [container(name, state, started=started) for name, state, started in statuses]
    assert compute_phase(spec, made, terminal=terminal) == phase


def test_a_container_that_waits_for_its_next_run_has_ended() -> None:
    spec = pod(restartPolicy="Always").spec
    assert spec is not None
    assert compute_phase(spec, [container("app", WAITS, ended(1))]) == "Running"
    assert compute_phase(spec, [container("app", WAITS)]) == "Pending"


def node(taint: str = "") -> Node:
    taints = [{"key": "k", "effect": taint}] if taint else []
    return Node.from_dict(
        {"metadata": {"name": "n", "labels": {"zone": "a", "cores": "8"}}, "spec": {"taints": taints}}
    )


def required(**term: Any) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "no", "operator": "Exists"}]}, term]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


@pytest.mark.parametrize(
    ("spec", "predicate"),
    [
        ({"nodeSelector": {"zone": "a"}}, None),
        ({"nodeSelector": {"zone": "b"}}, "NodeAffinity"),
        (required(matchExpressions=[{"key": "zone", "operator": "In", "values": ["a", "b"]}]), None),
        (required(matchExpressions=[{"key": "zone", "operator": "NotIn", "values": ["a"]}]), "NodeAffinity"),
        (required(matchExpressions=[{"key": "cores", "operator": "Gt", "values": ["4"]}]), None),
        (required(matchExpressions=[{"key": "cores", "operator": "Lt", "values": ["4"]}]), "NodeAffinity"),
        (required(matchFields=[{"key": "metadata.name", "operator": "In", "values": ["n"]}]), None),
        (required(matchFields=[{"key": "metadata.name", "operator": "In", "values": ["m"]}]), "NodeAffinity"),
        (required(), "NodeAffinity"),
    ],
)
def test_labels(spec: dict[str, Any], predicate: str | None) -> None:
    found = misfit(pod(**spec), [], node())
    assert (found[0] if found else None) == predicate


def test_ports_and_taints() -> None:
    def opens(port: int, **more: Any) -> Pod:
        ports = [{"containerPort": 80, "hostPort": port, **more}]
        return pod(containers=[{"name": "app", "image": "i", "ports": ports}])

    taken = opens(8080)
    for each, clash in (
        (opens(8080), True), (opens(8081), False), (opens(8080, protocol="UDP"), False),
        (opens(8080, hostIP="192.0.2.1"), True), (pod(), False),
    ):  # fmt: skip
        assert (misfit(each, [taken], node()) is not None) is clash
    two = opens(8080, hostIP="192.0.2.1"), opens(8080, hostIP="192.0.2.2")
    assert misfit(two[0], [two[1]], node()) is None
    assert misfit(pod(), [], node("NoSchedule")) is None
    assert misfit(pod(), [], node("NoExecute")) == (
        "TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
    )  # fmt: skip
    assert misfit(pod(), [], node("NoExecute"), static=True) is None
    assert misfit(pod(tolerations=[{"operator": "Exists"}]), [], node("NoExecute")) is None


def test_dns_limits() -> None:
    fitting = DNSConfig(("a", "b", "c"), tuple(f"s{n}" for n in range(32)), ("ndots:5",))
    assert fit(fitting) == (fitting, [])
    made, said = fit(DNSConfig(("a", "b", "c", "d"), (*(f"s{n}" for n in range(33)), "x" * 254)))
    assert made.servers == ("a", "b", "c")
    assert len(made.searches) == 32
    assert [text.partition(" limits")[0] for text in said] == ["Nameserver", "Search Line"]
    long = tuple(f"{n:02}{'x' * 198}" for n in range(12))
    assert len(fit(DNSConfig((), long))[0].searches) == 10


def test_health_messages() -> None:
    assert health_request("") == b""
    assert health_request("ab") == b"\x0a\x02ab"
    assert health_request("x" * 300) == b"\x0a\xac\x02" + b"x" * 300
    assert [health_state(each) for each in (b"", b"\x08\x01", b"\x08\x02", b"\x08\x03", b"\x08\x09")] == [
        "UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN", "9",
    ]  # fmt: skip


def test_who_ends_before_whom() -> None:
    init = [{**SIDE, "name": "one"}, {"name": "once"}, {**SIDE, "name": "two"}]
    spec = pod(initContainers=init).spec
    assert isinstance(spec, PodSpec)
    assert ends_before(spec, "app") == ends_before(spec, "once") == []
    assert ends_before(spec, "two") == ["app"]
    assert ends_before(spec, "one") == ["app", "two"]


def test_grace_periods_of_probes() -> None:
    probe = {"terminationGracePeriodSeconds": 3}
    made = pod(
        containers=[{"name": "app", "livenessProbe": probe, "startupProbe": {}}], terminationGracePeriodSeconds=9
    )
    assert [probe_grace_period(made, "app", kind) for kind in ("liveness", "startup", "")] == [3, 9, 9]


async def test_a_slot_is_lent_while_a_step_is_long() -> None:
    semaphore, done = asyncio.Semaphore(1), asyncio.Event()

    async def long() -> str:
        await done.wait()
        return "done"

    async with StartSlot(semaphore) as slot:
        lent = asyncio.create_task(slot.lend(long()))
        async with asyncio.timeout(10), StartSlot(semaphore):  # somebody else has it meanwhile
            done.set()
            await asyncio.sleep(0)
            assert not lent.done()
        assert await lent == "done"
        assert semaphore.locked()
    assert not semaphore.locked()


async def test_a_slot_is_given_back_when_a_step_fails_or_is_cancelled() -> None:
    semaphore = asyncio.Semaphore(1)

    async def fails() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        async with StartSlot(semaphore) as slot:
            await slot.lend(fails())
    assert not semaphore.locked()

    async def waits() -> None:
        async with StartSlot(semaphore) as slot:
            await slot.lend(asyncio.sleep(60))

    task = asyncio.create_task(waits())
    async with asyncio.timeout(10), StartSlot(semaphore):
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not semaphore.locked()
