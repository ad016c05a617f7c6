"""Where the pods of each node are reached."""

from __future__ import annotations

from typing import Any

from apiserver.pod_routes import desired_routes


def node(address: str | None, *cidrs: str) -> dict[str, Any]:
    addresses = [{"type": "Hostname", "address": "n"}]
    if address:
        addresses.append({"type": "InternalIP", "address": address})
    spec = {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)} if cidrs else {}
    return {"spec": spec, "status": {"addresses": addresses}}


def test_each_node_with_a_subnet_and_an_address_is_a_next_hop() -> None:
    nodes = [
        node("10.88.0.11", "10.244.0.0/24"),
        node("10.88.0.12", "10.244.1.0/24", "fd00::/64"),
        node(None, "10.244.2.0/24"),
        node("10.88.0.14"),
        node("10.88.0.15", "nonsense"),
        {},
    ]
    assert desired_routes(nodes) == {"10.244.0.0/24": "10.88.0.11", "10.244.1.0/24": "10.88.0.12"}
