"""What the subresources decide, apart from the HTTP around it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from apiserver.authn.tokens import DELETED_GRACE_SECONDS
from apiserver.endpoints.request import Request
from apiserver.resources.validation.certificates import check_signing_request_approval
from apiserver.resources.validation.reviews import check_self_subject_access_review
from apiserver.subresources import HANDLERS, proxies, upstream
from apiserver.subresources.addresses import check_address, look_up, proxyable
from apiserver.subresources.binding import bind, check
from apiserver.subresources.containers import choose_container, server_error
from apiserver.subresources.eviction import covers, needs_no_budget, spared, take_one
from apiserver.subresources.kubelet import kubelet_address
from apiserver.subresources.log import kubelet_query
from apiserver.subresources.proxies import ProxyName, parse_name
from apiserver.subresources.reviews import attributes_of
from apiserver.subresources.streams import stream_query
from apiserver.subresources.token import validate
from apiserver.subresources.upstream import forwarded
from apiserver.types import User
from common.api.status import BadRequest, Conflict, Forbidden, InternalError, Invalid, StatusError, TooManyRequests


def request(query: str) -> Request:
    scope = {"method": "GET", "path": "/", "headers": [], "query_string": query.encode()}

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    return Request(scope, receive)


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "labels": {"app": "x"}}, "spec": spec}


# ---- binding


def test_binding_sets_node_annotations_and_condition() -> None:
    bound = bind(pod(), {"target": {"name": "n1"}, "metadata": {"annotations": {"a": "b"}}})
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["metadata"]["annotations"] == {"a": "b"}
    assert bound["status"]["conditions"][0]["type"] == "PodScheduled"


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (pod(nodeName="n0"), 'pod p is already assigned to node "n0"'),
        (pod(schedulingGates=[{"name": "g"}]), "pod p has non-empty .spec.schedulingGates"),
        (
            {"metadata": {"name": "p", "deletionTimestamp": "x"}, "spec": {}},
            "pod p is being deleted, cannot be assigned to a host",
        ),
    ],
)
def test_binding_conflicts(obj: dict[str, Any], message: str) -> None:
    with pytest.raises(Conflict) as refused:
        bind(obj, {"target": {"name": "n1"}})
    assert refused.value.message == f'Operation cannot be fulfilled on pods/binding "p": {message}'


@pytest.mark.parametrize("target", [{}, {"name": ""}, {"name": "n", "kind": "Pod"}])
def test_binding_needs_a_node(target: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        check({"target": target, "metadata": {"name": "p"}})


# ---- eviction


def budget(allowed: int = 1, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "b", "generation": 1},
        "spec": {"selector": {"matchLabels": {"app": "x"}}},
        "status": {"observedGeneration": 1, "disruptionsAllowed": allowed, **status},
    }


def test_a_budget_gives_one_disruption_and_remembers_whose() -> None:
    taken = take_one(budget(2), "p")["status"]
    assert taken["disruptionsAllowed"] == 1
    assert list(taken["disruptedPods"]) == ["p"]


def test_a_budget_without_any_refuses() -> None:
    with pytest.raises(TooManyRequests, match="violate the pod's disruption budget"):
        take_one(budget(0), "p")
    with pytest.raises(TooManyRequests) as refused:
        take_one(budget(5, observedGeneration=0), "p")
    assert refused.value.retry_after == 10
    with pytest.raises(Forbidden):
        take_one(budget(-1), "p")


def test_which_pods_a_budget_is_about() -> None:
    assert covers(budget(), pod())
    assert not covers({"spec": {}}, pod())
    assert covers({"spec": {"selector": {}}}, pod())
    running = {**pod(), "status": {"phase": "Running"}}
    assert not needs_no_budget(running)
    assert needs_no_budget({**pod(), "status": {"phase": "Pending"}})
    assert spared(budget(currentHealthy=2, desiredHealthy=2), running)
    assert not spared(budget(currentHealthy=1, desiredHealthy=2), running)


# ---- which container, which node


@pytest.mark.parametrize(
    ("spec", "wanted", "found"),
    [
        ({"containers": [{"name": "a"}]}, "", "a"),
        ({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}, "i", "i"),
        ({"containers": [{"name": "a"}]}, "b", "container b is not valid for pod p"),
        (
            {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]},
            "",
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]",
        ),
    ],
)
def test_choose_container(spec: dict[str, Any], wanted: str, found: str) -> None:
    try:
        assert choose_container(pod(**spec), wanted) == found
    except BadRequest as refused:
        assert refused.message == found


def test_kubelet_address() -> None:
    addresses = [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "10.0.0.5"}]
    assert kubelet_address({"status": {"addresses": addresses}}) == ("10.0.0.5", 10250)
    endpoints = {"kubeletEndpoint": {"Port": 1234}}
    assert kubelet_address({"status": {"addresses": addresses, "daemonEndpoints": endpoints}})[1] == 1234
    with pytest.raises(InternalError):
        kubelet_address({})


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (400, "BadRequest", "text"),
        (404, "NotFound", "the server could not find the requested resource ( pods p)"),
        (500, "InternalError", "Internal error occurred: text"),
    ],
)
def test_a_kubelets_refusal(status: int, kind: str, message: str) -> None:
    error = server_error(status, "text", "pods", "p")
    assert isinstance(error, StatusError)
    assert (error.code, error.reason, error.message) == (status, kind, message)


# ---- options


def test_log_options() -> None:
    assert kubelet_query(request("follow=true&tailLines=10&timestamps=false&previous=1")) == (
        "follow=true&previous=true&tailLines=10"
    )
    for wrong, error in (("tailLines=-1", Invalid), ("sinceSeconds=0", Invalid), ("tailLines=x", BadRequest)):
        with pytest.raises(error):
            kubelet_query(request(wrong))
    with pytest.raises(Invalid, match="at most one of"):
        kubelet_query(request("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z"))


def test_stream_options() -> None:
    assert stream_query(request("stdin=true&stdout=1&stderr=false&tty=true")) == [
        ("input", "1"),
        ("output", "1"),
        ("tty", "1"),
    ]
    assert stream_query(request(""), ("stdout", "stderr")) == [("output", "1"), ("error", "1")]


def test_credentials_and_hop_by_hop_headers_stay_here() -> None:
    headers = [(b"authorization", b"Bearer x"), (b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"a", b"b")]
    assert forwarded(headers) == [(b"a", b"b")]
    assert dict(forwarded(headers, upgrade=True)) == {b"a": b"b", b"upgrade": b"websocket", b"connection": b"Upgrade"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web", ProxyName("", "web", "")),
        ("web:http", ProxyName("", "web", "http")),
        ("https:web:443", ProxyName("https", "web", "443")),
        ("https:web:", ProxyName("https", "web", "")),
    ],
)
def test_proxy_names(text: str, name: ProxyName) -> None:
    assert parse_name(text, "service") == name


def test_a_wrong_proxy_name() -> None:
    with pytest.raises(BadRequest, match='invalid service request "a:b:c:d"'):
        parse_name("a:b:c:d", "service")


# ---- parts and reviews


def test_approval_is_for_good() -> None:
    approved = {"status": {"conditions": [{"type": "Approved", "status": "True"}]}}
    denied = {"status": {"conditions": [{"type": "Denied", "status": "True"}]}}
    both = {"status": {"conditions": [*approved["status"]["conditions"], *denied["status"]["conditions"]]}}

    def wrong(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
        """What is wrong with the conditions; the rest of these requests is not there."""
        return [e.type for e in check_signing_request_approval(new, old) if e.field.startswith("status.conditions")]

    assert wrong({}, approved) == []
    assert wrong(approved, denied) == ["FieldValueForbidden"]
    assert wrong(approved, both) == ["FieldValueInvalid"]


def test_a_review_asks_about_one_thing() -> None:
    user = User("jane")
    resource = {"verb": "get", "resource": "pods", "namespace": "ns"}
    asked = attributes_of({"kind": "X", "spec": {"resourceAttributes": resource}}, user)
    assert (asked.verb, asked.resource, asked.namespace, asked.is_resource) == ("get", "pods", "ns", True)
    path = {"verb": "get", "path": "/metrics"}
    assert not attributes_of({"kind": "X", "spec": {"nonResourceAttributes": path}}, user).is_resource
    for wrong in ({}, {"resourceAttributes": resource, "nonResourceAttributes": path}):
        assert len(check_self_subject_access_review({"spec": wrong})) == 1


@pytest.mark.parametrize("seconds", [599, 1 << 33, "x"])
def test_token_lifetimes(seconds: Any) -> None:
    with pytest.raises(Invalid, match=r"spec.expirationSeconds"):
        validate({"spec": {"expirationSeconds": seconds}}, "default")
    validate({"spec": {"expirationSeconds": 600}}, "default")
    assert DELETED_GRACE_SECONDS < 600


def test_the_table_names_verbs_for_discovery() -> None:
    assert HANDLERS["", "pods", "exec"].verbs == ("create", "get")
    assert HANDLERS["", "pods", "ephemeralcontainers"].verbs == ("get", "patch", "update")
    assert HANDLERS["", "nodes", "proxy"].verbs == ("create", "delete", "get", "patch", "update")
    assert HANDLERS["", "pods", "log"].verb("POST") is None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
    ],
)
def test_addresses_that_are_not_proxied_to(address: str) -> None:
    with pytest.raises(BadRequest, match="address not allowed"):
        check_address(address)
    check_address("10.244.1.5")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "127.1", "2130706433", "0", "::1", "fe80::1%1"])
async def test_names_are_judged_by_where_they_lead(name: str) -> None:
    with pytest.raises(BadRequest, match="address not allowed"):
        await proxyable(name)


@pytest.mark.parametrize("name", ["", "no.such.invalid", "x" * 300, "a b", "\ud800"])
async def test_names_that_lead_nowhere(name: str) -> None:
    with pytest.raises(BadRequest):
        await proxyable(name)


async def test_every_address_of_a_name_must_be_fit() -> None:
    async def resolve(name: str) -> tuple[str, ...]:
        return {"good": ("10.0.0.1", "2600::"), "bad": ("10.0.0.1", "127.0.0.1")}.get(name, ())

    assert await proxyable("good", resolve) == ("10.0.0.1", "2600::")
    with pytest.raises(BadRequest, match="address not allowed"):
        await proxyable("bad", resolve)
    with pytest.raises(BadRequest, match="No addresses for hostname"):
        await proxyable("none", resolve)
    assert await look_up("10.0.0.1") == ("10.0.0.1",)


async def test_the_connection_goes_where_was_judged_and_is_still_called_by_name() -> None:
    """The name is not asked for again: the next answer could be another."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    target = upstream.Target("name.invalid", port, addresses=("127.0.0.2", "127.0.0.1"))
    async with upstream.request(target, "GET", "/", []) as answer:
        assert answer.status == 204
        raw = answer.writer.get_extra_info("socket")
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert b"host: name.invalid:%d\r\n" % port in heads[0]
    server.close()


@asynccontextmanager
async def answering(data: bytes) -> AsyncIterator[upstream.Target]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(0, len(data), 7):
            writer.write(data[at : at + 7])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield upstream.Target("127.0.0.1", server.sockets[0].getsockname()[1])


async def test_hints_before_an_answer_are_not_the_answer() -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"
    data = hints + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    async with answering(data) as target, upstream.request(target, "GET", "/", []) as answer:
        assert (answer.status, answer.headers) == (200, [(b"content-length", b"2")])
        assert b"".join([chunk async for chunk in answer.chunks()]) == b"ok"


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 999 Odd\r\n\r\n", b"SSH-2.0\r\n\r\n", b"HTTP/1.1 200"]
)
async def test_what_is_no_answer(data: bytes) -> None:
    async with answering(data) as target:
        with pytest.raises(OSError):
            async with upstream.request(target, "GET", "/", []):
                pass


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "\u00b2", "9" * 5000, "http", " 80"])
def test_ports_that_are_none(text: str) -> None:
    with pytest.raises(BadRequest, match="invalid pod port"):
        proxies._number(text, "pod")
    assert proxies._number("65535", "pod") == 65535
