"""Where a proxied request may lead: judged by the addresses that it will be sent to, not by what they are called.

Who may write an address or a name into an object must not reach what listens for the API server's machine alone, or
what that machine's neighbours tell it and nobody else (a cloud's metadata). A name is resolved once and the connection
goes to what was judged: between two answers of a name server there would be room for another one.
Upstream: pkg/proxy/util, IsProxyableIP and IsProxyableHostname.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable

from common.api.status import BadRequest

RESOLVE_SECONDS = 5.0

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]


def check_address(address: str) -> None:
    """Raises BadRequest for what is no address of somebody else's machine."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        raise BadRequest("address not allowed") from None
    ip = getattr(ip, "ipv4_mapped", None) or ip  # ::ffff:127.0.0.1 is 127.0.0.1 to whoever connects to it
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255":
        raise BadRequest("address not allowed")


async def look_up(host: str) -> tuple[str, ...]:
    """The addresses of a name, as a connection to it would find them. Raises BadRequest."""
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise BadRequest(f"lookup {host}: i/o timeout") from None
    except (OSError, UnicodeError):
        raise BadRequest(f"lookup {host}: no such host") from None
    return tuple(dict.fromkeys(str(where[0]) for *_, where in found))


async def proxyable(host: str, resolve: Resolve = look_up) -> tuple[str, ...]:
    """The addresses of ``host``, all of them fit to be connected to. Raises BadRequest."""
    addresses = await resolve(host)
    if not addresses:
        raise BadRequest("No addresses for hostname")
    for address in addresses:
        check_address(address)
    return addresses
