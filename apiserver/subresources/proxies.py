"""nodes/proxy, pods/proxy and services/proxy: the API server as a way in to what runs in the cluster.

https://kubernetes.io/docs/tasks/access-application-cluster/access-cluster-services/#manually-constructing-apiserver-proxy-urls
"""

from __future__ import annotations

import random
import re
import ssl
from dataclasses import dataclass
from urllib.parse import quote

from apiserver.endpoints.request import Answer, Request, Send
from apiserver.subresources.addresses import check_address, proxyable
from apiserver.subresources.context import Context
from apiserver.subresources.relay import proxy, tunnel_of
from apiserver.subresources.upstream import Target
from apiserver.types import Connection, Object
from common.api.status import BadRequest, ServiceUnavailable


@dataclass(frozen=True)
class ProxyName:
    """``[scheme:]name[:port]``."""

    scheme: str
    name: str
    port: str


def parse_name(text: str, kind: str) -> ProxyName:
    parts = text.split(":")
    if len(parts) == 1:
        return ProxyName("", parts[0], "")
    if len(parts) == 2:
        return ProxyName("", parts[0], parts[1])
    if len(parts) == 3 and parts[0] in ("", "http", "https"):
        return ProxyName(parts[0], parts[1], parts[2])
    raise BadRequest(f'invalid {kind} request "{text}"')


async def _through(target: Target, connection: Connection, request: Request, send: Send) -> Answer | None:
    """A page at ``…/proxy`` would take its relative links for siblings of ``proxy``: browsers are sent to ``…/proxy/``
    first (upstream: proxyRedirectsforRootPath)."""
    query = request.scope.get("query_string", b"").decode("latin-1")
    suffix = f"?{query}" if query else ""
    at_root = not connection.rest and not request.path.endswith("/")
    if at_root and request.method in ("GET", "HEAD") and tunnel_of(request) is None:
        location = (quote(request.path) + "/" + suffix).encode("latin-1")
        return Answer(b"", 301, b"text/plain", [(b"location", location)])
    path = "/" + quote(connection.rest, safe="/~!$&'()*+,;=:@")
    base = request.path[: len(request.path) - len(connection.rest)].rstrip("/")
    await proxy(target, path + suffix, request, send, quote(base, safe="/~!$&'()*+,;=:@"))
    return None


def _unverified_tls(scheme: str) -> ssl.SSLContext | None:
    """Pods and services have certificates of their own making; upstream does not verify them either."""
    if scheme != "https":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_PORT = re.compile(r"[0-9]{1,5}")


async def node(context: Context, connection: Connection, request: Request, send: Send) -> Answer | None:
    wanted = parse_name(connection.name, "node")
    target = await context.kubelet.target(wanted.name)
    if wanted.port and wanted.port != str(target.port):
        port, addresses = _number(wanted.port, "node"), await proxyable(target.host)
        target = Target(target.host, port, _unverified_tls(wanted.scheme), addresses)
    return await _through(target, connection, request, send)


async def pod(context: Context, connection: Connection, request: Request, send: Send) -> Answer | None:
    wanted = parse_name(connection.name, "pod")
    found = await context.store("", "pods").get(connection.namespace, wanted.name)
    address = (found.get("status") or {}).get("podIP")
    if not address:
        raise BadRequest("address not allowed")
    check_address(address)
    port = wanted.port or str(_first_port(found))
    target = Target(address, _number(port, "pod"), _unverified_tls(wanted.scheme))
    return await _through(target, connection, request, send)


def _first_port(pod: Object) -> int:
    ports = [p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
    return ports[0] if ports else 80


async def service(context: Context, connection: Connection, request: Request, send: Send) -> Answer | None:
    wanted = parse_name(connection.name, "service")
    found = await context.store("", "services").get(connection.namespace, wanted.name)
    port_name = _port_name(found, wanted)
    slices = context.store("discovery.k8s.io", "endpointslices").cached_list(connection.namespace)
    endpoints = [
        (address, port["port"])
        for s in slices
        if (s["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == wanted.name
        for port in s.get("ports") or ()
        if (port.get("name") or "") == port_name and port.get("port")
        for endpoint in s.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint.get("addresses") or ()
        if _of_pod(context, connection.namespace, endpoint.get("targetRef") or {}, address)
    ]
    if not endpoints:
        raise ServiceUnavailable(f'no endpoints available for service "{wanted.name}"')
    host, port = random.choice(endpoints)
    check_address(host)
    target = Target(host, port, _unverified_tls(wanted.scheme))
    return await _through(target, connection, request, send)


def _of_pod(context: Context, namespace: str, ref: Object, address: str) -> bool:
    """Whether an endpoint is a pod of the namespace with that address. Who may write slices could else lead the server
    anywhere (upstream: isValidAddress of the service storage)."""
    if ref.get("kind") != "Pod" or ref.get("namespace") != namespace:
        return False
    found = context.store("", "pods").cached(namespace, ref.get("name", ""))
    return found is not None and any(ip.get("ip") == address for ip in (found.get("status") or {}).get("podIPs") or ())


def _port_name(found: Object, wanted: ProxyName) -> str:
    """The name of the service's port that is meant: by name, by number, or the only one."""
    ports = (found.get("spec") or {}).get("ports") or []
    for port in ports:
        if wanted.port and wanted.port in (port.get("name"), str(port["port"])):
            return str(port.get("name") or "")
    if not wanted.port and len(ports) == 1:
        return str(ports[0].get("name") or "")
    raise ServiceUnavailable(f'no service port "{wanted.port}" found for service "{wanted.name}"')


def _number(text: str, kind: str) -> int:
    if not _PORT.fullmatch(text) or not 0 < int(text) < 65536:
        raise BadRequest(f'invalid {kind} port "{text}"')
    return int(text)
