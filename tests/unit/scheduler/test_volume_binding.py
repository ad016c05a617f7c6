"""Pods with claims: what holds them back, in upstream's words, and what lets them go."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.core_v1 import PersistentVolumeClaim

from tests.unit.scheduler.conftest import World, make_node, make_pod

HELP = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


def claim(name: str, phase: str, **metadata: Any) -> PersistentVolumeClaim:
    return PersistentVolumeClaim.from_dict(
        {
            "metadata": {"name": name, "namespace": "default", **metadata},
            "spec": {"volumeName": "pv-1"},
            "status": {"phase": phase},
        }
    )


@pytest.fixture
def world() -> World:
    return World().nodes(make_node("a"))


def using(*names: str) -> Any:
    volumes = [{"name": f"v-{name}", "persistentVolumeClaim": {"claimName": name}} for name in names]
    return make_pod("p", volumes=volumes)


def ephemeral() -> Any:
    return make_pod("p", volumes=[{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}])


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (None, 'persistentvolumeclaim "x" not found'),
        (claim("x", "Pending"), UNBOUND),
        (claim("x", "Lost"), 'persistentvolumeclaim "x" bound to non-existent persistentvolume "pv-1"'),
        (claim("x", "Bound", deletionTimestamp="2026-01-01T00:00:00Z"), 'persistentvolumeclaim "x" is being deleted'),
    ],
)
def test_a_claim_that_is_not_there_holds_the_pod_back(world: World, found: Any, problem: str) -> None:
    if found is not None:
        world.claims["default/x"] = found
    assert world.why(using("x")) == f"0/1 nodes are available: {problem}. {HELP}"


def test_all_claims_must_be_bound(world: World) -> None:
    world.claims |= {"default/x": claim("x", "Bound"), "default/y": claim("y", "Pending")}
    assert UNBOUND in world.why(using("x", "y"))
    world.claims["default/y"] = claim("y", "Bound")
    assert world.fits(using("x", "y")) == {"a"}


def test_claims_of_another_namespace_do_not_count(world: World) -> None:
    world.claims["other/x"] = claim("x", "Bound")
    assert "not found" in world.why(using("x"))


def test_a_generic_ephemeral_volume_waits_for_a_claim_of_its_own(world: World) -> None:
    waiting = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-scratch"'
    assert waiting in world.why(ephemeral())
    world.claims["default/p-scratch"] = claim("p-scratch", "Bound")
    assert "PVC default/p-scratch was not created for pod default/p (pod is not owner)" in world.why(ephemeral())
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "uid-p", "controller": True}
    world.claims["default/p-scratch"] = claim("p-scratch", "Bound", ownerReferences=[owner])
    assert world.fits(ephemeral()) == {"a"}
