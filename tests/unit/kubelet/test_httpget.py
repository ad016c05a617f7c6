"""What probes and hooks send over HTTP, and what they make of the answers of servers good and bad."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from lightkube.models.core_v1 import Container, HTTPGetAction, HTTPHeader, LifecycleHandler, Probe

from kubelet.certificates.selfsigned import self_signed
from kubelet.pods.handlers import TIMED_OUT, Handlers, Outcome, Target
from kubelet.pods.httpget import MAX_BODY

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture:DeprecationWarning")
TARGET = Target(Container(name="app"), "id", "127.0.0.1")
NOTHING: Any = None


@pytest.fixture(scope="module")
def event_loop_policy() -> asyncio.AbstractEventLoopPolicy:
    """The kubelet's: its transports are others than Python's own."""
    return uvloop.EventLoopPolicy()


@asynccontextmanager
async def serving(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """One answer a connection, the last one again and again, and then the connection ends; gives the port and the
    heads of the requests."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(answers[min(len(asked), len(answers)) - 1])
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield int(server.sockets[0].getsockname()[1]), asked


async def probe(port: int, path: str = "/", headers: Sequence[tuple[str, str]] = (), scheme: str = "HTTP") -> Outcome:
    own = [HTTPHeader(name, value) for name, value in headers]
    action = HTTPGetAction(port=port, path=path, httpHeaders=own, scheme=scheme)
    return await Handlers(NOTHING).probe(Probe(httpGet=action, timeoutSeconds=5), TARGET)


async def answered(*answers: bytes) -> Outcome:
    async with serving(*answers) as (port, _):
        return await probe(port)


async def test_the_request_is_upstreams() -> None:
    async with serving(OK) as (port, asked):
        assert await probe(port, "/a b/ü?q=1&r=%2F") == Outcome(True, "body")
    assert asked == [
        f"GET /a%20b/%C3%BC?q=1&r=%2F HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: kube-probe/1.32\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    ]


async def test_headers_of_the_probes_own() -> None:
    own = [("Host", "web.example"), ("X-A", "1"), ("X-A", "2"), ("user-agent", "me"), ("Accept", "")]
    async with serving(OK) as (port, asked):
        assert (await probe(port, "/100%", [*own, ("Content-Length", "7")])).ok
    assert asked == [
        "GET /100%25 HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\nX-A: 1\r\nX-A: 2\r\nuser-agent: me\r\n\r\n"
    ]


async def test_a_header_cannot_become_two() -> None:
    async with serving(OK) as (port, asked):
        outcome = await probe(port, headers=[("X-A", "1\r\nX-B: 2")])
        assert not outcome.ok and 'invalid header field value for "X-A"' in outcome.output
    assert asked == []


UPGRADE = b"HTTP/1.1 101 Upgrade\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "ok", "output"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True, ""),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", True, "until the end"),
        (CHUNKED, True, "abcde"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK, True, "body"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"y" * 20_000, True, "y" * MAX_BODY),
        (b"HTTP/1.1 503 Sorry\r\n\r\n", False, "HTTP probe failed with statuscode: 503"),
        (UPGRADE, False, "HTTP probe failed with statuscode: 101"),
    ],
)
async def test_answers(answer: bytes, ok: bool, output: str) -> None:
    assert await answered(answer) == Outcome(ok, output)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", ": EOF"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody", ": unexpected EOF"),
        (b"220 mail.example ESMTP\r\n", "malformed HTTP response"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Long: y\r\n" * 200_000, "server response headers exceeded 1048576 bytes"),
    ],
)
async def test_what_is_no_answer(answer: bytes, text: str) -> None:
    outcome = await answered(answer)
    assert not outcome.ok and text in outcome.output


async def test_nobody_there() -> None:
    async with serving(OK) as (port, _):
        pass
    url = f"http://127.0.0.1:{port}/"
    text = f'Get "{url}": dial tcp 127.0.0.1:{port}: connect: connection refused'
    assert await probe(port) == Outcome(False, text)


async def test_nobody_who_answers() -> None:
    async with await asyncio.start_server(lambda *_: asyncio.sleep(60), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        action = HTTPGetAction(port=port, path="/")
        outcome = await Handlers(NOTHING).probe(Probe(httpGet=action, timeoutSeconds=0.05), TARGET)  # type: ignore[arg-type]
    assert outcome == Outcome(False, f'Get "http://127.0.0.1:{port}/": {TIMED_OUT}', timed_out=True)


def leads_to(place: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 4\r\n\r\naway".encode()


async def test_a_redirect_on_the_same_host_is_followed() -> None:
    async with serving(leads_to("../b?c=1#d"), OK) as (port, asked):
        assert await probe(port, "/x/a", [("Host", "web.example")]) == Outcome(True, "body")
    assert [each.splitlines()[:2] for each in asked] == [
        ["GET /x/a HTTP/1.1", "Host: web.example"],
        ["GET /b?c=1 HTTP/1.1", "Host: web.example"],
    ]


async def test_a_redirect_to_another_port_takes_that_hosts_name() -> None:
    async with serving(OK) as (other, asked), serving(leads_to(f"http://127.0.0.1:{other}/")) as (port, _):
        assert await probe(port, headers=[("Host", "web.example")]) == Outcome(True, "body")
        assert f"Host: 127.0.0.1:{other}" in asked[0]


@pytest.mark.parametrize("place", ["http://192.0.2.99/", "//192.0.2.99/"])
async def test_a_redirect_to_another_host_is_an_answer(place: str) -> None:
    warning = "Probe terminated redirects, Response body: away"
    assert await answered(leads_to(place)) == Outcome(True, "away", warning=warning)


async def test_redirects_without_an_end() -> None:
    async with serving(leads_to("/")) as (port, asked):
        assert "stopped after 10 redirects" in (await probe(port)).output
    assert len(asked) == 10


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """Of a certificate that nobody vouches for, for another name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path, "other", ["other.example"]))
    return context


async def test_https_does_not_look_at_the_certificate(tls: ssl.SSLContext) -> None:
    async with serving(OK, tls=tls) as (port, _):
        assert await probe(port, scheme="HTTPS") == Outcome(True, "body")
        assert not (await probe(port)).ok


async def hook(port: int, scheme: str) -> Outcome:
    action = HTTPGetAction(port=port, path="/", scheme=scheme, httpHeaders=[HTTPHeader("Authorization", "Bearer x")])
    return await Handlers(NOTHING).hook(LifecycleHandler(httpGet=action), TARGET, 5)


async def test_a_hook_over_https_is_delivered_to_a_server_without_tls() -> None:
    """What is answered does not matter, and what is secret is not sent in the open."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.read(4096)
        heads.append(head)
        writer.write(b"HTTP/1.1 503 Sorry\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    heads: list[bytes] = []
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        outcome = await hook(port, "HTTPS")
        text = f"request to HTTPS lifecycle hook 127.0.0.1:{port} got HTTP response, retry with HTTP succeeded"
        assert outcome == Outcome(True, warning=text)
        assert b"User-Agent: kube-lifecycle/1.32" in heads[-1] and b"Bearer" not in heads[-1]
        assert (await hook(port, "HTTP")).ok
        assert b"Authorization: Bearer x" in heads[-1]
    assert not (await hook(port, "HTTP")).ok
