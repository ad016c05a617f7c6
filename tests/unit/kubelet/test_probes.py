"""Probes that cannot be carried out: neither a verdict nor the end of probing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from lightkube.models.core_v1 import Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe

from kubelet.cri import ContainerState, RuntimeContainer, RuntimeUnavailable
from kubelet.pods.handlers import Handlers, Outcome, Target
from kubelet.pods.probes import PodProbes

AWAY = RuntimeUnavailable("cannot connect to the Docker daemon")


class FakeHandlers:
    def __init__(self, *outcomes: Outcome | Exception) -> None:
        self.outcomes = list(outcomes)

    async def probe(self, probe: Probe, target: Target) -> Outcome:
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome(True)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Watched:
    """A container whose liveness probe has these outcomes and then goes well; one failure is too many."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        handlers: Any = FakeHandlers(*outcomes)
        self.handlers, self.said = handlers, list[str]()
        self.probes = PodProbes(handlers, changed=lambda: None, unhealthy=lambda _, text: self.said.append(text))
        probe = Probe(periodSeconds=0.001, failureThreshold=1, exec=ExecAction(command=["true"]))  # type: ignore[arg-type]
        container = Container(name="app", livenessProbe=probe)
        state, now = ContainerState.RUNNING, datetime.now(UTC)
        run = RuntimeContainer("id", "app", "web", "ns", "u", 0, state, "i", "sha256:1", {}, now, started=now)
        self.probes.sync([container], [run], "10.0.0.1", frozenset())

    async def spent(self) -> None:
        async with asyncio.timeout(5):
            while self.handlers.outcomes:  # noqa: ASYNC110 - the probe's own task empties it
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)


@pytest.mark.parametrize("error", [AWAY, ValueError("no URL"), OverflowError("port")])
async def test_a_probe_that_errs_restarts_nothing_and_goes_on(error: Exception) -> None:
    watched = Watched(error, error, Outcome(True))
    await watched.spent()
    assert watched.probes.findings().failed == {}
    assert watched.said == [f"Liveness probe errored and resulted in unknown state: {error}"] * 2
    watched.probes.stop()


async def test_a_probe_that_fails_restarts() -> None:
    watched = Watched(Outcome(False, "no"))
    await watched.spent()
    assert watched.probes.findings().failed == {"id": "liveness"}
    assert watched.said == ["Liveness probe failed: no"]
    watched.probes.stop()


class AwayRuntime:
    async def exec_sync(self, *_: Any, **__: Any) -> Any:
        raise AWAY


@pytest.fixture
def handlers() -> Handlers:
    runtime: Any = AwayRuntime()
    return Handlers(runtime)


async def test_a_runtime_that_is_away_is_no_answer_of_the_container(handlers: Handlers) -> None:
    action, target = ExecAction(command=["true"]), Target(Container(name="app"), "id", "10.0.0.1")
    with pytest.raises(RuntimeUnavailable):
        await handlers.probe(Probe(exec=action), target)
    assert not (await handlers.hook(LifecycleHandler(exec=action), target, 1)).ok


async def test_an_impossible_url_is_a_failed_hook(handlers: Handlers) -> None:
    action = HTTPGetAction(port=80, host="a\x00b")
    outcome = await handlers.hook(LifecycleHandler(httpGet=action), Target(Container(name="app"), "id", ""), 1)
    assert not outcome.ok
