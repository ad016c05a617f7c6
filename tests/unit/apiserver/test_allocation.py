"""Pools of numbers, and what Services get from them."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.allocation import ServiceAllocation
from apiserver.allocation.pool import AlreadyAllocated, NotInRange, Pool, RangeFull, static_band
from apiserver.allocation.spec import claims_of
from common.api.status import Invalid
from tests.unit.apiserver.fakes import MemoryRegistry, review


@pytest.mark.parametrize(
    ("size", "step", "limit", "band"),
    [(65534, 16, 256, 256), (254, 16, 256, 16), (1022, 16, 256, 63), (2768, 32, 128, 86), (14, 16, 256, 0)],
)
def test_static_band(size: int, step: int, limit: int, band: int) -> None:
    assert static_band(size, step, limit) == band


def test_automatic_choices_leave_the_lower_band_until_the_upper_is_full() -> None:
    numbers = Pool(0, 9, 4)
    for expected in ({4, 5, 6, 7, 8, 9}, {0, 1, 2, 3}):
        chosen = set()
        for number in expected:
            chosen.add(found := numbers.choose())
            numbers.observe(f"o{number}", [found])
        assert chosen == expected
    with pytest.raises(RangeFull):
        numbers.choose()


def test_requests_at_one_time_get_different_proposals_while_there_are_any() -> None:
    numbers = Pool(0, 9, 0)
    assert {numbers.choose() for _ in range(10)} == set(range(10))
    assert 0 <= numbers.choose() <= 9, "what was proposed was perhaps never stored"
    with pytest.raises(RangeFull):
        numbers.choose(but=range(10))


def test_what_is_stored_stays_taken_until_it_is_released() -> None:
    numbers = Pool(1, 10, 0)
    numbers.check(5, "a")
    assert numbers.observe("a", [5]) == []
    assert numbers.observe("b", [5]) == [5], "a second owner is a clash"
    assert numbers.observe("b", [5]) == [], "it was said once"
    numbers.observe("b", [])
    with pytest.raises(AlreadyAllocated):
        numbers.check(5, "b")
    numbers.observe("a", [])
    numbers.check(5, "b")
    with pytest.raises(NotInRange):
        numbers.check(11, "b")


def test_a_second_owner_has_the_number_when_the_first_goes() -> None:
    numbers = Pool(1, 10, 0)
    numbers.observe("a", [5])
    numbers.observe("b", [5])
    numbers.observe("c", [5])
    numbers.observe("b", [])
    numbers.observe("a", [])
    with pytest.raises(AlreadyAllocated):
        numbers.check(5, "a")
    numbers.check(5, "c")
    numbers.observe("c", [])
    numbers.check(5, "a")


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sets(st.integers(1, 6), max_size=3)), max_size=30))
def test_no_number_has_two_owners(events: list[tuple[str, set[int]]]) -> None:
    numbers = Pool(1, 6, 0)
    stored: dict[str, set[int]] = {}
    for owner, wanted in events:
        free = {n for n in wanted if not any(n in held for o, held in stored.items() if o != owner)}
        stored[owner] = free
        assert numbers.observe(owner, free) == []
    taken = set().union(*stored.values()) if stored else set()
    for number in range(1, 7):
        if number in taken:
            with pytest.raises(AlreadyAllocated):
                numbers.check(number, "stranger")
        else:
            numbers.check(number, "stranger")


# ---- services -------------------------------------------------------------------------------------------------------


def allocation(registry: MemoryRegistry | None = None) -> ServiceAllocation:
    settings = SimpleNamespace(service_cluster_ip_range="10.0.0.0/24", service_node_port_range="30000-30100")
    return ServiceAllocation(registry or MemoryRegistry(), settings)


def service(name: str = "s", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [{"port": 80}], **spec}}


async def admit(plugin: ServiceAllocation, obj: dict[str, Any], old: dict[str, Any] | None = None, **more: Any) -> None:
    request = review("UPDATE" if old else "CREATE", "", "services", obj, old=old, **more)
    assert plugin.handles(request)
    await plugin.admit(request)


async def test_a_service_gets_address_and_ports() -> None:
    obj = service(type="LoadBalancer", externalTrafficPolicy="Local")
    await admit(allocation(), obj)
    spec = obj["spec"]
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    assert spec["clusterIP"].startswith("10.0.0.")
    ports = {spec["ports"][0]["nodePort"], spec["healthCheckNodePort"]}
    assert len(ports) == 2
    assert all(30000 <= port <= 30100 for port in ports)


async def test_tcp_and_udp_of_one_port_share_a_node_port() -> None:
    obj = service(type="NodePort", ports=[{"port": 53}, {"port": 53, "protocol": "UDP"}, {"port": 54}])
    await admit(allocation(), obj)
    first, second, third = (p["nodePort"] for p in obj["spec"]["ports"])
    assert first == second != third


async def test_headless_and_external_services_get_none() -> None:
    plugin = allocation()
    headless, external = service(clusterIP="None"), service(type="ExternalName", externalName="x")
    await admit(plugin, headless)
    await admit(plugin, external)
    assert headless["spec"]["clusterIPs"] == ["None"]
    assert "clusterIP" not in external["spec"]


async def test_the_first_address_is_the_kubernetes_services() -> None:
    plugin = allocation()
    with pytest.raises(Invalid, match="provided IP is already allocated"):
        await admit(plugin, service(clusterIP="10.0.0.1"))
    own = service("kubernetes")
    await admit(plugin, own)
    assert own["spec"]["clusterIP"] == "10.0.0.1"


async def test_an_update_keeps_what_it_does_not_say() -> None:
    plugin = allocation()
    old = service(type="NodePort")
    await admit(plugin, old)
    new = service(type="NodePort", ports=[{"port": 80}, {"port": 81}])
    await admit(plugin, new, old)
    assert new["spec"]["clusterIP"] == old["spec"]["clusterIP"]
    assert new["spec"]["ports"][0]["nodePort"] == old["spec"]["ports"][0]["nodePort"]
    assert new["spec"]["ports"][1]["nodePort"] not in (None, new["spec"]["ports"][0]["nodePort"])


async def test_a_new_type_drops_what_it_has_no_use_for() -> None:
    plugin = allocation()
    old = service(type="NodePort")
    await admit(plugin, old)
    new = service(**{**old["spec"], "type": "ExternalName", "externalName": "x"})
    new["spec"]["ports"] = [dict(p) for p in old["spec"]["ports"]]
    await admit(plugin, new, old)
    assert "clusterIP" not in new["spec"]
    assert "nodePort" not in new["spec"]["ports"][0]


async def test_what_only_the_old_type_had_goes_unless_it_was_changed() -> None:
    plugin = allocation()
    balanced = {"externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": True, "loadBalancerClass": "a/b"}
    old = service(type="LoadBalancer", **balanced)
    old["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    await admit(plugin, old)
    new = copy.deepcopy(old)
    new["spec"]["type"] = "ClusterIP"
    await admit(plugin, new, old)
    assert not balanced.keys() & new["spec"].keys()
    assert new["status"]["loadBalancer"] == {}
    other = copy.deepcopy(old)
    other["spec"] |= {"type": "ClusterIP", "externalTrafficPolicy": "Local"}
    await admit(plugin, other, old)
    assert other["spec"]["externalTrafficPolicy"] == "Local", "an error of the client's, for validation to tell"


async def test_stored_services_count_from_the_start_and_until_their_end() -> None:
    registry = MemoryRegistry()
    spec = {"type": "NodePort", "clusterIP": "10.0.0.20", "ports": [{"port": 80, "nodePort": 30005}]}
    registry.put("", "services", "there", "default", spec=spec)
    plugin = allocation(registry)
    wanted = service(clusterIP="10.0.0.20")
    with pytest.raises(Invalid):
        await admit(plugin, wanted)
    registry.store("", "services").remove("default", "there")
    await admit(plugin, wanted)


async def test_a_service_that_has_another_ones_address_can_be_changed() -> None:
    registry = MemoryRegistry()
    for name in ("a", "b"):
        registry.put("", "services", name, "default", spec={"clusterIP": "10.0.0.20", "ports": [{"port": 80}]})
    plugin = allocation(registry)
    for name in ("a", "b"):
        old = service(name, clusterIP="10.0.0.20", clusterIPs=["10.0.0.20"])
        await admit(plugin, service(name, ports=[{"port": 81}]), old)


def test_claims_are_the_addresses_and_ports() -> None:
    spec = {"clusterIPs": ["10.0.0.9", "FD00::0:9"], "ports": [{"port": 1, "nodePort": 30001}, {"port": 2}]}
    assert claims_of(service("s", **spec, healthCheckNodePort=30002)) == {
        b"/registry/ranges/serviceips/10.0.0.9": b"default/s",
        b"/registry/ranges/serviceips/fd00::9": b"default/s",
        b"/registry/ranges/servicenodeports/30001": b"default/s",
        b"/registry/ranges/servicenodeports/30002": b"default/s",
    }
    assert claims_of(service("s", clusterIP="None")) == {}


async def test_a_dry_run_takes_nothing() -> None:
    plugin = allocation()
    await admit(plugin, service("a", clusterIP="10.0.0.30"), dry_run=True)
    await admit(plugin, service("b", clusterIP="10.0.0.30"))
