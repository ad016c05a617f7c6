"""What the repair loop of service numbers finds and corrects."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.allocation.repair import Claim, Correction, Finding, examine
from apiserver.allocation.spec import claims_of

NETWORK, PORTS = ipaddress.ip_network("10.0.0.0/24"), (30000, 30100)
IP, PORT = b"/registry/ranges/serviceips/", b"/registry/ranges/servicenodeports/"


def service(name: str, ip: str, port: int = 0, revision: int = 5) -> dict[str, Any]:
    ports = [{"port": 80, "nodePort": port}] if port else [{"port": 80}]
    metadata = {"name": name, "namespace": "n", "uid": name, "resourceVersion": str(revision)}
    return {"metadata": metadata, "spec": {"clusterIPs": [ip], "ports": ports}}


def looked_at(
    services: list[dict[str, Any]], claims: dict[bytes, Claim]
) -> tuple[list[tuple[str, str]], list[Correction]]:
    findings, corrections = examine(services, claims, NETWORK, PORTS)
    return [(f.reason, f.message) for f in findings], corrections


def test_what_is_right_is_left_alone() -> None:
    claims = {IP + b"10.0.0.5": Claim("n/a", 5), PORT + b"30001": Claim("n/a", 5)}
    assert looked_at([service("a", "10.0.0.5", 30001)], claims) == ([], [])


def test_a_missing_claim_is_made_and_said() -> None:
    findings, (ip, port) = looked_at([service("a", "10.0.0.5", 30001)], {})
    assert findings == [], "only when it was done"
    assert (ip.key, ip.owner, ip.seen, ip.services) == (PORT + b"30001", "n/a", 0, {"n/a": 5})
    assert ip.finding is not None and ip.finding.message == "Port 30001 is not allocated; repairing"
    assert ip.finding.component == "portallocator-repair-controller"
    assert port.finding is not None and port.finding.reason == "ClusterIPNotAllocated"
    assert port.finding.message == "Cluster IP [IPv4]:10.0.0.5 is not allocated; repairing"


def test_a_number_of_two_services_stays_with_the_one_that_claimed_it() -> None:
    services = [service("a", "10.0.0.5"), service("b", "10.0.0.5")]
    text = "Cluster IP [IPv4]:10.0.0.5 was assigned to multiple services; please recreate service"
    findings, corrections = examine(services, {IP + b"10.0.0.5": Claim("n/b", 3)}, NETWORK, PORTS)
    assert findings == [Finding(services[0], "ClusterIPAlreadyAllocated", text)]
    assert corrections == []


def test_a_leaked_claim_is_removed_if_nothing_changed() -> None:
    claims = {IP + b"10.0.0.5": Claim("n/gone", 3), IP + b"10.0.0.6": Claim("n/a", 4)}
    _, corrections = looked_at([service("a", "None", revision=9)], claims)
    assert corrections == [
        Correction(IP + b"10.0.0.5", None, 3, {"n/gone": 0}),
        Correction(IP + b"10.0.0.6", None, 4, {"n/a": 9}),
    ]


def test_a_claim_of_another_goes_to_the_service_that_carries_the_number() -> None:
    _, (correction,) = looked_at([service("a", "10.0.0.5")], {IP + b"10.0.0.5": Claim("n/gone", 3)})
    assert (correction.owner, correction.seen) == ("n/a", 3)


@pytest.mark.parametrize(
    ("ip", "port", "reason", "text"),
    [
        (
            "10.9.0.5",
            0,
            "ClusterIPOutOfRange",
            "Cluster IP [IPv4]:10.9.0.5 is not within the service CIDR 10.0.0.0/24; please recreate service",
        ),
        ("x", 0, "ClusterIPNotValid", "Cluster IP x is not a valid IP; please recreate service"),
        (
            "fd00::1",
            0,
            "ClusterIPNotValid",
            "Cluster IP fd00::1(IPv6) is of ip family that is no longer configured on cluster; please recreate service",
        ),
        (
            "None",
            31000,
            "PortOutOfRange",
            "Port 31000 is not within the port range 30000-30100; please recreate service",
        ),
    ],
)
def test_what_only_the_owner_can_put_right(ip: str, port: int, reason: str, text: str) -> None:
    findings, _ = looked_at([service("a", ip, port)], {})
    assert findings == [(reason, text)]


names = st.sampled_from("abcd")


@given(
    st.dictionaries(names, st.tuples(st.integers(1, 6), st.integers(30000, 30004)), max_size=4),
    st.dictionaries(st.integers(1, 6), names, max_size=6),
)
def test_after_the_corrections_nothing_is_left_to_correct(
    carried: dict[str, tuple[int, int]], claimed: dict[int, str]
) -> None:
    services = [service(name, f"10.0.0.{ip}", port) for name, (ip, port) in carried.items()]
    claims = {IP + f"10.0.0.{ip}".encode(): Claim(f"n/{name}", 3) for ip, name in claimed.items()}
    _, corrections = examine(services, claims, NETWORK, PORTS)
    for correction in corrections:
        if correction.owner is None:
            del claims[correction.key]
        else:
            claims[correction.key] = Claim(correction.owner, 9)
    assert examine(services, claims, NETWORK, PORTS)[1] == []
    assert claims.keys() == {key for each in services for key in claims_of(each)}
