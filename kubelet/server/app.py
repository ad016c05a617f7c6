"""The kubelet's routes: the paths and answers of upstream's kubelet server that the API server uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import prometheus_client
from lightkube.models.core_v1 import Container
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from common.api.status import StatusError
from kubelet.server import logs
from kubelet.server.auth import Authorization
from kubelet.server.stats import StatsCollector
from kubelet.server.streams import refusal, serve_session
from kubelet.types import ExecSession, PodSource, Runtime, RuntimeFailure

_NO_PORT_FORWARD = "port forwarding is not supported by this kubelet"
# No colon in it: kubectl reads the text as YAML first, and a mapping would be taken for an empty Status.
_UPGRADE = (
    "this kubelet streams over WebSocket only, which kubectl does from 1.31 on "
    "(1.29 and 1.30 with KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true)"
)


@dataclass(frozen=True)
class KubeletServer:
    """What the routes need. ``healthy`` raises to say what is wrong."""

    pods: PodSource
    runtime: Runtime
    stats: StatsCollector
    healthy: Callable[[], Awaitable[None]]

    def app(self) -> Starlette:
        pod = "/{namespace}/{pod}"
        routes = [
            Route("/healthz", self.healthz),
            Route("/metrics", self.metrics),
            Route("/pods", self.list_pods),
            Route("/pods/", self.list_pods),
            Route("/runningpods/", self.running_pods),
            Route("/runningpods", self.running_pods),
            Route("/stats/summary", self.summary),
            Route(f"/containerLogs{pod}/{{container}}", self.container_logs),
            Route(f"/portForward{pod}", self.port_forward, methods=["GET", "POST"]),
            Route(f"/portForward{pod}/{{uid}}", self.port_forward, methods=["GET", "POST"]),
            WebSocketRoute(f"/portForward{pod}", self.port_forward_websocket),
            WebSocketRoute(f"/portForward{pod}/{{uid}}", self.port_forward_websocket),
        ]
        for name, endpoint in (("exec", self.exec), ("attach", self.attach)):
            for path in (f"/{name}{pod}/{{container}}", f"/{name}{pod}/{{uid}}/{{container}}"):
                routes.append(WebSocketRoute(path, endpoint))
                routes.append(Route(path, not_a_websocket, methods=["GET", "POST"]))
        return Starlette(
            routes=routes,
            middleware=[Middleware(Authorization)],
            exception_handlers={StatusError: answer_error, RuntimeFailure: answer_error},
        )

    async def healthz(self, request: Request) -> Response:
        try:
            await self.healthy()
        except Exception as error:
            return PlainTextResponse(f"healthz check failed: {error}", status_code=500)
        return PlainTextResponse("ok")

    async def metrics(self, request: Request) -> Response:
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

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

    async def summary(self, request: Request) -> Response:
        return JSONResponse(await self.stats.summary())

    async def container_logs(self, request: Request) -> Response:
        path = request.path_params
        options = logs.parse_options(request.query_params)
        container_id = self.pods.container_id_for_logs(
            path["namespace"], path["pod"], path["container"], options.previous
        )
        chunks = logs.stream(self.runtime, container_id, options)
        return StreamingResponse(chunks, media_type="text/plain", headers={"Cache-Control": "no-cache"})

    async def exec(self, websocket: WebSocket) -> None:
        query = websocket.query_params
        command = query.getlist("command")

        async def open_session() -> ExecSession:
            container_id = self._running_container(websocket)
            return await self.runtime.exec(
                container_id, command, tty=_asked(websocket, "tty"), stdin=_asked(websocket, "input", "stdin")
            )

        await serve_session(websocket, open_session, command)

    async def attach(self, websocket: WebSocket) -> None:
        async def open_session() -> ExecSession:
            container_id = self._running_container(websocket)
            # How the output is framed depends on what the container was made with, not on what the client asks.
            container = self._container(websocket)
            tty = bool(container and container.tty)
            stdin = bool(container and container.stdin) and _asked(websocket, "input", "stdin")
            return await self.runtime.attach(container_id, tty=tty, stdin=stdin)

        await serve_session(websocket, open_session, ())

    async def port_forward(self, request: Request) -> Response:
        return PlainTextResponse(_NO_PORT_FORWARD, status_code=501)

    async def port_forward_websocket(self, websocket: WebSocket) -> None:
        await websocket.send_denial_response(PlainTextResponse(_NO_PORT_FORWARD, status_code=501))

    def _running_container(self, websocket: WebSocket) -> str:
        path = websocket.path_params
        return self.pods.running_container_id(path["namespace"], path["pod"], path.get("uid"), path["container"])

    def _container(self, websocket: WebSocket) -> Container | None:
        path = websocket.path_params
        pod = self.pods.get_pod(path["namespace"], path["pod"], path.get("uid"))
        spec = pod.spec if pod else None
        if spec is None:
            return None
        containers = [*(spec.containers or []), *(spec.initContainers or [])]
        return next((container for container in containers if container.name == path["container"]), None)


def pod_list(pods: list[Any]) -> Response:
    items = [pod if isinstance(pod, dict) else pod.to_dict() for pod in pods]
    body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}
    return Response(msgspec.json.encode(body), media_type="application/json")


async def not_a_websocket(request: Request) -> Response:
    return PlainTextResponse(_UPGRADE, status_code=400)


async def answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StatusError | RuntimeFailure)
    return refusal(error)


def _asked(websocket: WebSocket, *names: str) -> bool:
    return any(logs.truth(websocket.query_params.get(name)) for name in names)
