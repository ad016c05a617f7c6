"""What a pod was promised, has and wants: the decisions about it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import Pod

from kubelet.cri import SANDBOX_NAME, ContainerState, Resources, RuntimeContainer
from kubelet.pods.observed import LABEL_SANDBOX_ID, PodObservation
from kubelet.pods.resizer import FILE, Resizer
from kubelet.pods.resources import allocation_of, same, show, steps, with_allocation
from kubelet.types import KubeletConfig

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = KubeletConfig("n1", ())


def pod(cpu: str, memory: str = "32Mi", policy: str = "", status: dict[str, Any] | None = None) -> Pod:
    resources = {"requests": {"cpu": cpu, "memory": memory, "example.com/x": "1"}, "limits": {"memory": memory}}
    container: dict[str, Any] = {"name": "app", "image": "i", "resources": resources}
    if policy:
        container["resizePolicy"] = [{"resourceName": policy, "restartPolicy": "RestartContainer"}]
    meta = {"name": "web", "namespace": "ns", "uid": "u"}
    return Pod.from_dict({"metadata": meta, "spec": {"containers": [container]}, "status": status or {}})


def spec(made: Pod) -> Any:
    return made.spec


def running(cpu_shares: int, memory: int, cpu_quota: int = 0) -> PodObservation:
    def container(name: str, labels: dict[str, str], resources: Resources) -> RuntimeContainer:
        state = ContainerState.RUNNING
        return RuntimeContainer(name, name, "web", "ns", "u", 0, state, "i", "", labels, NOW, resources=resources)

    app = container("app", {LABEL_SANDBOX_ID: SANDBOX_NAME}, Resources(cpu_shares, 100_000, cpu_quota, memory))
    return PodObservation((container(SANDBOX_NAME, {}, Resources()),), {"app": (app,)})


def test_amounts_are_compared_and_not_their_words() -> None:
    assert same(allocation_of(spec(pod("100m"))), allocation_of(spec(pod("0.1", "33554432"))))
    assert not same(allocation_of(spec(pod("100m"))), allocation_of(spec(pod("101m"))))


def test_a_pod_as_it_was_promised() -> None:
    wanted = pod("500m", "64Mi")
    promised = with_allocation(wanted, allocation_of(spec(pod("100m"))))
    own = spec(promised).containers[0].resources
    assert (own.requests["cpu"], own.limits["memory"], own.requests["example.com/x"]) == ("100m", "32Mi", "1")
    assert spec(wanted).containers[0].resources.requests["cpu"] == "500m"
    assert with_allocation(wanted, allocation_of(spec(wanted))) is wanted


def test_only_what_differs_is_changed() -> None:
    assert steps(pod("100m"), running(102, 32 << 20), CONFIG) == []
    found = steps(pod("200m", "64Mi"), running(102, 32 << 20), CONFIG)
    assert [(each.wanted.cpu_shares, each.wanted.memory_bytes, each.restart) for each in found] == [
        (204, 64 << 20, False)
    ]
    assert steps(pod("200m", policy="memory"), running(102, 32 << 20), CONFIG)[0].restart is False
    assert steps(pod("100m", "64Mi", policy="memory"), running(102, 32 << 20), CONFIG)[0].restart is True
    assert steps(pod("200m"), PodObservation(), CONFIG) == []


def test_a_status_tells_what_is_there_and_what_was_promised() -> None:
    status = ContainerStatus("i", "", "app", True, 0)
    wanted = pod("200m", "64Mi")
    show(status, wanted, spec(wanted).containers[0], running(102, 32 << 20).latest("app"), CONFIG)
    assert status.allocatedResources == {"cpu": "200m", "memory": "64Mi", "example.com/x": "1"}
    assert status.resources is not None
    assert status.resources.requests == {"cpu": "100m", "memory": "64Mi", "example.com/x": "1"}
    assert status.resources.limits == {"memory": "32Mi"}
    show(status, wanted, spec(wanted).containers[0], running(204, 64 << 20).latest("app"), CONFIG)
    assert status.resources.requests == status.allocatedResources


def test_a_promise_outlives_the_kubelet(tmp_path: Path) -> None:
    answers = ["Deferred", "", "Infeasible"]
    tools: Any = SimpleNamespace(config=CONFIG)

    async def main() -> None:
        resizer = Resizer(pod("100m"), tools, tmp_path, lambda _: answers.pop(0))
        assert not resizer.pending
        kept = resizer.seen(pod("200m"))
        assert resizer.pending
        assert spec(kept).containers[0].resources.requests["cpu"] == "100m"
        assert spec(await resizer.decide()).containers[0].resources.requests["cpu"] == "100m"
        assert (resizer.status, resizer.retry) == ("Deferred", 10.0)
        assert not (tmp_path / FILE).exists()
        assert spec(await resizer.decide()).containers[0].resources.requests["cpu"] == "200m"
        assert resizer.status is None
        later = Resizer(pod("300m"), tools, tmp_path, lambda _: answers.pop(0))
        assert spec(await later.decide()).containers[0].resources.requests["cpu"] == "200m"
        assert later.status == "Infeasible"
        (tmp_path / FILE).write_text("{broken")
        shown = {"name": "app", "image": "i", "imageID": "", "ready": True, "restartCount": 0}
        said = {"containerStatuses": [{**shown, "resources": {"requests": {"cpu": "150m"}}}]}
        assert Resizer(pod("300m", status=said), tools, tmp_path, None).pending
        assert not Resizer(pod("300m"), tools, tmp_path, None).pending

    asyncio.run(main())
