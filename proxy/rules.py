"""Services and their endpoints -> iptables chains: a pure function, in kube-proxy's layout.

A packet to a service goes KUBE-SERVICES -> KUBE-SVC-<hash> (the service port, any endpoint) or KUBE-SVL-<hash> (this
node's endpoints alone) -> KUBE-SEP-<hash> (one endpoint, DNAT). Traffic from outside the cluster (node ports, external
addresses, load balancers) passes KUBE-EXT-<hash> first, which decides on masquerading, and KUBE-FW-<hash> before it
where source ranges are given. Names and hashes are upstream's, so either proxy can take over from the other:
https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-mode-iptables

Why `statistic --mode nth` and not upstream's `--mode random`: users expect new connections to reach all ready pods in
turn, and random choice does not give that (three curls reach all three pods in two of nine cases only). In a chain of
n endpoints the first rule takes every n-th packet that it sees, the second every (n-1)-th of what is left, and so on;
the last takes the rest. The kernel counts in each rule, atomically, and only a connection's first packet passes the
nat table: n connections in a row reach n different endpoints. The chains are the same, only this match differs. A
counter starts again when its chain is rewritten, which happens only when the service's own endpoints change.

Rules are grouped by service port (`ServiceRules`), so that a change of one service costs one service's work, and
`assemble` adds the few chains that all share.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from proxy.model import Endpoint, ServicePort, categorize

MASQUERADE_MARK = "0x4000"
SERVICE_CHAIN_PREFIXES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-")
CANARY_CHAIN = "KUBE-PROXY-CANARY"

Chains = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class RuleConfig:
    """What the rules depend on beside the services."""

    cluster_cidrs: tuple[str, ...] = ()
    masquerade_all: bool = False
    node_ip: str | None = None
    localhost_node_ports: bool = True
    random_fully: bool = True


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """The chains of one service port, and its lines in the chains that all services share."""

    chains: Chains = field(default_factory=dict)
    services: tuple[str, ...] = ()
    node_ports: tuple[str, ...] = ()
    filter_services: tuple[str, ...] = ()
    filter_external: tuple[str, ...] = ()
    filter_firewall: tuple[str, ...] = ()
    filter_node_ports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JumpRule:
    """A rule in a built-in chain that leads to ours; always the first, so that no foreign rule comes before."""

    table: str
    chain: str
    target: str
    comment: str
    new_connections_only: bool = False

    def spec(self) -> tuple[str, ...]:
        state = ("-m", "conntrack", "--ctstate", "NEW") if self.new_connections_only else ()
        return (*state, "-m", "comment", "--comment", self.comment, "-j", self.target)


_EXTERNAL, _PORTALS = "kubernetes externally-visible service portals", "kubernetes service portals"
_FIREWALL = "kubernetes load balancer firewall"
JUMP_RULES = (
    JumpRule("filter", "INPUT", "KUBE-EXTERNAL-SERVICES", _EXTERNAL, True),
    JumpRule("filter", "FORWARD", "KUBE-EXTERNAL-SERVICES", _EXTERNAL, True),
    JumpRule("filter", "INPUT", "KUBE-NODEPORTS", "kubernetes health check service ports"),
    JumpRule("filter", "FORWARD", "KUBE-SERVICES", _PORTALS, True),
    JumpRule("filter", "OUTPUT", "KUBE-SERVICES", _PORTALS, True),
    JumpRule("filter", "FORWARD", "KUBE-FORWARD", "kubernetes forwarding rules"),
    JumpRule("filter", "INPUT", "KUBE-PROXY-FIREWALL", _FIREWALL, True),
    JumpRule("filter", "OUTPUT", "KUBE-PROXY-FIREWALL", _FIREWALL, True),
    JumpRule("filter", "FORWARD", "KUBE-PROXY-FIREWALL", _FIREWALL, True),
    JumpRule("nat", "OUTPUT", "KUBE-SERVICES", _PORTALS),
    JumpRule("nat", "PREROUTING", "KUBE-SERVICES", _PORTALS),
    JumpRule("nat", "POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules"),
)


def _hash(*parts: str) -> str:
    digest = hashlib.sha256("".join(parts).encode()).digest()
    return base64.b32encode(digest).decode()[:16]


def _comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


def _destination(service: ServicePort, ip: str) -> str:
    return f"-m {service.protocol} -p {service.protocol} -d {ip}/32 --dport {service.port}"


class ServiceChains:
    """The names of one service port's chains."""

    def __init__(self, service: ServicePort) -> None:
        digest = _hash(str(service), service.protocol)
        self.service = service
        self.cluster, self.local = f"KUBE-SVC-{digest}", f"KUBE-SVL-{digest}"
        self.external, self.firewall = f"KUBE-EXT-{digest}", f"KUBE-FW-{digest}"

    def endpoint(self, endpoint: Endpoint) -> str:
        return f"KUBE-SEP-{_hash(str(self.service), self.service.protocol, str(endpoint))}"

    @property
    def internal_policy(self) -> str:
        return self.local if self.service.internal_local else self.cluster

    @property
    def external_policy(self) -> str:
        return self.local if self.service.external_local else self.cluster


def service_rules(service: ServicePort, endpoints: Iterable[Endpoint], config: RuleConfig) -> ServiceRules:
    """Everything that one service port puts into the tables."""
    sets = categorize(service, endpoints)
    names = ServiceChains(service)
    internal = bool(sets.local) if service.internal_local else sets.any_usable
    external = bool(sets.local) if service.external_local else sets.any_usable
    chains: dict[str, tuple[str, ...]] = {}
    if service.uses_cluster_endpoints and sets.cluster:
        chains[names.cluster] = _balancing(names, sets.cluster)
    if sets.local:
        chains[names.local] = _balancing(names, sets.local)
    if internal:
        chains[names.internal_policy] = _masquerade_internal(service, config) + chains[names.internal_policy]
    if sets.any_usable and service.externally_accessible:
        chains[names.external] = _external_chain(names, config, has_endpoints=external)
    firewalled = sets.any_usable and bool(service.load_balancer_vips and service.source_ranges)
    if firewalled:
        chains[names.firewall] = _firewall_chain(names, config)
    for endpoint in sets.reachable:
        chains[names.endpoint(endpoint)] = _endpoint_chain(names, endpoint)
    return ServiceRules(
        chains=chains,
        services=_portals(names, internal=internal, any_usable=sets.any_usable, firewalled=firewalled),
        node_ports=_node_port(names) if sets.any_usable and service.node_port else (),
        filter_services=() if internal else (_refuse_internal(service, any_usable=sets.any_usable),),
        filter_external=() if external else _refuse_external(service, any_usable=sets.any_usable),
        filter_firewall=_drop_unaccepted(names) if firewalled else (),
        filter_node_ports=_health_check(service),
    )


def _balancing(names: ServiceChains, endpoints: tuple[Endpoint, ...]) -> tuple[str, ...]:
    """Affinity first (a client that came back within the timeout), then each endpoint in turn."""
    service, lines = names.service, []
    if service.affinity_seconds:
        for endpoint in endpoints:
            target = names.endpoint(endpoint)
            lines.append(
                f"{_comment(f'{service} -> {endpoint}')} -m recent --name {target} --rcheck"
                f" --seconds {service.affinity_seconds} --reap -j {target}"
            )
    for index, endpoint in enumerate(endpoints):
        left = len(endpoints) - index
        turn = f" -m statistic --mode nth --every {left} --packet 0" if left > 1 else ""
        lines.append(f"{_comment(f'{service} -> {endpoint}')}{turn} -j {names.endpoint(endpoint)}")
    return tuple(lines)


def _endpoint_chain(names: ServiceChains, endpoint: Endpoint) -> tuple[str, ...]:
    """DNAT; a pod that reaches itself is masqueraded, or its answer would not come back through us (hairpin)."""
    service = names.service
    remember = f" -m recent --name {names.endpoint(endpoint)} --set" if service.affinity_seconds else ""
    comment = _comment(str(service))
    return (
        f"{comment} -s {endpoint.ip}/32 -j KUBE-MARK-MASQ",
        f"{comment}{remember} -m {service.protocol} -p {service.protocol} -j DNAT --to-destination {endpoint}",
    )


def _masquerade_internal(service: ServicePort, config: RuleConfig) -> tuple[str, ...]:
    """Traffic to the cluster IP from outside the cluster's pods must come back through this node."""
    match = f"{_comment(f'{service} cluster IP')} {_destination(service, service.cluster_ip)}"
    if config.masquerade_all:
        return (f"{match} -j KUBE-MARK-MASQ",)
    return tuple(f"{match} ! -s {cidr} -j KUBE-MARK-MASQ" for cidr in config.cluster_cidrs[:1])


def _external_chain(names: ServiceChains, config: RuleConfig, *, has_endpoints: bool) -> tuple[str, ...]:
    service, lines = names.service, []
    if not service.external_local:
        text = _comment(f"masquerade traffic for {service} external destinations")
        lines.append(f"{text} -j KUBE-MARK-MASQ")
    else:
        # A pod or this node that calls an external address is not bound to this node's endpoints: it is treated as if
        # the packet had gone out to the load balancer and come back.
        for cidr in config.cluster_cidrs[:1]:
            text = _comment(f"pod traffic for {service} external destinations")
            lines.append(f"{text} -s {cidr} -j {names.cluster}")
        text = _comment(f"masquerade LOCAL traffic for {service} external destinations")
        lines.append(f"{text} -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ")
        text = _comment(f"route LOCAL traffic for {service} external destinations")
        lines.append(f"{text} -m addrtype --src-type LOCAL -j {names.cluster}")
    if has_endpoints:
        lines.append(f"-j {names.external_policy}")
    return tuple(lines)


def _firewall_chain(names: ServiceChains, config: RuleConfig) -> tuple[str, ...]:
    """Sources in the ranges go on; the rest leaves the chain without DNAT and meets KUBE-PROXY-FIREWALL's DROP."""
    service = names.service
    text = _comment(f"{service} loadbalancer IP")
    lines = [f"{text} -s {cidr} -j {names.external}" for cidr in service.source_ranges]
    if config.node_ip and any(_contains(cidr, config.node_ip) for cidr in service.source_ranges):
        # This node's own request to a load balancer address that is bound locally has that address as its source.
        lines += [f"{text} -s {vip}/32 -j {names.external}" for vip in service.load_balancer_vips]
    lines.append(_comment(f"other traffic to {service} will be dropped by KUBE-PROXY-FIREWALL"))
    return tuple(lines)


def _portals(names: ServiceChains, *, internal: bool, any_usable: bool, firewalled: bool) -> tuple[str, ...]:
    """The lines of nat KUBE-SERVICES."""
    service, lines = names.service, []
    if internal:
        text = _comment(f"{service} cluster IP")
        lines.append(f"{text} {_destination(service, service.cluster_ip)} -j {names.internal_policy}")
    if any_usable:
        for ip in service.external_ips:
            lines.append(f"{_comment(f'{service} external IP')} {_destination(service, ip)} -j {names.external}")
        target = names.firewall if firewalled else names.external
        for ip in service.load_balancer_vips:
            lines.append(f"{_comment(f'{service} loadbalancer IP')} {_destination(service, ip)} -j {target}")
    return tuple(lines)


def _node_port(names: ServiceChains) -> tuple[str, ...]:
    service = names.service
    match = f"-m {service.protocol} -p {service.protocol} --dport {service.node_port}"
    return (f"{_comment(str(service))} {match} -j {names.external}",)


def _verdict(service: ServicePort, *, any_usable: bool) -> tuple[str, str]:
    """No endpoint anywhere: tell the client. None on this node: be silent, a load balancer may retry elsewhere."""
    if any_usable:
        return _comment(f"{service} has no local endpoints"), "DROP"
    return _comment(f"{service} has no endpoints"), "REJECT"


def _refuse_internal(service: ServicePort, *, any_usable: bool) -> str:
    text, verdict = _verdict(service, any_usable=any_usable)
    return f"{text} {_destination(service, service.cluster_ip)} -j {verdict}"


def _refuse_external(service: ServicePort, *, any_usable: bool) -> tuple[str, ...]:
    text, verdict = _verdict(service, any_usable=any_usable)
    addresses = (*service.external_ips, *service.load_balancer_vips)
    lines = [f"{text} {_destination(service, ip)} -j {verdict}" for ip in addresses]
    if service.node_port:
        match = f"-m {service.protocol} -p {service.protocol} --dport {service.node_port}"
        lines.append(f"{text} -m addrtype --dst-type LOCAL {match} -j {verdict}")
    return tuple(lines)


def _drop_unaccepted(names: ServiceChains) -> tuple[str, ...]:
    text = _comment(f"{names.service} traffic not accepted by {names.firewall}")
    return tuple(f"{text} {_destination(names.service, vip)} -j DROP" for vip in names.service.load_balancer_vips)


def _health_check(service: ServicePort) -> tuple[str, ...]:
    if not service.health_check_node_port:
        return ()
    text = _comment(f"{service} health check node port")
    return (f"{text} -m tcp -p tcp --dport {service.health_check_node_port} -j ACCEPT",)


def _contains(cidr: str, ip: str) -> bool:
    return ipaddress.ip_address(ip) in ipaddress.ip_network(cidr, strict=False)


# What a packet meets first. Localhost node ports need route_localnet, which would also let neighbours on the network
# reach what listens on 127.0.0.1 alone (CVE-2020-8558): their packets are dropped.
_BLOCK_LOCALNET = (
    '-m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8'
    " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
)
_NODE_PORTS_LAST = (
    '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain"'
    " -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"
)
_FORWARD = (
    "-m conntrack --ctstate INVALID -j DROP",
    f'-m comment --comment "kubernetes forwarding rules" -m mark --mark {MASQUERADE_MARK}/{MASQUERADE_MARK} -j ACCEPT',
    '-m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
)


def canary_rule() -> str:
    """What fills a chain that only we would make: a flush of the table is seen whether it removes chains or not."""
    return '-m comment --comment "kubernetes proxy canary" -j RETURN'


def assemble(parts: Iterable[ServiceRules], config: RuleConfig) -> dict[str, dict[str, tuple[str, ...]]]:
    """The chains shared by all services: {table: {chain: lines}}, without the services' own chains."""
    found = list(parts)
    random_fully = " --random-fully" if config.random_fully else ""
    node_ports = tuple(line for p in found for line in p.node_ports)
    localnet = (_BLOCK_LOCALNET,) if config.localhost_node_ports else ()
    nat = {
        CANARY_CHAIN: (canary_rule(),),
        "KUBE-SERVICES": (*(line for p in found for line in p.services), _NODE_PORTS_LAST),
        "KUBE-NODEPORTS": node_ports,
        "KUBE-MARK-MASQ": (f"-j MARK --or-mark {MASQUERADE_MARK}",),
        "KUBE-POSTROUTING": (
            f"-m mark ! --mark {MASQUERADE_MARK}/{MASQUERADE_MARK} -j RETURN",
            # The mark goes, so that a packet that passes a second time (in a node within a node) is judged anew.
            f"-j MARK --xor-mark {MASQUERADE_MARK}",
            f'-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE{random_fully}',
        ),
    }
    filters = {
        CANARY_CHAIN: (canary_rule(),),
        "KUBE-SERVICES": tuple(line for p in found for line in p.filter_services),
        "KUBE-EXTERNAL-SERVICES": tuple(line for p in found for line in p.filter_external),
        "KUBE-PROXY-FIREWALL": (*localnet, *(line for p in found for line in p.filter_firewall)),
        "KUBE-NODEPORTS": tuple(line for p in found for line in p.filter_node_ports),
        "KUBE-FORWARD": _FORWARD,
    }
    return {"nat": nat, "filter": filters}
