"""Startup, liveness and readiness probes of every kind, right and wrong; and while a pod ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.node.machine import ADDRESS, Machine
from tests.e2e.node.support import SLEEP, Kubectl, container_status, eventually

SERVER = """
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        where = {"/there": "/good", "/away": "http://192.0.2.99/", "/round": "/round"}.get(self.path)
        agent, who = self.headers["User-Agent"], self.headers["X-Who"]
        good = self.path == "/good" or (self.path == "/header" and who == "me" and agent == "kube-probe/1.32")
        self.send_response(302 if where else 200 if good else 503)
        if where:
            self.send_header("Location", where)
        self.end_headers()
        self.wfile.write(b"body")
    def log_message(self, *_):
        pass
port, certificate, key = sys.argv[1:]
server = http.server.ThreadingHTTPServer(("0.0.0.0", int(port)), Handler)
if certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("listening", flush=True)
server.serve_forever()
"""
GRPC = """
import sys
from concurrent import futures
import grpc
class Health(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method != "/grpc.health.v1.Health/Check":
            return None
        states = {b"": 1, b"\\x0a\\x03bad": 2}
        return grpc.unary_unary_rpc_method_handler(lambda request, _: bytes([8, states.get(request, 3)]))
server = grpc.server(futures.ThreadPoolExecutor(2))
server.add_generic_rpc_handlers([Health()])
server.add_insecure_port("0.0.0.0:" + sys.argv[1])
server.start()
print("listening", flush=True)
server.wait_for_termination()
"""


@contextmanager
def serving(machine: Machine, script: str, *words: str) -> Iterator[None]:
    """A server on the machine itself."""
    running = subprocess.Popen(machine.inside(sys.executable, "-c", script, *words), stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "listening\n"
        yield
    finally:
        running.kill()
        running.communicate()


def quick(**action: Any) -> dict[str, Any]:
    return {"periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 5, **action}


def get(path: str, port: object = 18080, **more: Any) -> dict[str, Any]:
    return quick(httpGet={"path": path, "port": port, "host": ADDRESS, **more})


def unhealthy(kubectl: Kubectl, name: str, text: str) -> None:
    event = kubectl.event("Unhealthy", name, text)
    assert event["type"] == "Warning"
    assert event["involvedObject"]["fieldPath"] == "spec.containers{app}"


def test_http(kubectl: Kubectl, machine: Machine) -> None:
    tls = str(machine.pki / "apiserver.crt"), str(machine.pki / "apiserver.key")
    header = {"httpHeaders": [{"name": "X-Who", "value": "me"}]}
    ports = {"ports": [{"name": "web", "containerPort": 18080}]}
    good = {
        "named": get("/good", "web"),
        "header": get("/header", **header),
        "https": get("/good", 18443, scheme="HTTPS"),
        "there": get("/there"),
        "away": get("/away"),
    }
    bad = {
        "status": get("/bad"),
        "plain": get("/good", 18443),
        "refused": get("/", 1),
        "round": get("/round"),
        "unnamed": get("/good", "none"),
    }
    with serving(machine, SERVER, "18080", "", ""), serving(machine, SERVER, "18443", *tls):
        for name, probe in {**good, **bad}.items():
            kubectl.pod(name, container={**ports, "readinessProbe": probe})
        for name in good:
            kubectl.running(name)
        event = kubectl.event("ProbeWarning", "away")
        assert event["message"] == "Readiness probe warning: Probe terminated redirects, Response body: body"
        unhealthy(kubectl, "status", "Readiness probe failed: HTTP probe failed with statuscode: 503")
        unhealthy(kubectl, "refused", f'Readiness probe failed: Get "http://{ADDRESS}:1/": dial tcp {ADDRESS}:1: conn')
        unhealthy(kubectl, "round", "stopped after 10 redirects")
        unhealthy(kubectl, "unnamed", "Readiness probe errored and resulted in unknown state: strconv.Atoi: parsing")
        kubectl.event("Unhealthy", "plain", "Readiness probe failed")
        for name in bad:
            assert container_status(kubectl.status(name))["ready"] is False
        figures = machine.kubelet_get("/metrics/probes")
    rows = [line for line in figures.splitlines() if line.startswith("prober_probe_total{")]
    assert any(
        'result="successful"' in row and 'pod="named"' in row and 'probe_type="Readiness"' in row for row in rows
    )
    for pod, result in (("named", "successful"), ("status", "failed")):
        wanted = (f'pod="{pod}"', f'result="{result}"', 'probe_type="Readiness"', f'namespace="{kubectl.namespace}"')
        assert any(all(each in row for each in wanted) for row in rows), (wanted, rows)


def test_tcp_and_grpc(kubectl: Kubectl, machine: Machine) -> None:
    listen = "exec httpd -f -p 7000"
    kubectl.pod("tcp", listen, container={"readinessProbe": quick(tcpSocket={"port": 7000})})
    kubectl.pod("closed", container={"readinessProbe": quick(tcpSocket={"port": 7001})})
    host = {"hostNetwork": True}
    with serving(machine, GRPC, "19000"):
        kubectl.pod("grpc", container={"readinessProbe": quick(grpc={"port": 19000})}, **host)
        kubectl.pod("bad", container={"readinessProbe": quick(grpc={"port": 19000, "service": "bad"})}, **host)
        kubectl.pod("none", container={"readinessProbe": quick(grpc={"port": 19000, "service": "none"})}, **host)
        kubectl.pod("away", container={"readinessProbe": quick(grpc={"port": 19001})}, **host)
        kubectl.running("tcp")
        kubectl.running("grpc")
        unhealthy(kubectl, "closed", "Readiness probe failed: dial tcp 10.251.1.")
        unhealthy(kubectl, "bad", 'Readiness probe failed: service unhealthy (responded with "NOT_SERVING")')
        unhealthy(kubectl, "none", 'Readiness probe failed: service unhealthy (responded with "SERVICE_UNKNOWN")')
        unhealthy(kubectl, "away", f'Readiness probe failed: error: failed to connect service at "{ADDRESS}:19001"')


def test_startup_liveness_and_what_never_answers(kubectl: Kubectl) -> None:
    def command(*words: str, **more: Any) -> dict[str, Any]:
        return {"periodSeconds": 1, "timeoutSeconds": 5, "exec": {"command": list(words)}, **more}

    go = command("test", "-e", "/tmp/go", failureThreshold=60)
    live = command("sh", "-c", "! test -e /tmp/dead", failureThreshold=1)
    kubectl.pod("slow", SLEEP, container={"startupProbe": go, "livenessProbe": live})
    kubectl.pod("never", SLEEP, container={"startupProbe": command("false", failureThreshold=1)})
    hangs = command("sleep", "1000", timeoutSeconds=1, failureThreshold=2)
    kubectl.pod("hangs", SLEEP, container={"livenessProbe": hangs})
    twice = command("sh", "-c", "echo x >> /tmp/n", successThreshold=3)
    kubectl.pod("thrice", SLEEP, container={"readinessProbe": twice})
    delayed = command("true", initialDelaySeconds=600)
    kubectl.pod("delayed", SLEEP, container={"readinessProbe": delayed})

    eventually("slow runs", lambda: container_status(kubectl.status("slow")).get("state", {}).get("running"))
    status = container_status(kubectl.status("slow"))
    assert (status["started"], status["ready"]) == (False, False)
    kubectl.sh("touch /tmp/go /tmp/dead", "slow")  # liveness waits for the startup probe
    unhealthy(kubectl, "slow", "Liveness probe failed: ")
    kubectl.event("Killing", "slow", "Container app failed liveness probe, will be restarted")
    eventually("restarted", lambda: container_status(kubectl.status("slow")).get("restartCount") == 1)
    kubectl.event("Killing", "never", "Container app failed startup probe, will be restarted")
    unhealthy(kubectl, "hangs", 'Liveness probe failed: command "sleep 1000" timed out')
    kubectl.event("Killing", "hangs", "Container app failed liveness probe, will be restarted")
    kubectl.running("thrice")
    assert len(kubectl.sh("cat /tmp/n", "thrice").splitlines()) >= 3
    status = container_status(kubectl.status("delayed"))
    assert (status["started"], status["ready"]) == (True, False)


def test_readiness_goes_on_while_a_pod_ends_and_liveness_does_not(kubectl: Kubectl) -> None:
    ready = {"periodSeconds": 1, "failureThreshold": 1, "exec": {"command": ["sh", "-c", "! test -e /tmp/ending"]}}
    ends = "trap 'touch /tmp/ending' TERM; while true; do sleep 0.1; done"
    probes = {"readinessProbe": {**ready, "timeoutSeconds": 5}, "livenessProbe": {**ready, "timeoutSeconds": 5}}
    kubectl.pod("ending", ends, container=probes, terminationGracePeriodSeconds=300)
    kubectl.running("ending")
    kubectl("delete", "pod", "ending", "--wait=false")

    def not_ready() -> Any:
        status = container_status(kubectl.status("ending"))
        return status if status.get("ready") is False else None

    status = eventually("not ready any more", not_ready)
    assert status["restartCount"] == 0
    assert "running" in status["state"]
    assert [e for e in kubectl.events("ending") if "Liveness" in e["message"]] == []
    kubectl("delete", "pod", "ending", "--grace-period=1")
