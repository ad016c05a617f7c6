"""A registry for tests: version 2 of the protocol on loopback, which Docker trusts without TLS; images in memory.

https://distribution.github.io/distribution/spec/api/
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry:
    """``users``: name and password of who may pull; none: everybody may. While ``hold`` is set, manifests wait."""

    def __init__(self, users: dict[str, str] | None = None) -> None:
        self.users = users or {}
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.pulls: list[str] = []
        """Names whose manifest was asked for."""
        self.seen: set[str] = set()
        """Users who came in."""
        self.at_once = self.most_at_once = 0
        self.free = threading.Event()
        self.free.set()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Registry:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.free.set()
        self._server.shutdown()
        self._server.server_close()

    def add(self, name: str, layer: bytes, tag: str = "v1", **config: Any) -> str:
        """An image of one layer; gives its digest. ``config``: Cmd, Env, User, …"""
        image = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], **config},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer)]},
        }
        described = json.dumps(image).encode()
        for blob in (layer, described):
            self.blobs[digest_of(blob)] = blob
        manifest = {
            "schemaVersion": 2,
            "mediaType": _TYPE,
            "config": {"mediaType": _CONFIG, "size": len(described), "digest": digest_of(described)},
            "layers": [{"mediaType": _LAYER, "size": len(layer), "digest": digest_of(layer)}],
        }
        text = json.dumps(manifest).encode()
        self.manifests[name, tag] = self.manifests[name, digest_of(text)] = text
        return digest_of(text)

    def _admits(self, header: str) -> bool:
        if not self.users:
            return True
        user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        if self.users.get(user) != password:
            return False
        self.seen.add(user)
        return True

    def _manifest(self, name: str, reference: str) -> bytes | None:
        with self._lock:
            self.pulls.append(name)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.free.wait(60)
        with self._lock:
            self.at_once -= 1
        return self.manifests.get((name, reference))

    def _handler(registry) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                if not registry._admits(self.headers.get("Authorization", "")):
                    self._answer(401, b"", {"WWW-Authenticate": 'Basic realm="tests"'})
                    return
                name, _, rest = self.path.removeprefix("/v2/").rpartition("/manifests/")
                if name:
                    found = registry._manifest(name, rest)
                    headers = {"Content-Type": _TYPE, "Docker-Content-Digest": digest_of(found or b"")}
                elif "/blobs/" in self.path:
                    found = registry.blobs.get(self.path.rpartition("/blobs/")[2])
                    headers = {"Content-Type": "application/octet-stream"}
                else:
                    found, headers = b"{}", {}
                if found is None:
                    error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
                    self._answer(404, json.dumps(error).encode(), {"Content-Type": "application/json"})
                else:
                    self._answer(200, found, headers)

            def _answer(self, code: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(code)
                everything = {"Docker-Distribution-API-Version": "registry/2.0", "Content-Length": str(len(body))}
                for key, value in {**everything, **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                return

        return Handler
