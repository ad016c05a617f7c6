"""What a client of a Service experiences, by walking connections through the rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.model import Endpoint, ServicePort
from proxy.rules import JUMP_RULES, RuleConfig, ServiceChains, ServiceRules, assemble, service_rules
from tests.unit.proxy.simulator import Kernel, Outcome, Packet

CONFIG = RuleConfig(cluster_cidrs=("10.244.0.0/16",))
WEB = ServicePort("default", "web", "http", "tcp", "10.96.0.20", 80)
LOCAL, REMOTE = Endpoint("10.244.1.5", 8080, is_local=True), Endpoint("10.244.2.6", 8080)
POD = Packet("10.244.1.9", "10.96.0.20", 80)
OUTSIDER = Packet("192.0.2.7", "10.96.0.20", 80)


def nat(*parts: ServiceRules, config: RuleConfig = CONFIG) -> Kernel:
    chains = dict(assemble(parts, config)["nat"])
    for part in parts:
        chains |= part.chains
    return Kernel(chains)


def filters(*parts: ServiceRules) -> dict[str, tuple[str, ...]]:
    return assemble(parts, CONFIG)["filter"]


def endpoints(count: int) -> list[Endpoint]:
    return [Endpoint(f"10.244.1.{n}", 8080) for n in range(1, count + 1)]


def test_the_layout_is_kube_proxys() -> None:
    """Names, hashes and lines as kube-proxy v1.32 writes them; only the balancing match is ours."""
    rules = service_rules(WEB, [LOCAL, REMOTE], CONFIG)
    names = ServiceChains(WEB)
    first, second = names.endpoint(LOCAL), names.endpoint(REMOTE)
    assert rules.services == (
        '-m comment --comment "default/web:http cluster IP" -m tcp -p tcp -d 10.96.0.20/32 --dport 80'
        f" -j {names.cluster}",
    )
    assert rules.chains == {
        names.cluster: (
            '-m comment --comment "default/web:http cluster IP" -m tcp -p tcp -d 10.96.0.20/32 --dport 80'
            " ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ",
            '-m comment --comment "default/web:http -> 10.244.1.5:8080"'
            f" -m statistic --mode nth --every 2 --packet 0 -j {first}",
            f'-m comment --comment "default/web:http -> 10.244.2.6:8080" -j {second}',
        ),
        first: (
            '-m comment --comment "default/web:http" -s 10.244.1.5/32 -j KUBE-MARK-MASQ',
            '-m comment --comment "default/web:http" -m tcp -p tcp -j DNAT --to-destination 10.244.1.5:8080',
        ),
        second: (
            '-m comment --comment "default/web:http" -s 10.244.2.6/32 -j KUBE-MARK-MASQ',
            '-m comment --comment "default/web:http" -m tcp -p tcp -j DNAT --to-destination 10.244.2.6:8080',
        ),
    }


def test_chain_names_are_upstreams_hashes() -> None:
    """Known from every cluster: the chains of default/kubernetes:https and of the DNS service."""
    https = ServicePort("default", "kubernetes", "https", "tcp", "10.96.0.1", 443)
    dns = ServicePort("kube-system", "kube-dns", "dns", "udp", "10.96.0.10", 53)
    dns_tcp = ServicePort("kube-system", "kube-dns", "dns-tcp", "tcp", "10.96.0.10", 53)
    assert ServiceChains(https).cluster == "KUBE-SVC-NPX46M4PTMTKRN6Y"
    assert ServiceChains(dns).cluster == "KUBE-SVC-TCOU7JCQXEZGVUNU"
    assert ServiceChains(dns_tcp).cluster == "KUBE-SVC-ERIFXISQEP7F7OF4"


@settings(deadline=None)  # other tests share the machine
@given(count=st.integers(1, 12), rounds=st.integers(1, 3))
def test_connections_reach_all_endpoints_in_turn(count: int, rounds: int) -> None:
    kernel = nat(service_rules(WEB, endpoints(count), CONFIG))
    reached = [kernel.connect(POD).target for _ in range(count * rounds)]
    for start in range(0, len(reached), count):
        assert sorted(reached[start : start + count]) == sorted(str(e) for e in endpoints(count))


states = st.sampled_from([(True, True, False), (False, True, True), (False, False, False), (False, False, True)])
endpoint_lists = st.lists(st.tuples(states, st.booleans()), max_size=8).map(
    lambda drawn: [Endpoint(f"10.244.3.{n}", 80, local, *state) for n, (state, local) in enumerate(drawn)]
)
services = st.builds(
    lambda node_port, external, vip, external_local, internal_local, affinity: replace(
        WEB,
        node_port=30080 if node_port else 0,
        external_ips=("198.51.100.1",) if external else (),
        load_balancer_vips=("203.0.113.1",) if vip else (),
        external_local=external_local,
        internal_local=internal_local,
        affinity_seconds=60 if affinity else 0,
    ),
    *[st.booleans()] * 6,
)


@settings(deadline=None)  # other tests share the machine
@given(service=services, found=endpoint_lists)
def test_every_address_leads_to_an_endpoint_that_may_serve_it(service: ServicePort, found: list[Endpoint]) -> None:
    kernel = nat(service_rules(service, found, CONFIG))
    ready = [e for e in found if e.ready] or [e for e in found if e.serving and e.terminating]
    here = [e for e in found if e.is_local]
    local = [e for e in here if e.ready] or [e for e in here if e.serving and e.terminating]
    internal = local if service.internal_local else ready
    external = local if service.external_local else ready
    reached = kernel.connect(POD).target
    assert reached in ({str(e) for e in internal} or {None})
    outside = [replace(OUTSIDER, destination=ip) for ip in (*service.external_ips, *service.load_balancer_vips)]
    if service.node_port:
        outside.append(replace(OUTSIDER, destination="192.168.0.3", port=30080, destination_is_local=True))
    for packet in outside:
        assert kernel.connect(packet).target in ({str(e) for e in external} or {None})


@settings(deadline=None)  # other tests share the machine
@given(service=services, found=endpoint_lists)
def test_every_jump_leads_to_a_chain_that_exists(service: ServicePort, found: list[Endpoint]) -> None:
    part = service_rules(service, found, CONFIG)
    for table, chains in (("nat", nat(part).chains), ("filter", filters(part))):
        known = {*chains, "DNAT", "MARK", "MASQUERADE", "RETURN", "ACCEPT", "DROP", "REJECT"}
        targets = {rule.split(" -j ")[-1].split()[0] for rules in chains.values() for rule in rules if " -j " in rule}
        targets |= {rule.split()[1] for rules in chains.values() for rule in rules if rule.startswith("-j ")}
        assert targets <= known, table
        assert {jump.target for jump in JUMP_RULES if jump.table == table} <= set(chains)


def test_a_pod_that_reaches_itself_is_masqueraded() -> None:
    kernel = nat(service_rules(WEB, [LOCAL], CONFIG))
    assert kernel.connect(replace(POD, source=LOCAL.ip)) == Outcome(str(LOCAL), True)
    assert kernel.connect(POD) == Outcome(str(LOCAL), False)


@pytest.mark.parametrize(
    ("config", "packet", "masqueraded"),
    [
        (CONFIG, POD, False),
        (CONFIG, OUTSIDER, True),
        (replace(CONFIG, masquerade_all=True), POD, True),
        (RuleConfig(), OUTSIDER, False),
    ],
)
def test_masquerading_of_the_cluster_ip(config: RuleConfig, packet: Packet, masqueraded: bool) -> None:
    assert nat(service_rules(WEB, [REMOTE], config), config=config).connect(packet).masqueraded is masqueraded


def test_affinity_holds_a_client_to_its_endpoint() -> None:
    kernel = nat(service_rules(replace(WEB, affinity_seconds=60), endpoints(3), CONFIG))
    first, second = (kernel.connect(replace(POD, source=f"10.244.9.{n}")).target for n in (1, 2))
    assert first != second
    for _ in range(4):
        assert kernel.connect(replace(POD, source="10.244.9.1")).target == first
        assert kernel.connect(replace(POD, source="10.244.9.2")).target == second


def test_terminating_endpoints_serve_only_when_none_is_ready() -> None:
    leaving = Endpoint("10.244.1.7", 8080, ready=False, serving=True, terminating=True)
    assert nat(service_rules(WEB, [leaving, REMOTE], CONFIG)).connect(POD).target == str(REMOTE)
    assert nat(service_rules(WEB, [leaving], CONFIG)).connect(POD).target == str(leaving)


def test_node_ports_masquerade_and_reach_any_node() -> None:
    service = replace(WEB, node_port=30080)
    packet = replace(OUTSIDER, destination="192.168.0.3", port=30080, destination_is_local=True)
    kernel = nat(service_rules(service, [REMOTE], CONFIG))
    assert kernel.connect(packet) == Outcome(str(REMOTE), True)
    assert kernel.connect(replace(packet, destination_is_local=False)).target is None


def test_external_policy_local_keeps_the_clients_address() -> None:
    service = replace(WEB, node_port=30080, external_local=True)
    packet = replace(OUTSIDER, destination="192.168.0.3", port=30080, destination_is_local=True)
    kernel = nat(service_rules(service, [LOCAL, REMOTE], CONFIG))
    assert {kernel.connect(packet) for _ in range(4)} == {Outcome(str(LOCAL), False)}
    # a pod of this cluster reaches all endpoints, as if its packet had gone out and come back
    assert {kernel.connect(replace(packet, source="10.244.1.9")).target for _ in range(4)} == {str(LOCAL), str(REMOTE)}
    assert kernel.connect(replace(packet, source="192.168.0.3", source_is_local=True)).masqueraded


def test_without_local_endpoints_external_traffic_is_dropped_and_internal_served() -> None:
    service = replace(WEB, node_port=30080, external_local=True)
    part = service_rules(service, [REMOTE], CONFIG)
    packet = replace(OUTSIDER, destination="192.168.0.3", port=30080, destination_is_local=True)
    assert nat(part).connect(packet).target is None
    assert nat(part).connect(POD).target == str(REMOTE)
    assert filters(part)["KUBE-EXTERNAL-SERVICES"] == (
        '-m comment --comment "default/web:http has no local endpoints" -m addrtype --dst-type LOCAL'
        " -m tcp -p tcp --dport 30080 -j DROP",
    )
    assert filters(part)["KUBE-SERVICES"] == ()


def test_a_service_without_endpoints_is_refused_everywhere() -> None:
    service = replace(WEB, node_port=30080, external_ips=("198.51.100.1",))
    part = service_rules(service, [Endpoint("10.244.1.7", 8080, ready=False, serving=False)], CONFIG)
    assert part.chains == {}
    refuse = Kernel(filters(part))
    assert refuse.connect(POD).target == "REJECT"
    assert refuse.connect(replace(OUTSIDER, destination="198.51.100.1"), "KUBE-EXTERNAL-SERVICES").target == "REJECT"
    node_port = replace(OUTSIDER, destination="192.168.0.3", port=30080, destination_is_local=True)
    assert refuse.connect(node_port, "KUBE-EXTERNAL-SERVICES").target == "REJECT"


def test_source_ranges_let_only_their_clients_through() -> None:
    service = replace(WEB, load_balancer_vips=("203.0.113.1",), source_ranges=("192.0.2.0/24",))
    part = service_rules(service, [REMOTE], CONFIG)
    packet = replace(OUTSIDER, destination="203.0.113.1")
    assert nat(part).connect(packet).target == str(REMOTE)
    assert nat(part).connect(replace(packet, source="198.51.100.9")).target is None
    firewall = [rule for rule in filters(part)["KUBE-PROXY-FIREWALL"] if "localnet" not in rule]
    assert firewall == [
        f'-m comment --comment "default/web:http traffic not accepted by {ServiceChains(service).firewall}"'
        " -m tcp -p tcp -d 203.0.113.1/32 --dport 80 -j DROP"
    ]


def test_services_do_not_take_each_others_traffic() -> None:
    other = replace(WEB, name="other", cluster_ip="10.96.0.21")
    kernel = nat(service_rules(WEB, [LOCAL], CONFIG), service_rules(other, [REMOTE], CONFIG))
    assert kernel.connect(POD).target == str(LOCAL)
    assert kernel.connect(replace(POD, destination="10.96.0.21")).target == str(REMOTE)
    assert kernel.connect(replace(POD, protocol="udp")).target is None
