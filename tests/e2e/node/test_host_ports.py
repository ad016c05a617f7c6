"""Ports of the node that lead to pods: who answers at them, and that nobody does once the pod is gone. That two pods
do not get the same one is in test_admission."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.node.machine import ADDRESS, Machine
from tests.e2e.node.support import Kubectl, container_status, eventually

ASK = """
import socket, sys
kind, address, port = sys.argv[1:]
sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "TCP" else socket.SOCK_DGRAM)
sock.settimeout(2)
try:
    sock.connect((address, int(port)))
    sock.send(b"hello\\n")
    print(sock.recv(100).decode().strip())
except OSError as error:
    print(type(error).__name__)
"""
ECHO = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", 7000))
while True:
    said, peer = sock.recvfrom(100)
    sock.sendto(b"udp " + said, peer)
"""
PORT, OTHER = 18190, 18191


def ask(machine: Machine, kind: str, address: str, port: int) -> str:
    """What a process on the machine hears there, or the name of the error."""
    words = machine.inside(sys.executable, "-c", ASK, kind, address, str(port))
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


@contextmanager
def echo(machine: Machine, container_id: str) -> Iterator[None]:
    """A server for UDP in the network namespace of a container, whose image has none."""
    api = machine.docker()
    pid = api.inspect_container(container_id.removeprefix("docker://"))["State"]["Pid"]
    api.close()
    running = subprocess.Popen(["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", ECHO])
    try:
        yield
    finally:
        running.kill()
        running.wait()


def test_ports_of_the_node(kubectl: Kubectl, machine: Machine) -> None:
    def port(**fields: Any) -> dict[str, Any]:
        return {"ports": [{"containerPort": 7000, "hostPort": PORT, **fields}]}

    serve = "exec nc -ll -p 7000 -e sh -c 'read x; echo {name} $x'"
    kubectl.pod("tcp", serve.format(name="tcp"), container=port())
    kubectl.pod("udp", container=port(protocol="UDP"))
    kubectl.pod("here", serve.format(name="here"), container=port(hostPort=OTHER, hostIP=ADDRESS))
    for name in ("tcp", "udp", "here"):
        kubectl.running(name)
    with echo(machine, container_status(kubectl.status("udp"))["containerID"]):
        for kind, number, said in (("TCP", PORT, "tcp"), ("UDP", PORT, "udp"), ("TCP", OTHER, "here")):
            eventually(f"{said} answers", lambda k=kind, n=number, s=said: ask(machine, k, ADDRESS, n) == f"{s} hello")
        assert ask(machine, "TCP", "127.0.0.1", PORT) == "tcp hello"
        assert ask(machine, "TCP", "127.0.0.1", OTHER) == ConnectionRefusedError.__name__
        kubectl("delete", "pod", "tcp")
        assert ask(machine, "TCP", ADDRESS, PORT) == ConnectionRefusedError.__name__
        assert ask(machine, "UDP", ADDRESS, PORT) == "udp hello"
    kubectl.pod("next", serve.format(name="next"), container=port())
    kubectl.running("next")
    eventually("the next one answers", lambda: ask(machine, "TCP", ADDRESS, PORT) == "next hello")
