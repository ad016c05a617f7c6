"""Only what changed is written, and what nobody wants goes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.model import Endpoint, ServicePort
from proxy.restore import Change, RuleBook, check_text, cleanup_change, leftovers
from proxy.rules import CANARY_CHAIN, RuleConfig, ServiceChains, assemble, canary_rule, service_rules

CONFIG = RuleConfig(cluster_cidrs=("10.244.0.0/16",))
WEB = ServicePort("default", "web", "", "tcp", "10.96.0.20", 80)
A, B = Endpoint("10.244.1.1", 80), Endpoint("10.244.1.2", 80)


def put(book: RuleBook, service: ServicePort, *endpoints: Endpoint) -> None:
    book.put(f"{service.namespace}/{service.name}", [service_rules(service, endpoints, CONFIG)])


def apply(kernel: dict[tuple[str, str], list[str]], change: Change) -> None:
    """What iptables-restore --noflush does; a removed chain must be empty and nobody's target."""
    table = ""
    for line in change.text().splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            kernel[table, line[1:].split()[0]] = []
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            kernel[table, chain].append(rule)
        elif line.startswith("-X "):
            chain = line[3:]
            assert kernel.pop((table, chain)) == []
            assert not any(
                rule.endswith(f"-j {chain}") for (t, _), rules in kernel.items() if t == table for rule in rules
            )


def test_nothing_changed_nothing_written() -> None:
    book = RuleBook(CONFIG)
    put(book, WEB, A)
    assert book.full({})
    book.written()
    put(book, WEB, A)
    assert not book.partial()


def test_a_changed_endpoint_writes_its_own_chains_only() -> None:
    book, names = RuleBook(CONFIG), ServiceChains(WEB)
    put(book, WEB, A)
    put(book, replace(WEB, name="other", cluster_ip="10.96.0.21"), A)
    book.written()
    put(book, WEB, B)
    change = book.partial()
    assert set(change.write["nat"]) == {names.cluster, names.endpoint(B)}
    assert not change.write["filter"]
    assert change.remove == {"nat": {names.endpoint(A)}}


def test_a_failed_write_is_not_forgotten() -> None:
    book, names = RuleBook(CONFIG), ServiceChains(WEB)
    put(book, WEB, A)
    book.written()
    put(book, WEB, B)
    put(book, WEB, A, B)  # the sync of the change before failed, written() was not called
    change = book.partial()
    assert set(change.write["nat"]) == {names.cluster, names.endpoint(B)}
    assert change.remove == {"nat": frozenset()}


def test_leftovers_are_our_chains_alone() -> None:
    existing = {"KUBE-SVC-OLD", "KUBE-SEP-NEW", "KUBE-KUBELET-CANARY", "KUBE-FIREWALL", "DOCKER", "PREROUTING"}
    assert leftovers(existing, {"KUBE-SEP-NEW"}) == {"KUBE-SVC-OLD"}


def test_cleanup_takes_all_of_ours_and_nothing_else() -> None:
    existing = {"nat": {"KUBE-SVC-X", "KUBE-SERVICES", "DOCKER"}, "filter": {"KUBE-FORWARD", "KUBE-FIREWALL"}}
    change = cleanup_change(existing, assemble((), CONFIG))
    assert change.remove == {"nat": {"KUBE-SVC-X", "KUBE-SERVICES"}, "filter": {"KUBE-FORWARD"}}


def test_the_check_names_canary_and_every_entry_point() -> None:
    text = check_text(CANARY_CHAIN, canary_rule())
    assert text.count("-C KUBE-PROXY-CANARY") == 2
    assert '-C PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES' in text
    assert "-A" not in text and ":" not in text


steps = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.lists(st.integers(1, 4), unique=True, max_size=4), st.booleans(), st.booleans()
    ),
    max_size=12,
)


@settings(deadline=None)  # other tests share the machine
@given(steps)
def test_partial_syncs_end_where_a_full_sync_does(drawn: list[tuple[str, list[int], bool, bool]]) -> None:
    """Whatever changes come, with writes failing in between, the kernel ends as if written in one go."""
    book, kernel = RuleBook(CONFIG), {}
    apply(kernel, book.full({}))
    book.written()
    final: dict[str, ServicePort | None] = {}
    for name, numbers, gone, written in drawn:
        service = replace(WEB, name=name, cluster_ip=f"10.96.1.{ord(name)}", node_port=30000 + ord(name))
        if gone:
            book.put(f"default/{name}", [])
        else:
            put(book, service, *(Endpoint(f"10.244.1.{n}", 80) for n in numbers))
        final[name] = None if gone else service
        if written:
            apply(kernel, book.partial())
            book.written()
    apply(kernel, book.partial())
    book.written()
    fresh: dict[tuple[str, str], list[str]] = {}
    apply(fresh, book.full({}))
    assert kernel == fresh
