"""The yardstick: a bare ASGI application on the same server library, behind TLS, under the same load.

What any answer of a Python server costs on this machine, today; the API server's rows are told as multiples of it, so
that figures of different machines compare.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.load import Row, build, parse
from deploy import pki

SERVER = """
import asyncio, sys, uvloop
from common.serving import TLSOptions, serve

async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(serve(app, host="127.0.0.1", port=int(sys.argv[1]), tls=TLSOptions(sys.argv[2], sys.argv[3])))
"""


def measure(seconds: int) -> Row:
    """A POST of a small object by 32 connections."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        folder = Path(name)
        pki.create(folder, nodes=[], sans=[], server="https://127.0.0.1", internal_server="https://127.0.0.1")
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [sys.executable, "-c", SERVER, str(port), folder / "apiserver.crt", folder / "apiserver.key"]
        server = subprocess.Popen(command)
        try:
            _wait(port)
            load = [build(folder), "-server", f"https://127.0.0.1:{port}", "-pods", "1", "-only", "create-cm"]
            load += ["-pids", str(server.pid), "-d", f"{seconds}s"]
            return parse(subprocess.run(load, check=True, capture_output=True, text=True).stdout)["create-cm"]
        finally:
            server.terminate()
            server.wait()


def _wait(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
