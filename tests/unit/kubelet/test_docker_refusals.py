"""What Docker answers now and then, said by somebody who is not Docker: names that are taken, containers that are being
removed, a daemon that hangs or is gone in the middle."""

from __future__ import annotations

import asyncio
import json
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest

from kubelet.cri import ContainerConfig, RuntimeFailure, RuntimeUnavailable
from kubelet.runtime.docker import DockerRuntime
from kubelet.runtime.pool import DockerPool

Answer = tuple[int, object]
CONFIG = ContainerConfig("web", "ns", "u", "app", 0, "sha256:1")
TAKEN = (409, {"message": 'Conflict. The container name "/k8s_x" is already in use by container "abc".'})


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextmanager
def daemon(answer: Callable[[str, str], Answer | None]) -> Iterator[tuple[str, list[str]]]:
    """Its socket, and what it was asked. ``answer`` gives status and body of a request; None: it hangs up."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("/v1.41")[2] or self.path
            if path == "/version":
                found: Answer | None = (200, {"ApiVersion": "1.41", "Version": "20.10"})
            else:
                asked.append(f"{self.command} {path}")
                found = answer(self.command, path)
            if found is None:
                self.close_connection = True
                return
            body = json.dumps(found[1]).encode()
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


def names(asked: list[str]) -> list[str]:
    return [parse_qs(urlparse(each).query)["name"][0] for each in asked if "/containers/create" in each]


def test_a_name_that_an_earlier_attempt_has_taken() -> None:
    left = [TAKEN]

    def answer(method: str, path: str) -> Answer:
        if method == "DELETE":
            return 204, {}
        return left.pop() if left else (201, {"Id": "new"})

    with daemon(answer) as (path, asked):
        assert asyncio.run(DockerRuntime("n", path).create_container("s", CONFIG)) == "new"
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
        assert asyncio.run(DockerRuntime("n", path).create_container("s", CONFIG)) == "new"
    assert names(asked)[-1].startswith("k8s_app_web_ns_u_0_")


def test_other_conflicts_are_told() -> None:
    busy = 500, {"message": 'driver "overlay2" failed to remove root filesystem: device or resource busy'}
    with daemon(lambda method, path: busy) as (path, _), pytest.raises(RuntimeFailure, match="device or resource busy"):
        asyncio.run(DockerRuntime("n", path).remove_container("abc"))
    with daemon(lambda method, path: (409, {"message": "other"})) as (path, asked):
        with pytest.raises(RuntimeFailure, match="Error response from daemon: other"):
            asyncio.run(DockerRuntime("n", path).create_container("s", CONFIG))
        assert len(asked) == 1


def test_what_has_ended_or_gone_is_stopped_already() -> None:
    ended = 409, {"message": "Cannot kill container: abc: Container abc is not running"}
    gone = 404, {"message": "No such container: abc"}
    running = 200, {"Config": {"StopSignal": "SIGINT"}, "State": {"Running": True}}
    for kill in (ended, gone):
        with daemon(lambda method, path, kill=kill: kill if method == "POST" else running) as (path, asked):
            asyncio.run(DockerRuntime("n", path).stop_container("abc", 5))
        assert asked == ["GET /containers/abc/json", "POST /containers/abc/kill?signal=SIGINT"]


def test_a_daemon_that_goes_in_the_middle() -> None:
    with daemon(lambda method, path: None) as (path, asked):
        for _ in range(2):
            with pytest.raises(RuntimeUnavailable):
                asyncio.run(DockerRuntime("n", path).start_container("abc"))
        assert len(asked) == 2  # nothing is repeated behind the caller's back


def test_a_daemon_that_hangs_holds_nobody_for_ever() -> None:
    free = threading.Event()

    def answer(method: str, path: str) -> Answer | None:
        free.wait(60)
        return None

    async def main(path: str) -> None:
        pool = DockerPool(path, timeout=0.3)
        with pytest.raises(RuntimeUnavailable):
            await pool.call(lambda api: api.inspect_container("abc"))
        pool.close()

    with daemon(answer) as (path, _):
        asyncio.run(main(path))
        free.set()
