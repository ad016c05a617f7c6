"""Sockets of a pod's network namespace."""

from __future__ import annotations

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from kubelet.network.links import enter_netns

CONNECT_SECONDS = 10.0
_LOOPBACK = ((socket.AF_INET, "tcp4", "127.0.0.1", "127.0.0.1"), (socket.AF_INET6, "tcp6", "::1", "[::1]"))


async def connect_loopback(pid: int, port: int) -> socket.socket:
    """Connects to a port of the network namespace that a process is in, as from within. Raises OSError, in
    the words of Go's dialler.

    A socket stays in the namespace that it was made in, so only its making happens there.
    """
    refused = []
    for family, network, address, shown in _LOOPBACK:
        made = await asyncio.to_thread(_socket_in, f"/proc/{pid}/ns/net", family)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(made, (address, port))
            return made
        except OSError as error:
            made.close()
            reason = os.strerror(error.errno).lower() if error.errno else "i/o timeout"
            refused.append(f"dial {network} {shown}:{port}: connect: {reason}")
        except BaseException:
            made.close()
            raise
    raise ConnectionRefusedError(", ".join(refused))


def _socket_in(namespace: str, family: int) -> socket.socket:
    """In a thread of its own, which ends rather than finds its way back."""
    if not os.path.exists(namespace):
        raise ConnectionRefusedError("the pod's sandbox is gone")
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_enter_and_make, namespace, family).result()


def _enter_and_make(namespace: str, family: int) -> socket.socket:
    enter_netns(namespace)
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    return made
