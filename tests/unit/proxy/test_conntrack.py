"""Which UDP flows lead nowhere."""

from __future__ import annotations

import errno

import pytest
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink import nfctsocket

from proxy.conntrack import Flow, flows, forget_stale_flows, stale_flows, udp_endpoints
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


async def test_a_refusal_of_the_kernel_is_an_ordinary_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Netlink's own exceptions are no OSErrors: one of them would end the proxy."""

    def refuse() -> None:
        raise NetlinkError(errno.EPERM, "no")

    monkeypatch.setattr(nfctsocket, "NFCTSocket", refuse)
    service = ServicePort("default", "dns", "", "udp", "10.96.0.10", 53)
    with pytest.raises(OSError, match="no"):
        await forget_stale_flows(udp_endpoints([(service, [Endpoint("10.0.0.1", 53)])]))


def test_flows_without_addresses_are_passed_over() -> None:
    class Entry:
        def __init__(self, **values: object) -> None:
            self.values = values

        def get_attr(self, name: str) -> object:
            return self.values.get(name)

    udp = Entry(CTA_PROTO_NUM=17, CTA_PROTO_SRC_PORT=1, CTA_PROTO_DST_PORT=53)
    bare = Entry(CTA_TUPLE_ORIG=Entry(CTA_TUPLE_PROTO=udp), CTA_TUPLE_REPLY=Entry(CTA_TUPLE_PROTO=udp))
    headless = Entry(CTA_TUPLE_ORIG=Entry(), CTA_TUPLE_REPLY=Entry())
    assert flows([bare, headless]) == []
