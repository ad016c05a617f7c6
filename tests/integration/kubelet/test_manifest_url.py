"""Static pods from a URL, and a folder whose changes are seen at once."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from common.api.meta import meta_of
from kubelet.staticpods.files import ManifestFolder
from kubelet.staticpods.sources import StaticSources
from kubelet.staticpods.url import ManifestURL
from tests.integration.kubelet.conftest import eventually


def manifest(name: str, image: str = "i") -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": image}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


class Server:
    """Answers what a test says."""

    def __init__(self) -> None:
        self.body, self.code, self.headers = b"", 200, {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.headers = {name.lower(): value for name, value in self.headers.items()}
                self.send_response(outer.code)
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, format: str, *args: Any) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/pods"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever)
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    thread.join()


def described(pod: Pod) -> str:
    meta = meta_of(pod)
    return f"{meta.name} {(meta.annotations or {})['kubernetes.io/config.source']}"


async def test_pods_from_a_url(server: Server) -> None:
    said: list[str] = []
    seen: list[tuple[list[str], bool]] = []

    def changed(pods: list[Pod], complete: bool) -> None:
        seen.append((sorted(described(pod) for pod in pods), complete))

    sources = StaticSources(["file", "http"], changed)
    source = ManifestURL(server.url, [("Manifest-Token", "secret")], "n1", said.append)
    running = asyncio.create_task(source.run(sources.reader("http"), 0.02))
    try:
        await eventually(lambda: any("zero-length data" in text for text in said))
        server.body = json.dumps(manifest("one")).encode()
        await eventually(lambda: seen and seen[-1] == (["one-n1 http"], False))
        assert server.headers["manifest-token"] == "secret"
        sources.reader("file")([])
        assert seen[-1] == (["one-n1 http"], True)
        both = {"apiVersion": "v1", "kind": "PodList", "items": [manifest("one"), manifest("two")]}
        server.body = json.dumps(both).encode()
        await eventually(lambda: seen[-1] == (["one-n1 http", "two-n1 http"], True))
        # What cannot be had or read changes nothing, and is said once.
        before = len(seen)
        server.code = 500
        await eventually(lambda: any("500" in text for text in said))
        server.code, server.body = 200, b"{"
        await eventually(lambda: any("couldn't parse" in text for text in said))
        assert len(seen) == before and len(said) == 3 and not any("secret" in text for text in said)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_change_in_the_folder_is_seen_at_once(tmp_path: Path) -> None:
    """The time between two looks is an hour here: inotify tells."""
    folder, seen = tmp_path / "manifests", []
    folder.mkdir()
    source = ManifestFolder(folder, "n1", lambda _: None)
    running = asyncio.create_task(source.run(lambda pods: seen.append(len(pods)), 3600))
    try:
        await eventually(lambda: seen == [0])
        (folder / "one.yaml").write_text(json.dumps(manifest("one")))
        await eventually(lambda: seen[-1] == 1)
        (folder / "two.yaml").write_text(json.dumps(manifest("two")))
        await eventually(lambda: seen[-1] == 2)
        (folder / "one.yaml").rename(tmp_path / "elsewhere")
        await eventually(lambda: seen[-1] == 1)
        (folder / "two.yaml").unlink()
        await eventually(lambda: seen[-1] == 0)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_single_file_is_watched_too(tmp_path: Path) -> None:
    path, seen = tmp_path / "pod.yaml", []
    source = ManifestFolder(path, "n1", lambda _: None)
    running = asyncio.create_task(source.run(lambda pods: seen.append(len(pods)), 3600))
    try:
        await eventually(lambda: seen == [0])
        path.write_text(json.dumps(manifest("one")))
        await eventually(lambda: seen[-1] == 1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
