"""What Docker answers now and then, said by somebody who is not Docker: names that are taken, containers that are being
removed, a daemon that hangs or is gone in the middle."""

from __future__ import annotations

import asyncio
import json
import socketserver
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlparse

import pytest

from kubelet.cri import ContainerConfig, RuntimeFailure, RuntimeUnavailable
from kubelet.runtime.docker import DockerRuntime
from kubelet.runtime.engine import Engine

Answer = tuple[int, object]
T = TypeVar("T")
CONFIG = ContainerConfig("web", "ns", "u", "app", 0, "sha256:1")
TAKEN = (409, {"message": 'Conflict. The container name "/k8s_x" is already in use by container "abc".'})


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextmanager
def daemon(
    answer: Callable[[str, str], Answer | None], versions: Sequence[str] = ("1.41",)
) -> Iterator[tuple[str, list[str]]]:
    """Its socket, and what it was asked. ``answer`` gives status and body of a request; None: it hangs up. ``versions``
    are what it says to speak, one after the other."""
    speaks = iter([*versions, *[versions[-1]] * 100])
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("/v1.41")[2] or self.path
            if path == "/version":
                found: Answer | None = (200, {"ApiVersion": next(speaks), "Version": "20.10"})
            else:
                asked.append(f"{self.command} {path}")
                found = answer(self.command, path)
            if found is None:
                self.close_connection = True
                return
            body = json.dumps(found[1]).encode() if found[0] != 204 else b""
            self.send_response(found[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _serve

        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: object) -> None:
            return

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "docker.sock")
        with Server(path, Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield path, asked
            server.shutdown()


def ask(path: str, call: Callable[[DockerRuntime], Awaitable[T]]) -> T:
    async def main() -> T:
        runtime = DockerRuntime("n", path)
        try:
            return await call(runtime)
        finally:
            await runtime.close()

    return asyncio.run(main())


def names(asked: list[str]) -> list[str]:
    return [parse_qs(urlparse(each).query)["name"][0] for each in asked if "/containers/create" in each]


def test_a_name_that_an_earlier_attempt_has_taken() -> None:
    left = [TAKEN]

    def answer(method: str, path: str) -> Answer:
        if method == "DELETE":
            return 204, {}
        return left.pop() if left else (201, {"Id": "new"})

    with daemon(answer) as (path, asked):
        assert ask(path, lambda docker: docker.create_container("s", CONFIG)) == "new"
    assert len(set(names(asked))) == 1
    assert [each.split("?")[0] for each in asked] == [
        "POST /containers/create",
        "DELETE /containers/k8s_app_web_ns_u_0",
        "POST /containers/create",
    ]


def test_a_name_that_is_never_given_back() -> None:
    """Docker has lost itself in removing the old one: the new one is called otherwise."""

    def answer(method: str, path: str) -> Answer:
        if method == "DELETE":
            return 409, {"message": "removal of container abc is already in progress"}
        return TAKEN if path.endswith("name=k8s_app_web_ns_u_0") else (201, {"Id": "new"})

    with daemon(answer) as (path, asked):
        assert ask(path, lambda docker: docker.create_container("s", CONFIG)) == "new"
    assert names(asked)[-1].startswith("k8s_app_web_ns_u_0_")


def test_other_conflicts_are_told() -> None:
    busy = 500, {"message": 'driver "overlay2" failed to remove root filesystem: device or resource busy'}
    with daemon(lambda method, path: busy) as (path, _), pytest.raises(RuntimeFailure, match="device or resource busy"):
        ask(path, lambda docker: docker.remove_container("abc"))
    with daemon(lambda method, path: (409, {"message": "other"})) as (path, asked):
        with pytest.raises(RuntimeFailure, match="Error response from daemon: other"):
            ask(path, lambda docker: docker.create_container("s", CONFIG))
        assert len(asked) == 1


def test_what_has_ended_or_gone_is_stopped_already() -> None:
    ended = 409, {"message": "Cannot kill container: abc: Container abc is not running"}
    gone = 404, {"message": "No such container: abc"}
    running = 200, {"Config": {"StopSignal": "SIGINT"}, "State": {"Running": True}}
    for kill in (ended, gone):
        with daemon(lambda method, path, kill=kill: kill if method == "POST" else running) as (path, asked):
            ask(path, lambda docker: docker.stop_container("abc", 5))
        assert asked == ["GET /containers/abc/json", "POST /containers/abc/kill?signal=SIGINT"]


def test_a_daemon_that_goes_in_the_middle() -> None:
    with daemon(lambda method, path: None) as (path, asked):
        for _ in range(2):
            with pytest.raises(RuntimeUnavailable):
                ask(path, lambda docker: docker.start_container("abc"))
        assert len(asked) == 2  # nothing is repeated behind the caller's back


def test_a_daemon_that_hangs_holds_nobody_for_ever() -> None:
    free = threading.Event()

    def answer(method: str, path: str) -> Answer | None:
        free.wait(60)
        return None

    async def main(path: str) -> None:
        engine = Engine(path, timeout=0.3)
        with pytest.raises(RuntimeUnavailable):
            await engine.get("/containers/abc/json")
        await engine.close()

    with daemon(answer) as (path, _):
        asyncio.run(main(path))
        free.set()


def test_a_daemon_that_comes_back_as_another_one() -> None:
    """What it speaks is asked anew, and a container that is being created is waited for."""
    versions, entered, free = ["1.40", "1.41"], threading.Event(), threading.Event()

    def answer(method: str, path: str) -> Answer | None:
        if path.startswith("/v1.40"):
            return None
        entered.set()
        free.wait(60)
        return 201, {"Id": "new"}

    async def main(path: str) -> None:
        engine = Engine(path)
        with pytest.raises(RuntimeUnavailable):
            await engine.post("/containers/create")
        creating = asyncio.create_task(engine.post("/containers/create"))
        await asyncio.to_thread(entered.wait, 60)
        creating.cancel()
        await asyncio.sleep(0)
        assert not (await asyncio.wait([creating], timeout=0.05))[0]
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await creating
        await engine.close()

    with daemon(answer, versions) as (path, asked):
        asyncio.run(main(path))
    assert asked == ["POST /v1.40/containers/create", "POST /containers/create"]
