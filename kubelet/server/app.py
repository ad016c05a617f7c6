"""The kubelet's routes: the paths and answers of upstream's kubelet server that the API server uses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from lightkube.models.core_v1 import Container
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from common.api.status import BadRequest, StatusError
from common.tunnel import Tunnel, tunnel_of
from kubelet.cri import ExecSession, Runtime, RuntimeFailure
from kubelet.logs.reader import LogOptions
from kubelet.pods.identity import find_container
from kubelet.server import logs, portforward, portforward_websocket, remotecommand, websockets
from kubelet.server.auth import ADMINISTRATORS_ONLY, Access, Authorization
from kubelet.server.diagnostics import Diagnostics
from kubelet.server.metrics import Counted, Figures
from kubelet.server.session import refusal
from kubelet.stats.collector import StatsCollector
from kubelet.types import PodSource

ReadLogs = Callable[[str, LogOptions], AsyncIterator[bytes]]
OpenSession = Callable[[], Awaitable[ExecSession]]


@dataclass(frozen=True)
class KubeletServer:
    """What the routes need. ``healthy`` raises to say what is wrong."""

    pods: PodSource
    runtime: Runtime
    stats: StatsCollector
    healthy: Callable[[], Awaitable[None]]
    read_logs: ReadLogs
    access: Access = ADMINISTRATORS_ONLY
    diagnostics: Diagnostics | None = None

    def app(self) -> Starlette:
        pod = "/{namespace}/{pod}"
        routes: list[BaseRoute] = [
            Route("/healthz", self.healthz),
            Route("/pods", self.list_pods),
            Route("/pods/", self.list_pods),
            Route("/runningpods/", self.running_pods),
            Route("/runningpods", self.running_pods),
            *Figures(self.stats, self.runtime).routes(),
            Route(f"/containerLogs{pod}/{{container}}", self.container_logs),
            Route(f"/portForward{pod}", self.port_forward, methods=["GET", "POST"]),
            Route(f"/portForward{pod}/{{uid}}", self.port_forward, methods=["GET", "POST"]),
            WebSocketRoute(f"/portForward{pod}", self.port_forward_websocket),
            WebSocketRoute(f"/portForward{pod}/{{uid}}", self.port_forward_websocket),
        ]
        for name, over_spdy, over_websocket in (
            ("exec", self.exec, self.exec_websocket),
            ("attach", self.attach, self.attach_websocket),
        ):
            for path in (f"/{name}{pod}/{{container}}", f"/{name}{pod}/{{uid}}/{{container}}"):
                routes.append(WebSocketRoute(path, over_websocket))
                routes.append(Route(path, over_spdy, methods=["GET", "POST"]))
        if self.diagnostics is not None:
            routes += self.diagnostics.routes(self.pods, self.runtime)
        return Starlette(
            routes=routes,
            middleware=[Middleware(Counted), Middleware(Authorization, access=self.access)],
            exception_handlers={StatusError: answer_error, RuntimeFailure: answer_error},
        )

    async def healthz(self, request: Request) -> Response:
        try:
            await self.healthy()
        except Exception as error:
            return PlainTextResponse(f"healthz check failed: {error}", status_code=500)
        return PlainTextResponse("ok")

    async def list_pods(self, request: Request) -> Response:
        return pod_list(self.pods.pods())

    async def running_pods(self, request: Request) -> Response:
        """What the runtime runs, whatever the API server believes."""
        pods: dict[str, dict[str, Any]] = {}
        for container in await self.runtime.list_containers():
            if not container.running:
                continue
            metadata = {"name": container.pod_name, "namespace": container.namespace, "uid": container.pod_uid}
            pod = pods.setdefault(container.pod_uid, {"metadata": metadata, "spec": {"containers": []}, "status": {}})
            if not container.is_sandbox:
                pod["spec"]["containers"].append({"name": container.name, "image": container.image, "resources": {}})
        return pod_list(list(pods.values()))

    async def container_logs(self, request: Request) -> Response:
        path = request.path_params
        options = logs.parse_options(request.query_params)
        container_id = self.pods.container_id_for_logs(
            path["namespace"], path["pod"], path["container"], options.previous
        )
        chunks = self.read_logs(container_id, options)
        return StreamingResponse(chunks, media_type="text/plain", headers={"Cache-Control": "no-cache"})

    async def exec(self, request: Request) -> ASGIApp:
        return await self._over_spdy(request, self._open_exec(request), request.query_params.getlist("command"))

    async def exec_websocket(self, websocket: WebSocket) -> None:
        command = websocket.query_params.getlist("command")
        await self._over_websocket(websocket, self._open_exec(websocket), command)

    async def attach(self, request: Request) -> ASGIApp:
        return await self._over_spdy(request, self._open_attach(request), ())

    async def attach_websocket(self, websocket: WebSocket) -> None:
        await self._over_websocket(websocket, self._open_attach(websocket), ())

    async def port_forward(self, request: Request) -> ASGIApp:
        return portforward.serve(request, _tunnel(request), self._port_target(request))

    async def port_forward_websocket(self, websocket: WebSocket) -> None:
        try:
            ports = portforward_websocket.ports_of(websocket.query_params.getlist("port"))
            target = self._port_target(websocket)
        except (StatusError, RuntimeFailure) as error:
            await websocket.send_denial_response(refusal(error))
            return
        await portforward_websocket.serve(websocket, target, ports)

    def _open_exec(self, asked: HTTPConnection) -> OpenSession:
        async def open_session() -> ExecSession:
            return await self.runtime.exec(
                self._running_container(asked),
                asked.query_params.getlist("command"),
                tty=_asked(asked, "tty"),
                stdin=_asked(asked, "input", "stdin"),
            )

        return open_session

    def _open_attach(self, asked: HTTPConnection) -> OpenSession:
        async def open_session() -> ExecSession:
            container_id = self._running_container(asked)
            # How the output is framed depends on what the container was made with, not on what the client asks.
            container = self._container(asked)
            tty = bool(container and container.tty)
            stdin = bool(container and container.stdin) and _asked(asked, "input", "stdin")
            return await self.runtime.attach(container_id, tty=tty, stdin=stdin)

        return open_session

    async def _over_websocket(self, websocket: WebSocket, open_session: OpenSession, command: Sequence[str]) -> None:
        await websockets.serve_session(websocket, lambda: self._running_container(websocket), open_session, command)

    async def _over_spdy(self, request: Request, open_session: OpenSession, command: Sequence[str]) -> ASGIApp:
        def expected(protocol: str) -> frozenset[str]:
            return remotecommand.expected_streams(
                protocol,
                stdin=_asked(request, "input", "stdin"),
                stdout=_asked(request, "output", "stdout"),
                stderr=_asked(request, "error", "stderr"),
                tty=_asked(request, "tty"),
            )

        return await remotecommand.serve_session(request, _tunnel(request), open_session, command, expected)

    def _running_container(self, asked: HTTPConnection) -> str:
        path = asked.path_params
        return self.pods.running_container_id(path["namespace"], path["pod"], path.get("uid"), path["container"])

    def _container(self, asked: HTTPConnection) -> Container | None:
        path = asked.path_params
        pod = self.pods.get_pod(path["namespace"], path["pod"], path.get("uid"))
        spec = pod.spec if pod else None
        if spec is None:
            return None
        return find_container(spec, path["container"])

    def _port_target(self, asked: HTTPConnection) -> portforward.Target:
        """Raises StatusError."""
        namespace, name = asked.path_params["namespace"], asked.path_params["pod"]
        pid = self.pods.sandbox_pid(namespace, name)
        pod = self.pods.get_pod(namespace, name)
        uid = pod.metadata.uid if pod is not None and pod.metadata is not None else None
        return portforward.Target(name, uid or "", pid)


def pod_list(pods: list[Any]) -> Response:
    items = [pod if isinstance(pod, dict) else pod.to_dict() for pod in pods]
    body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
    return Response(msgspec.json.encode(body), media_type="application/json")


async def answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StatusError | RuntimeFailure)
    return refusal(error)


def _tunnel(request: Request) -> Tunnel:
    tunnel = tunnel_of(request.scope)
    if tunnel is None:
        raise BadRequest("unable to upgrade: neither SPDY/3.1 nor WebSocket was asked for")
    return tunnel


def _asked(asked: HTTPConnection, *names: str) -> bool:
    return any(logs.truth(asked.query_params.get(name)) for name in names)
