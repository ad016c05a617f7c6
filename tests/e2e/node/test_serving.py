"""What the kubelet serves on its port, to whom, and streams to real containers through the API server."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.node.machine import ADDRESS, KUBELET, Machine
from tests.e2e.node.support import Kubectl, eventually

SIZE = 12 << 20
"""Bytes of a large transfer."""


def ask(machine: Machine, path: str, *options: str, identity: str = "apiserver-kubelet-client") -> tuple[int, str]:
    """Status and body of the kubelet's answer."""
    words = ["curl", "-sS", "--max-time", "20", "--cacert", str(machine.pki / "ca.crt"), "-w", "\n%{http_code}"]
    if identity:
        words += ["--cert", str(machine.pki / f"{identity}.crt"), "--key", str(machine.pki / f"{identity}.key")]
    body, _, code = machine.run(*words, *options, f"https://{ADDRESS}:{KUBELET}{path}").rpartition("\n")
    return int(code), body


def test_what_is_served(kubectl: Kubectl, machine: Machine) -> None:
    kubectl.pod()
    kubectl.running()
    for path in ("/healthz", "/healthz/ping", "/healthz/log", "/healthz/syncloop"):
        assert ask(machine, path) == (200, "ok")
    code, body = ask(machine, "/configz")
    config = json.loads(body)["kubeletconfig"]
    assert code == 200 and config["maxPods"] == 110 and config["authentication"]["anonymous"] == {"enabled": False}
    assert config["staticPodPath"] == str(machine.manifests)
    pods = json.loads(ask(machine, "/pods")[1])
    assert pods["kind"] == "PodList" and "web" in [pod["metadata"]["name"] for pod in pods["items"]]
    running = json.loads(ask(machine, "/runningpods/")[1])["items"]
    own = next(pod for pod in running if pod["metadata"]["namespace"] == kubectl.namespace)
    assert [each["name"] for each in own["spec"]["containers"]] == ["app"]

    run = f"/run/{kubectl.namespace}/web/app?cmd=echo%20hello"
    assert ask(machine, run, "-X", "POST") == (200, "hello\n")
    code, body = ask(machine, f"/run/{kubectl.namespace}/web/app?cmd=false", "-X", "POST")
    assert code == 500 and "exited with 1" in body
    assert ask(machine, f"/run/{kubectl.namespace}/web/nobody?cmd=true", "-X", "POST")[0] in (400, 404)
    code, body = ask(machine, f"/checkpoint/{kubectl.namespace}/web/app", "-X", "POST")
    assert code == 500 and body.startswith(f"checkpointing of {kubectl.namespace}/web/app failed")
    assert ask(machine, f"/checkpoint/{kubectl.namespace}/none/app", "-X", "POST")[0] == 404
    assert ask(machine, "/logs/") == (405, "logs endpoint is disabled.\n")
    assert ask(machine, "/debug/pprof/heap") == (405, "profiling endpoint is disabled.\n")
    assert ask(machine, "/nothing")[0] == 404 and ask(machine, "/pods", "-X", "DELETE")[0] == 405
    # There is no port without TLS but the one that tells the machine itself whether the kubelet is there.
    said = ["curl", "-sS", "-w", " %{http_code}"]
    for path, answer in (("healthz", "ok 200"), ("healthz/ping", "ok 200"), ("pods", "Not Found 404")):
        assert machine.run(*said, f"http://127.0.0.1:10248/{path}") == answer
    for port in (10248, 10255):
        assert machine.run(*said, f"http://{ADDRESS}:{port}/healthz", check=False) == " 000"


def test_who_comes_in_and_what_they_may(kubectl: Kubectl, machine: Machine) -> None:
    assert ask(machine, "/pods", identity="") == (401, "Unauthorized")
    role = f"{kubectl.namespace}-metrics"
    kubectl("create", "clusterrole", role, "--verb=get", "--resource=nodes/metrics,nodes/stats")
    for account in ("reader", "nobody"):
        kubectl("create", "serviceaccount", account)
    kubectl(
        "create", "clusterrolebinding", role, f"--clusterrole={role}", f"--serviceaccount={kubectl.namespace}:reader"
    )
    try:
        reader, nobody = (
            f"Authorization: Bearer {kubectl('create', 'token', each).strip()}" for each in ("reader", "nobody")
        )
        for path in ("/metrics", "/stats/summary"):
            assert ask(machine, path, "-H", reader, identity="")[0] == 200
        who = f"system:serviceaccount:{kubectl.namespace}"
        assert ask(machine, "/pods", "-H", reader, identity="") == (
            403,
            f"Forbidden (user={who}:reader, verb=get, resource=nodes, subresource(s)=[proxy])\n",
        )
        answer = ask(machine, "/metrics", "-H", nobody, identity="")
        assert answer == (403, f"Forbidden (user={who}:nobody, verb=get, resource=nodes, subresource(s)=[metrics])\n")
        exec_path = f"/exec/{kubectl.namespace}/web/app?command=id&output=1"
        code, body = ask(machine, exec_path, "-X", "POST", "-H", reader, identity="")
        assert code == 403 and "verb=create" in body
        assert ask(machine, "/metrics", "-H", "Authorization: Bearer nonsense", identity="")[0] == 401
        assert ask(machine, "/metrics", "-H", "Authorization: Basic bm86bm8=", identity="")[0] == 401
    finally:
        kubectl("delete", "clusterrolebinding,clusterrole", role)


WAYS = {"websocket": "true", "spdy": "false"}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("REMOTE_COMMAND", "PORT_FORWARD"):
        monkeypatch.setenv(f"KUBECTL_{part}_WEBSOCKETS", WAYS[request.param])


@pytest.mark.usefixtures("way")
def test_streams(kubectl: Kubectl, machine: Machine, tmp_path: Path) -> None:
    kubectl.pod("web", "mkdir -p /w; echo hi > /w/index.html; httpd -f -p 8080 -h /w")
    kubectl.running()
    data = os.urandom(SIZE)
    (tmp_path / "data").write_bytes(data)
    with (tmp_path / "data").open("rb") as source:  # ends when its input does
        done = subprocess.run(
            kubectl.words("exec", "-i", "web", "--", "cat"), stdin=source, capture_output=True, timeout=120
        )
    assert done.returncode == 0 and done.stdout == data
    ended = kubectl.attempt("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (ended.code, ended.out, ended.err.splitlines()[0]) == (7, "out\n", "err")
    missing = kubectl.attempt("exec", "web", "--", "/no/such/command")
    assert missing.code != 0 and "no such file or directory" in missing.out + missing.err
    kubectl("cp", str(tmp_path / "data"), "web:/w/data")
    assert kubectl.sh("sha256sum < /w/data").split()[0] == hashlib.sha256(data).hexdigest()
    kubectl("cp", "web:/w/data", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data
    with forwarded(kubectl) as port:
        body = machine.run("curl", "-sS", f"http://127.0.0.1:{port}/index.html")
        fetched = subprocess.run(
            machine.inside("curl", "-sS", f"http://127.0.0.1:{port}/data"), capture_output=True, timeout=120
        ).stdout
    assert body == "hi\n" and fetched == data


@contextmanager
def forwarded(kubectl: Kubectl) -> Iterator[int]:
    process = subprocess.Popen(kubectl.words("port-forward", "web", ":8080"), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().split(":")[1].split(" ")[0])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


SIZES = (
    "until [ \"$(stty size)\" = '33 77' ]; do sleep 0.1; done; echo first;"
    " until [ \"$(stty size)\" = '44 88' ]; do sleep 0.1; done; echo second; read line; exit 3"
)


@pytest.mark.usefixtures("way")
def test_a_terminal_and_its_size(kubectl: Kubectl) -> None:
    kubectl.pod()
    kubectl.running()
    master, slave = pty.openpty()
    size(slave, 33, 77)
    command = kubectl.words("exec", "-it", "web", "--", "sh", "-c", SIZES)
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    seen = bytearray()

    def read() -> None:
        with suppress(OSError):
            while part := os.read(master, 4096):
                seen.extend(part)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        eventually("the first size", lambda: b"first" in seen)
        size(master, 44, 88)
        process.send_signal(signal.SIGWINCH)

        eventually("the second size", lambda: b"second" in seen)
        os.write(master, b"x\n")
        assert process.wait(30) == 3
    finally:
        process.kill()
        process.wait()
        os.close(master)
        reading.join(5)


def size(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def test_attach(kubectl: Kubectl) -> None:
    """The end of the client's input ends the container's if it is to be so (stdinOnce), and nothing else if not."""
    script = "while read line; do echo got $line; [ $line != bye ] || exit 5; done; echo end"
    kubectl.pod("once", script, container={"stdin": True, "stdinOnce": True}, restartPolicy="Never")
    kubectl.pod("on", script, container={"stdin": True}, restartPolicy="Never")
    kubectl.running("once")
    kubectl.running("on")
    for name, text, last in (("once", b"one\ntwo\n", b"end"), ("on", b"one\ntwo\nbye\n", b"got bye")):
        done = subprocess.run(kubectl.words("attach", "-i", name), input=text, capture_output=True, timeout=60)
        assert done.stdout.splitlines() == [b"got one", b"got two", last], done
    kubectl.phase("Succeeded", "once")
    kubectl.phase("Failed", "on")
