"""Endpoints and EndpointSlices from services and pods."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from lightkube.resources.discovery_v1 import EndpointSlice

from controller_manager.endpoints import backends, legacy, slices
from tests.unit.controller_manager.builders import at, pod, service


def ip(number: int) -> str:
    return f"10.244.{number // 250}.{number % 250 + 1}"


def pods(*numbers: int, **extra):
    return [pod(f"p{n}", ip=ip(n), **extra) for n in numbers]


def stored(each: EndpointSlice, name: str) -> EndpointSlice:
    """As the server keeps it."""
    each = EndpointSlice.from_dict(each.to_dict())
    each.metadata.name = name
    return each


def apply(existing: list[EndpointSlice], plan: slices.Plan, counter: list[int]) -> list[EndpointSlice]:
    by_name = {each.metadata.name: each for each in existing}
    for each in plan.update:
        by_name[each.metadata.name] = each
    for each in plan.delete:
        del by_name[each.metadata.name]
    for each in plan.create:
        counter[0] += 1
        by_name[f"web-{counter[0]}"] = stored(each, f"web-{counter[0]}")
    return list(by_name.values())


def test_conditions():
    web, publish = service(), service(publishNotReadyAddresses=True)
    assert backends.conditions(pod("a"), web) == backends.Conditions(True, True, False)
    assert backends.conditions(pod("a", ready=False), web) == backends.Conditions(False, False, False)
    assert backends.conditions(pod("a", deleting=True), web) == backends.Conditions(False, True, True)
    assert backends.conditions(pod("a", ready=False), publish) == backends.Conditions(True, False, False)


def test_named_ports_are_looked_up_by_protocol():
    named = service(ports=[{"name": "dns", "port": 53, "targetPort": "dns", "protocol": "UDP"}])
    both = [
        {"name": "dns", "containerPort": 5301, "protocol": "TCP"},
        {"name": "dns", "containerPort": 5302, "protocol": "UDP"},
    ]
    assert backends.ports(pod("a", ports=both), named) == (backends.Port("dns", 5302, "UDP"),)
    assert backends.ports(pod("a"), named) == ()
    assert backends.ports(pod("a"), service(ports=[{"port": 80}])) == (backends.Port("", 80, "TCP"),)


def test_a_first_slice():
    plan = slices.plan(service(), pods(1, 2), {"n1": "east"}, [])
    assert (plan.update, plan.delete, len(plan.create)) == ([], [], 1)
    made = plan.create[0]
    assert made.metadata.generateName == "web-"
    assert made.metadata.labels == {
        "app": "web",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert made.metadata.ownerReferences[0].kind == "Service"
    assert (made.addressType, made.ports[0].port, made.ports[0].name) == ("IPv4", 8080, "")
    first = made.endpoints[0]
    assert (first.addresses, first.nodeName, first.zone, first.targetRef.name) == ([ip(1)], "n1", "east", "p1")


def test_a_service_without_pods_has_one_empty_slice():
    plan = slices.plan(service(), [], {}, [])
    assert [each.endpoints for each in plan.create] == [[]]
    existing = [stored(plan.create[0], "web-1")]
    again = slices.plan(service(), [], {}, existing)
    assert (again.create, again.update, again.delete) == ([], [], [])
    filled = slices.plan(service(), pods(1), {}, existing)
    assert (len(filled.create), [each.metadata.name for each in filled.delete]) == (1, ["web-1"])


def test_headless_services_are_labelled():
    plan = slices.plan(service(clusterIP="None"), pods(1), {}, [])
    assert plan.create[0].metadata.labels["service.kubernetes.io/headless"] == ""


def test_dual_stack_has_a_slice_for_each_family():
    both = pod("a", ip="10.244.0.1")
    both.status.podIPs.append(type(both.status.podIPs[0])(ip="fd00::1"))
    plan = slices.plan(service(ipFamilies=["IPv4", "IPv6"]), [both], {}, [])
    found = sorted((each.addressType, each.endpoints[0].addresses) for each in plan.create)
    assert found == [("IPv4", ["10.244.0.1"]), ("IPv6", ["fd00::1"])]


def test_one_pod_that_changes_costs_one_write():
    existing = apply([], slices.plan(service(), pods(*range(250)), {}, []), [0])
    assert sorted(len(each.endpoints) for each in existing) == [50, 100, 100]
    changed = pods(*range(250))
    changed[120] = pod("p120", ip=ip(120), ready=False)
    plan = slices.plan(service(), changed, {}, existing)
    assert (len(plan.create), len(plan.update), len(plan.delete)) == (0, 1, 0)
    assert slices.plan(service(), pods(*range(250)), {}, existing) == slices.Plan()


def test_ended_pods_and_pods_without_address_are_no_endpoints():
    gone = [pod("a", ip=ip(1), phase="Succeeded"), pod("b"), pod("c", ip=ip(3), deleting=True, ready=False)]
    plan = slices.plan(service(), gone, {}, [])
    assert [e.targetRef.name for e in plan.create[0].endpoints] == ["c"]
    assert legacy.subsets(service(), gone) == []


@given(st.lists(st.sets(st.integers(0, 320), max_size=320), min_size=1, max_size=5))
def test_slices_always_say_where_the_pods_are(steps):
    """Whatever came before: no endpoint is missing or doubled, no slice too full, and a second look changes nothing."""
    existing: list[EndpointSlice] = []
    counter = [0]
    for numbers in steps:
        wanted = pods(*sorted(numbers))
        existing = apply(existing, slices.plan(service(), wanted, {}, existing), counter)
        found = [e.addresses[0] for each in existing for e in each.endpoints]
        assert sorted(found) == sorted(ip(n) for n in numbers)
        assert all(len(each.endpoints) <= slices.MAX_ENDPOINTS for each in existing)
        assert len(existing) >= 1
        assert slices.plan(service(), wanted, {}, existing) == slices.Plan()


def test_endpoints_sort_pods_by_readiness():
    found = legacy.subsets(service(), [*pods(2, 1), *pods(3, ready=False), *pods(4, deleting=True)])
    assert len(found) == 1
    assert [a.ip for a in found[0].addresses] == [ip(1), ip(2)]
    assert [a.ip for a in found[0].notReadyAddresses] == [ip(3)]
    assert (found[0].ports[0].port, found[0].ports[0].name) == (8080, None)


def test_endpoints_are_written_only_when_they_change():
    first = legacy.desired(service(), pods(1), None)
    assert first.metadata.annotations == {backends.LAST_CHANGE: "2026-01-01T00:00:00Z"}
    assert legacy.desired(service(), pods(1), first) is None
    assert legacy.desired(service(), pods(1, ready_at=5), first) is None
    second = legacy.desired(service(), pods(1, 2, ready_at=5), first)
    assert second.metadata.annotations[backends.LAST_CHANGE] == at(5).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_endpoints_hold_a_thousand_addresses_at_most():
    made = legacy.desired(service(), [*pods(*range(990)), *pods(*range(1000, 1050), ready=False)], None)
    ready, not_ready = made.subsets[0].addresses, made.subsets[0].notReadyAddresses
    assert (len(ready), len(not_ready)) == (990, 10)
    assert made.metadata.annotations[legacy.OVER_CAPACITY] == "truncated"
