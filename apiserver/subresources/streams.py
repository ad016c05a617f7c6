"""pods/exec, pods/attach and pods/portforward: an upgraded connection from the client to the kubelet.

The API server checks who asks and what for, turns the options into the kubelet's, and then passes bytes on (relay.py).
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from apiserver.endpoints.request import Request, Send
from apiserver.subresources.containers import choose_container, node_of, pod_of
from apiserver.subresources.context import Context
from apiserver.subresources.relay import tunnel, tunnel_of
from apiserver.types import Connection
from common.api.status import BadRequest

STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""The API's names of the streams, and the kubelet's."""


def stream_query(request: Request, default_on: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    options = []
    for name, kubelet_name in STREAMS.items():
        if request.flag(name) or (name in default_on and name not in request.query):
            options.append((kubelet_name, "1"))
    return options


async def exec_(context: Context, connection: Connection, request: Request, send: Send) -> None:
    command = request.query.get("command", [])
    options = stream_query(request)
    choose_container(await pod_of(context, connection), request.param("container"))  # wrong names are told of first
    if not command:
        raise BadRequest("you must specify at least 1 command for the container")
    if not options:
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    await _container_stream(context, connection, request, send, "exec", [*options, *(("command", c) for c in command)])


async def attach(context: Context, connection: Connection, request: Request, send: Send) -> None:
    options = stream_query(request, default_on=("stdout", "stderr"))
    await _container_stream(context, connection, request, send, "attach", options)


async def _container_stream(
    context: Context, connection: Connection, request: Request, send: Send, verb: str, options: list[tuple[str, str]]
) -> None:
    pod = await pod_of(context, connection)
    container = choose_container(pod, request.param("container"))
    path = f"/{verb}/{quote(connection.namespace)}/{quote(connection.name)}/{quote(container)}?{urlencode(options)}"
    await _tunnel(context, node_of(pod), path, request, send)


async def port_forward(context: Context, connection: Connection, request: Request, send: Send) -> None:
    pod = await pod_of(context, connection)
    ports = urlencode([("port", port) for ports in request.query.get("ports", []) for port in ports.split(",")])
    path = f"/portForward/{quote(connection.namespace)}/{quote(connection.name)}" + (f"?{ports}" if ports else "")
    await _tunnel(context, node_of(pod), path, request, send)


async def _tunnel(context: Context, node: str, path: str, request: Request, send: Send) -> None:
    client = tunnel_of(request)
    if client is None:
        raise BadRequest("Upgrade request required")
    await tunnel(await context.kubelet.target(node), path, request, send, client)
