"""nodes/proxy, as one of the proxy subresources: what goes through, and what is changed on the way."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.integration.apiserver.far_kubelet import FarKubelet
from tests.integration.conftest import ApiServer


@pytest.fixture
def far(apiserver: ApiServer) -> Iterator[FarKubelet]:
    with FarKubelet(apiserver.pki) as kubelet:
        yield kubelet


@contextmanager
def node_at(http: httpx.Client, type_: str, address: str, port: int) -> Iterator[str]:
    """The path of a node whose kubelet listens there."""
    node = f"far-{uuid.uuid4().hex[:6]}"
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}
    assert http.post("/api/v1/nodes", json=body).status_code == 201
    status = {
        "addresses": [{"type": type_, "address": address}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    patch = {"content-type": "application/merge-patch+json"}
    assert http.patch(f"/api/v1/nodes/{node}/status", json={"status": status}, headers=patch).status_code == 200
    yield f"/api/v1/nodes/{node}"
    http.delete(f"/api/v1/nodes/{node}")


@pytest.fixture
def base(http: httpx.Client, far: FarKubelet) -> Iterator[str]:
    """The proxy subresource of a node whose kubelet is a FarKubelet."""
    with node_at(http, "InternalIP", "127.0.0.1", far.port) as path:
        yield f"{path}/proxy"


def test_links_and_redirects_lead_back_through_the_proxy(http: httpx.Client, base: str) -> None:
    page = http.get(f"{base}/app/page")
    assert page.text == f'<html><a href="{base}/app/next">next</a><a href="here">here</a></html>'
    assert "access-control-allow-origin" not in page.headers
    moved = http.get(f"{base}/app/moved")
    assert (moved.status_code, moved.headers["location"]) == (302, f"{base}/app/page")
    root = http.get(f"{base}?a=b")
    assert (root.status_code, root.headers["location"]) == (301, f"{base}/?a=b")


def test_a_head_has_no_body_to_wait_for(http: httpx.Client, base: str) -> None:
    answer = http.head(f"{base}/app/page")
    assert (answer.status_code, answer.content) == (200, b"")


def test_bodies_of_any_size_pass(http: httpx.Client, far: FarKubelet, base: str) -> None:
    data = b"x" * 10_000_000
    assert http.post(f"{base}/app/size", content=data).text == str(len(data))
    assert b"content-length: 10000000" in far.heads[-1].lower()
    chunks = (data[at : at + 100_000] for at in range(0, len(data), 100_000))
    assert http.put(f"{base}/app/size", content=chunks).text == str(len(data))
    assert b"transfer-encoding: chunked" in far.heads[-1].lower()
    assert http.request("OPTIONS", f"{base}/app/size").text == "0"


def test_an_answer_before_the_body_is_read_arrives(http: httpx.Client, base: str) -> None:
    answer = http.post(f"{base}/app/refused", content=b"x" * 3_000_000)
    assert (answer.status_code, answer.text) == (413, "no")


def test_who_asked_and_for_what_is_told(http: httpx.Client, far: FarKubelet, base: str) -> None:
    http.get(f"{base}/app/a%20b/?q=1", headers={"cookie": "secret", "x-own": "1"})
    head = far.heads[-1].decode().lower().split("\r\n")
    assert head[0].startswith("get /app/a%20b/?q=1 ")
    assert f"x-forwarded-uri: {base}/app/a%20b/" in head
    assert "x-forwarded-for: 127.0.0.1" in head
    assert "x-own: 1" in head
    assert not any(line.startswith(("cookie:", "authorization:")) for line in head)


def test_a_server_that_hangs_up_is_said_so(http: httpx.Client, base: str) -> None:
    answer = http.get(f"{base}/app/drop")
    assert answer.status_code == 500
    assert answer.json()["message"].startswith("error trying to reach service: ")


@pytest.mark.parametrize(
    ("type_", "address", "message"),
    [
        ("InternalIP", "127.0.0.1", "address not allowed"),
        ("Hostname", "localhost", "address not allowed"),
        ("InternalDNS", "127.1", "address not allowed"),
        ("Hostname", "no-such-name.invalid", "lookup no-such-name.invalid: no such host"),
    ],
)
def test_other_ports_of_a_node_are_of_another_machine(
    http: httpx.Client, far: FarKubelet, type_: str, address: str, message: str
) -> None:
    """A node's own port is the kubelet's, whose certificate is looked at; all others would be taken on trust."""
    with node_at(http, type_, address, 10250) as path:
        answer = http.get(f"{path}:{far.port}/proxy/")
        assert (answer.status_code, answer.json()["message"]) == (400, message)
        assert not far.heads
