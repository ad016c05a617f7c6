"""Which pods the manager takes, while Docker says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from kubelet.cri import RuntimeUnavailable
from kubelet.manager import WORKER_RETRY_SECONDS, PodManager
from kubelet.pods.worker import PodWorker
from kubelet.types import KubeletConfig


class AwayRuntime:
    async def list_containers(self, pod_uid: str | None = None) -> Any:
        raise RuntimeUnavailable("cannot connect to the Docker daemon")


def pod(name: str, cpu: str) -> Pod:
    container = {"name": "app", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    return Pod.from_dict(
        {"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": {"containers": [container]}}
    )


@pytest.fixture
async def manager(tmp_path: Any) -> AsyncIterator[PodManager]:
    nothing: Any = SimpleNamespace(event=lambda *_, **__: None)
    store = SimpleNamespace(by_index=lambda *_: [], get=lambda _: None)
    informers: Any = SimpleNamespace(
        informer=lambda *_, **__: SimpleNamespace(add_handler=lambda *_: None, store=store, wait_synced=None)
    )
    runtime: Any = AwayRuntime()
    config = KubeletConfig("n1", ("192.0.2.1",), root_dir=str(tmp_path), capacity={"cpu": 1000})
    made = PodManager(
        config,
        nothing,
        runtime=runtime,
        network=nothing,
        volumes=nothing,
        objects=nothing,
        recorder=nothing,
        logs=nothing,
        informers=informers,
    )
    yield made
    for task in made._tasks.values():
        task.cancel()
    await asyncio.gather(*made._tasks.values(), return_exceptions=True)


async def test_a_pod_that_the_api_server_has_forgotten_leaves_room_for_its_successor(manager: PodManager) -> None:
    """The scheduler has counted its room as free since it was deleted: a refusal would fail the next pod for good."""
    first, second = pod("first", "1"), pod("second", "1")
    manager._added(first)
    rejection = manager._judge(second, None).rejection
    assert rejection is not None and rejection[0] == "OutOfcpu"
    manager._deleted(first)
    assert manager._judge(second, None).rejection is None


async def test_containers_that_have_not_been_seen_for_long_make_the_node_unready(
    manager: PodManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert manager.problem() is None
    seen = manager._relisted
    monkeypatch.setattr("time.monotonic", lambda: seen + 190.5)
    text = "PLEG is not healthy: pleg was last seen active 3m10.5s ago; threshold is 3m0s"
    assert manager.problem() == text


async def test_a_worker_that_fails_is_replaced_without_haste(
    manager: PodManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts, delays = list[str](), list[float]()

    async def fail(worker: PodWorker) -> None:
        starts.append(worker.identity.name)
        raise ValueError("a fault in the worker")

    def later(delay: float, again: Callable[..., None], *args: Any) -> None:
        delays.append(delay)
        if len(delays) == 1:
            again(*args)

    monkeypatch.setattr(PodWorker, "run", fail)
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", later)
    first = pod("first", "1")
    manager._pods.store.get = lambda _: first  # type: ignore[method-assign]
    manager._added(first)
    for _ in range(20):
        await asyncio.sleep(0)
    assert starts == ["first", "first"]
    assert delays == [WORKER_RETRY_SECONDS] * 2
