"""Hooks over HTTPS, to servers that speak it and to such as do not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.node.machine import ADDRESS, Machine
from tests.e2e.node.support import Kubectl, eventually

SERVER = """
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(self.path, self.headers["User-Agent"], self.headers["Authorization"], flush=True)
        self.send_response(503)
        self.end_headers()
    def log_message(self, *_):
        pass
port, certificate, key = sys.argv[1:]
server = http.server.ThreadingHTTPServer(("0.0.0.0", int(port)), Handler)
if certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("listening", flush=True)
server.serve_forever()
"""
TLS, PLAIN = 18543, 18580
POLITE = "trap 'exit 0' TERM; while true; do sleep 0.1; done"


@contextmanager
def serving(machine: Machine, log: Path, port: int, certificate: str = "", key: str = "") -> Iterator[None]:
    """A server on the machine itself, which writes down what it is asked."""
    with log.open("w") as out:
        words = machine.inside(sys.executable, "-c", SERVER, str(port), certificate, key)
        running = subprocess.Popen(words, stdout=out, stderr=subprocess.DEVNULL)
        try:
            eventually("it listens", lambda: "listening" in log.read_text())
            yield
        finally:
            running.kill()
            running.wait()


def hook(path: str, port: int, scheme: str = "HTTPS") -> dict[str, Any]:
    secret = [{"name": "Authorization", "value": "Bearer secret"}]
    return {"httpGet": {"host": ADDRESS, "path": path, "port": port, "scheme": scheme, "httpHeaders": secret}}


def fallbacks(machine: Machine) -> float:
    lines = machine.kubelet_get("/metrics").splitlines()
    return next(float(each.split()[1]) for each in lines if each.startswith("kubelet_lifecycle_handler_http_fallbacks"))


def test_hooks_over_https(kubectl: Kubectl, machine: Machine, tmp_path: Path) -> None:
    def pod(name: str, **hooks: Any) -> None:
        kubectl.pod(name, POLITE, container={"lifecycle": hooks}, terminationGracePeriodSeconds=30)

    over_tls, in_the_open = tmp_path / "tls.log", tmp_path / "plain.log"
    pair = [str(machine.pki / f"kubelet-{machine.node}.{end}") for end in ("crt", "key")]
    with serving(machine, over_tls, TLS, *pair), serving(machine, in_the_open, PLAIN):
        before = fallbacks(machine)
        pod("secret", postStart=hook("/begin", TLS), preStop=hook("/end", TLS))
        pod("open", postStart=hook("/begin", PLAIN), preStop=hook("/end", PLAIN))
        pod("nobody", postStart=hook("/begin", 1))
        pod("mistaken", postStart=hook("/wrong", TLS, "HTTP"))
        for name in ("secret", "open"):
            kubectl.running(name)
        for name in ("nobody", "mistaken"):
            assert kubectl.event("FailedPostStartHook", name)["message"] == "PostStartHook failed"
        event = kubectl.event("LifecycleHTTPFallback", "open")
        said = f"request to HTTPS lifecycle hook {ADDRESS}:{PLAIN} got HTTP response, retry with HTTP succeeded"
        assert (event["type"], event["message"]) == ("Warning", said)
        assert fallbacks(machine) == before + 1
        kubectl("delete", "pod", "secret", "open", "nobody", "mistaken")
        assert fallbacks(machine) == before + 2
        assert not [each for each in kubectl.events("secret") if "Hook" in each["reason"] or "HTTP" in each["reason"]]
    agent = "kube-lifecycle/1.32"
    assert over_tls.read_text().splitlines()[1:] == [f"/{n} {agent} Bearer secret" for n in ("begin", "end")]
    assert in_the_open.read_text().splitlines()[1:] == [f"/{n} {agent} None" for n in ("begin", "end")]
