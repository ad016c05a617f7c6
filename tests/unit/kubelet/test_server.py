"""The kubelet's routes over a runtime that lives in this file: who may, what is answered, how streams end."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod
from starlette.testclient import TestClient, WebSocketDenialResponse

from common.api.status import BadRequest, NotFound
from common.serving import PeerIdentity
from kubelet.cri import ContainerState, ContainerStats, RuntimeContainer, RuntimeFailure, RuntimeNotFound
from kubelet.logs.reader import LogOptions
from kubelet.server.app import KubeletServer
from kubelet.server.logs import parse_options
from kubelet.server.websockets import SETTLE_SECONDS, WebSocketClient
from kubelet.stats.collector import StatsCollector

API_SERVER = PeerIdentity("kube-apiserver-kubelet-client", ("system:masters",))
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FakeSession:
    """Echoes its stdin to stdout, then one line to stderr, then ends with ``code``."""

    code: int = 0
    stdin: bool = False
    received: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(8))
    sizes: list[tuple[int, int]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    fail: Exception | None = None

    async def frames(self) -> AsyncIterator[tuple[str, bytes]]:
        if self.fail:
            raise self.fail
        while self.stdin and (data := await self.received.get()):
            yield "stdout", data
        yield "stderr", b"done\n"

    async def write(self, data: bytes) -> None:
        await self.received.put(data)

    async def close_stdin(self) -> None:
        await self.received.put(b"")

    async def resize(self, width: int, height: int) -> None:
        self.sizes.append((width, height))

    async def exit_code(self) -> int:
        return self.code

    async def close(self) -> None:
        self.ended.set()


class FakeRuntime:
    def __init__(self, session: FakeSession) -> None:
        self.session = session
        self.asked: dict[str, Any] = {}
        self.may_begin = threading.Event()
        self.may_begin.set()

    async def exec(self, container_id: str, command: Sequence[str], *, tty: bool = False, stdin: bool = False) -> Any:
        assert await asyncio.to_thread(self.may_begin.wait, 20)
        self.asked = {"id": container_id, "command": command, "tty": tty, "stdin": stdin}
        self.session.stdin = stdin
        return self.session

    async def attach(self, container_id: str, *, tty: bool = False, stdin: bool = False) -> Any:
        self.asked = {"id": container_id, "tty": tty, "stdin": stdin}
        self.session.stdin = stdin
        return self.session

    async def read_logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        self.asked = {"id": container_id, "options": options}
        yield b"one\n"
        yield b"two\n"

    async def list_containers(self, pod_uid: str | None = None) -> list[RuntimeContainer]:
        return [_container("POD", 1), _container("app", 2), _container("gone", 3, ContainerState.EXITED)]

    async def stats_of(
        self, containers: Sequence[RuntimeContainer], *, full: bool = False
    ) -> dict[str, ContainerStats]:
        numbers = {each.id: int(each.id) for each in containers}
        return {key: ContainerStats(key, EPOCH, n * 100, n * 10, n * 5, n, 1) for key, n in numbers.items()}

    async def cgroup_stats(self, paths: Sequence[str], *, full: bool = False) -> dict[str, ContainerStats]:
        return {}

    async def list_images(self) -> list[Any]:
        return []

    async def info(self) -> Any:
        raise RuntimeFailure("away")


def _container(name: str, number: int, state: ContainerState = ContainerState.RUNNING) -> RuntimeContainer:
    return RuntimeContainer(str(number), name, "web", "default", "uid-1", 0, state, "img", "sha", {}, EPOCH)


class FakePods:
    pod = Pod(
        metadata=ObjectMeta(name="web", namespace="default", uid="uid-1"),
        spec=PodSpec(containers=[Container(name="app", image="img", tty=True, stdin=True)]),
    )

    def pods(self) -> list[Pod]:
        return [self.pod]

    def get_pod(self, namespace: str, name: str, uid: str | None = None) -> Pod | None:
        return self.pod if name == "web" else None

    def container_id_for_logs(self, namespace: str, name: str, container: str, previous: bool) -> str:
        if container == "waiting":
            raise BadRequest('container "waiting" in pod "web" is waiting to start: ContainerCreating')
        return "previous" if previous else "current"

    def running_container_id(self, namespace: str, name: str, uid: str | None, container: str) -> str:
        if name != "web":
            raise NotFound(f'pod "{name}" not found')
        return "current"

    def sandbox_pid(self, namespace: str, name: str) -> int:
        return 0


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def runtime(session: FakeSession) -> FakeRuntime:
    return FakeRuntime(session)


def client_as(runtime: FakeRuntime, peer: PeerIdentity | None, healthy: bool = True) -> TestClient:
    async def check() -> None:
        if not healthy:
            raise RuntimeFailure("container runtime is down")

    stats = StatsCollector(runtime, "node-1", Path("/"))  # type: ignore[arg-type]
    app = KubeletServer(FakePods(), runtime, stats, check, runtime.read_logs).app()  # type: ignore[arg-type]

    async def with_peer(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["peer"] = peer
        await app(scope, receive, send)

    return TestClient(with_peer)


@pytest.fixture
def client(runtime: FakeRuntime) -> TestClient:
    return client_as(runtime, API_SERVER)


LOGS = "/containerLogs/default/web/app"
EXEC = "/exec/default/web/app"


def test_only_the_api_server_and_administrators_come_in(runtime: FakeRuntime) -> None:
    assert client_as(runtime, None).get(LOGS).status_code == 401
    node = client_as(runtime, PeerIdentity("system:node:other", ("system:nodes",))).get(LOGS)
    assert node.status_code == 403
    assert node.text == "Forbidden (user=system:node:other, verb=get, resource=nodes, subresource(s)=[proxy])\n"
    assert client_as(runtime, PeerIdentity("kubernetes-admin", ("system:masters",))).get(LOGS).status_code == 200
    assert client_as(runtime, None).get("/healthz").status_code == 200


@pytest.mark.parametrize(("peer", "code"), [(None, 401), (PeerIdentity("someone", ()), 403)])
def test_exec_is_refused_before_the_upgrade(runtime: FakeRuntime, peer: PeerIdentity | None, code: int) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client_as(runtime, peer).websocket_connect(EXEC, subprotocols=["v5.channel.k8s.io"]),
    ):
        pass
    assert refused.value.status_code == code
    assert runtime.asked == {}


def test_healthz_tells_what_is_wrong(runtime: FakeRuntime) -> None:
    answer = client_as(runtime, None, healthy=False).get("/healthz")
    assert (answer.status_code, answer.text) == (500, "healthz check failed: container runtime is down")


def test_logs_stream_both_outputs_with_the_options_asked(client: TestClient, runtime: FakeRuntime) -> None:
    answer = client.get(LOGS + "?follow=true&tailLines=5&timestamps=true&limitBytes=100&sinceTime=2026-01-01T00:00:00Z")
    assert answer.text == "one\ntwo\n"
    assert answer.headers["content-type"].startswith("text/plain")
    assert runtime.asked == {
        "id": "current",
        "options": LogOptions(follow=True, tail=5, since=EPOCH, timestamps=True, limit_bytes=100),
    }


def test_logs_of_the_previous_container(client: TestClient, runtime: FakeRuntime) -> None:
    assert client.get(LOGS + "?previous=true").status_code == 200
    assert runtime.asked["id"] == "previous"


def test_logs_of_a_container_that_waits(client: TestClient) -> None:
    answer = client.get("/containerLogs/default/web/waiting")
    assert answer.status_code == 400
    assert answer.text == 'container "waiting" in pod "web" is waiting to start: ContainerCreating'


@pytest.mark.parametrize("query", ["tailLines=x", "tailLines=-1", "limitBytes=0", "sinceSeconds=0", "sinceTime=noon"])
def test_bad_log_options_are_refused(client: TestClient, query: str) -> None:
    answer = client.get(f"{LOGS}?{query}")
    assert answer.status_code == 400
    assert query.split("=")[0] in answer.text


def test_since_seconds_counts_from_now() -> None:
    since = parse_options({"sinceSeconds": "60"}).since
    assert since is not None and timedelta(seconds=55) < datetime.now(UTC) - since < timedelta(seconds=65)


def test_exec_echoes_and_tells_the_exit_code(client: TestClient, runtime: FakeRuntime, session: FakeSession) -> None:
    session.code = 3
    url = EXEC + "?command=sh&command=-c&command=exit+3&input=1&output=1&error=1&tty=0"
    with client.websocket_connect(url, subprotocols=["v5.channel.k8s.io", "v4.channel.k8s.io"]) as stream:
        assert stream.accepted_subprotocol == "v5.channel.k8s.io"
        stream.send_bytes(b"\x04" + b'{"Width":80,"Height":24}')
        stream.send_bytes(b"\x00hello")
        assert stream.receive_bytes() == b"\x01hello"
        stream.send_bytes(b"\xff\x00")
        assert stream.receive_bytes() == b"\x02done\n"
        status = stream.receive_bytes()
        assert status[0] == 3
        assert json.loads(status[1:])["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
        assert stream.receive()["type"] == "websocket.close"
        assert session.ended.wait(10)
    assert runtime.asked == {"id": "current", "command": ["sh", "-c", "exit 3"], "tty": False, "stdin": True}
    assert session.sizes == [(80, 24)]


def test_a_command_begins_when_the_client_is_there(client: TestClient, runtime: FakeRuntime) -> None:
    """client-go loses what comes before it has made its streams."""
    runtime.may_begin.clear()
    with client.websocket_connect(EXEC + "?command=x", subprotocols=["v5.channel.k8s.io"]) as stream:
        runtime.may_begin.set()
        assert stream.receive_bytes() == b"\x02done\n"


def test_output_is_held_until_the_client_has_settled() -> None:
    sent: list[bytes] = []

    class Socket:
        async def send_bytes(self, data: bytes) -> None:
            sent.append(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        opened = loop.time()
        client = WebSocketClient(Socket(), "v5.channel.k8s.io")  # type: ignore[arg-type]
        sending = asyncio.create_task(client.send("stdout", b"a"))
        await asyncio.sleep(0)
        assert sent == []
        await sending
        assert sent == [b"\x01a"]
        assert loop.time() - opened >= SETTLE_SECONDS
        again = asyncio.create_task(client.send("stdout", b"b"))
        await asyncio.sleep(0)
        assert sent == [b"\x01a", b"\x01b"]
        await again

    asyncio.run(main())


def test_a_command_that_cannot_begin(client: TestClient, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: Any, **__: Any) -> Any:
        raise RuntimeFailure("no such container")

    monkeypatch.setattr(runtime, "exec", refused)
    with client.websocket_connect(EXEC + "?command=x", subprotocols=["v4.channel.k8s.io"]) as stream:
        status = json.loads(stream.receive_bytes()[1:])
        assert stream.receive()["type"] == "websocket.close"
    assert (status["status"], status["reason"]) == ("Failure", "InternalError")
    assert "error executing command in container: no such container" in status["message"]


def test_the_session_is_closed_when_the_client_goes(client: TestClient, session: FakeSession) -> None:
    with client.websocket_connect(EXEC + "?command=cat&input=1", subprotocols=["v4.channel.k8s.io"]) as stream:
        stream.send_bytes(b"\x00x")
        assert stream.receive_bytes() == b"\x01x"
        stream.close()
        assert session.ended.wait(10)


def test_a_runtime_failure_ends_the_stream_with_a_status(client: TestClient, session: FakeSession) -> None:
    session.fail = RuntimeFailure("no such file")
    with client.websocket_connect(EXEC + "?command=x", subprotocols=["v4.channel.k8s.io"]) as stream:
        status = json.loads(stream.receive_bytes()[1:])
    assert status["reason"] == "InternalError"
    assert "error executing command in container: no such file" in status["message"]


def test_a_message_that_is_not_of_the_protocol_closes_the_stream(client: TestClient, session: FakeSession) -> None:
    with client.websocket_connect(EXEC + "?command=cat&input=1", subprotocols=["v4.channel.k8s.io"]) as stream:
        stream.send_bytes(b"")
        assert stream.receive()["code"] == 1002
        assert session.ended.wait(10)


def test_exec_into_nothing_is_refused_before_the_upgrade(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("/exec/default/other/app?command=x", subprotocols=["v4.channel.k8s.io"]),
    ):
        pass
    assert (refused.value.status_code, refused.value.text) == (404, 'pod "other" not found')


def test_an_unknown_subprotocol_is_refused(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect(EXEC + "?command=x", subprotocols=["channel.k8s.io"]),
    ):
        pass
    assert refused.value.status_code == 400


def test_attach_follows_how_the_container_was_made(client: TestClient, runtime: FakeRuntime) -> None:
    with client.websocket_connect("/attach/default/web/app?output=1", subprotocols=["v5.channel.k8s.io"]) as stream:
        assert stream.receive_bytes() == b"\x02done\n"
        assert json.loads(stream.receive_bytes()[1:])["status"] == "Success"
    assert runtime.asked == {"id": "current", "tty": True, "stdin": False}


@pytest.mark.parametrize("path", ["/portForward/default/web", EXEC])
def test_streams_need_an_upgrade(client: TestClient, path: str) -> None:
    answer = client.post(path)
    assert answer.status_code == 400
    assert "unable to upgrade" in answer.text


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", 'query parameter "port" is required'),
        ("?port=", 'query parameter "port" cannot be empty'),
        ("?port=80,x", 'unable to parse "x" as a port'),
        ("?port=80&port=65536", 'unable to parse "65536" as a port'),
        ("?port=0", 'unable to parse "0" as a port'),
    ],
)
def test_port_forward_over_websocket_needs_ports(client: TestClient, query: str, text: str) -> None:
    path = f"/portForward/default/web{query}"
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(path):
        pass
    assert refused.value.status_code == 400
    assert text in refused.value.text


def test_lists_and_figures(client: TestClient) -> None:
    assert client.get("/pods").json()["items"][0]["metadata"]["name"] == "web"
    running = client.get("/runningpods/").json()["items"]
    assert [container["name"] for container in running[0]["spec"]["containers"]] == ["app"]
    summary = client.get("/stats/summary").json()
    assert summary["node"]["nodeName"] == "node-1"
    assert 0 < summary["node"]["memory"]["workingSetBytes"] < summary["node"]["memory"]["availableBytes"] * 100
    pod = summary["pods"][0]
    assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "uid-1"}
    assert [container["name"] for container in pod["containers"]] == ["app"]
    assert pod["cpu"]["usageCoreNanoSeconds"] == 300


def test_a_runtime_that_lost_the_container(runtime: FakeRuntime) -> None:
    class Gone(FakePods):
        def container_id_for_logs(self, namespace: str, name: str, container: str, previous: bool) -> str:
            raise RuntimeNotFound("no such container")

    async def well() -> None:
        return None

    stats = StatsCollector(runtime, "n", Path("/"))  # type: ignore[arg-type]
    app = KubeletServer(Gone(), runtime, stats, well, runtime.read_logs).app()  # type: ignore[arg-type]

    async def with_peer(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})["peer"] = API_SERVER
        await app(scope, receive, send)

    assert TestClient(with_peer).get(LOGS).status_code == 404
