"""Services and EndpointSlices as the API has them -> service ports and endpoints."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from proxy.model import Endpoint, endpoints_of, service_ports


def service(**spec: Any) -> Service:
    base = {"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20"], "ports": [{"name": "http", "port": 80}]}
    return Service.from_dict(
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": base | spec,
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"ip": "203.0.113.2", "ipMode": "Proxy"}]}},
        }
    )


def endpoint_slice(endpoints: list[dict[str, Any]], **fields: Any) -> EndpointSlice:
    base = {
        "metadata": {"name": "web-x", "namespace": "default"},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }
    return EndpointSlice.from_dict(base | fields)


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": "None", "clusterIPs": ["None"]},
        {"clusterIP": "", "clusterIPs": None},
        {"type": "ExternalName", "externalName": "example.org"},
        {"clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]},
        {"ports": None},
    ],
)
def test_services_that_are_nobodys_to_proxy(spec: dict[str, Any]) -> None:
    assert service_ports(service(**spec)) == []


def test_each_port_is_a_load_balancer_of_its_own() -> None:
    ports = service_ports(service(ports=[{"name": "a", "port": 1}, {"name": "b", "port": 2, "protocol": "UDP"}]))
    assert [(str(p), p.protocol, p.port) for p in ports] == [("default/web:a", "tcp", 1), ("default/web:b", "udp", 2)]


def test_load_balancer_addresses_count_for_that_type_only() -> None:
    (port,) = service_ports(service(type="LoadBalancer", loadBalancerSourceRanges=[" 192.0.2.0/24", "fd00::/8", "x/y"]))
    assert port.load_balancer_vips == ("203.0.113.1",)
    assert port.source_ranges == ("192.0.2.0/24",)
    (plain,) = service_ports(service(type="NodePort", loadBalancerSourceRanges=["192.0.2.0/24"]))
    assert (plain.load_balancer_vips, plain.source_ranges) == ((), ())


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, 0),
        ({"sessionAffinity": "ClientIP"}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}, 60),
    ],
)
def test_session_affinity(spec: dict[str, Any], seconds: int) -> None:
    assert service_ports(service(**spec))[0].affinity_seconds == seconds


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, (True, True, False)),
        ({}, (True, True, False)),
        ({"ready": False}, (False, False, False)),
        ({"ready": False, "serving": True, "terminating": True}, (False, True, True)),
    ],
)
def test_conditions_of_an_endpoint(conditions: dict[str, bool] | None, expected: tuple[bool, bool, bool]) -> None:
    (port,) = service_ports(service())
    found = endpoints_of(port, [endpoint_slice([{"addresses": ["10.244.1.5"], "conditions": conditions}])], "n1")
    assert found == [Endpoint("10.244.1.5", 8080, False, *expected)]


def test_endpoints_come_from_all_slices_and_the_right_port() -> None:
    (port,) = service_ports(service())
    leaving = {"addresses": ["10.244.1.5"], "conditions": {"ready": False}, "nodeName": "n1"}
    arriving = {"addresses": ["10.244.1.5"], "conditions": {"ready": True}, "nodeName": "n1"}
    slices = [
        endpoint_slice([leaving]),
        endpoint_slice([arriving, {"addresses": ["10.244.2.6"], "nodeName": "n2"}]),
        endpoint_slice([{"addresses": ["10.244.9.9"]}], ports=[{"name": "metrics", "port": 9090}]),
        endpoint_slice([{"addresses": ["fd00::9"]}], addressType="IPv6"),
    ]
    assert endpoints_of(port, slices, "n1") == [Endpoint("10.244.1.5", 8080, True), Endpoint("10.244.2.6", 8080)]
