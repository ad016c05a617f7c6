"""Which UDP flows lead nowhere."""

from __future__ import annotations

import pytest

from proxy.conntrack import Flow, stale_flows, udp_endpoints
from proxy.model import Endpoint, ServicePort

DNS = ServicePort("kube-system", "dns", "dns", "udp", "10.96.0.10", 53, node_port=30053)
WEB = ServicePort("default", "web", "", "tcp", "10.96.0.20", 53)
GOOD, GONE, CLIENT = ("10.244.1.5", 5353), ("10.244.1.6", 5353), ("10.244.1.9", 40000)


@pytest.mark.parametrize(
    ("destination", "answers", "stale"),
    [
        (("10.96.0.10", 53), GOOD, False),
        (("10.96.0.10", 53), GONE, True),
        (("10.96.0.10", 53), ("10.96.0.10", 53), True),  # began when there was no endpoint: never translated
        (("192.0.2.1", 30053), GOOD, False),
        (("192.0.2.1", 30053), GONE, True),
        (("198.51.100.1", 30053), ("198.51.100.1", 30053), False),  # somebody else's port of that number
        (("10.96.0.20", 53), GONE, False),  # TCP, and not ours to judge
        (("8.8.8.8", 53), ("8.8.8.8", 53), False),
    ],
)
def test_stale_flows(destination: tuple[str, int], answers: tuple[str, int], stale: bool) -> None:
    valid = udp_endpoints([(DNS, [Endpoint(*GOOD)]), (WEB, [])])
    flow = Flow(CLIENT, destination, answers)
    assert stale_flows([flow], valid) == ([flow] if stale else [])


def test_flows_wait_for_an_endpoint() -> None:
    """With no endpoint there is nowhere better to go: the filter table refuses the packets meanwhile."""
    assert stale_flows([Flow(CLIENT, ("10.96.0.10", 53), GONE)], udp_endpoints([(DNS, [])])) == []
