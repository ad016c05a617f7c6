"""What people and monitors look at: health, version, metrics, the list of paths, and FastAPI's page about these.

Authentication and authorisation are done before a request comes here (:mod:`apiserver.app`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

import prometheus_client
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from common.api.status import MethodNotAllowed, NotFound, StatusError
from common.process import Health, health_answer, version_info

log = logging.getLogger(__name__)

TITLE = "Coxswain API server"
PROBES = ("healthz", "livez", "readyz")
READ = ["GET", "HEAD"]


def build(health: Health, routes: list[BaseRoute], paths: Iterable[str] = ()) -> FastAPI:
    """``routes`` are those of the OpenAPI documents of the resources, ``paths`` those of discovery."""
    app = FastAPI(title=TITLE, openapi_url="/docs/openapi.json", docs_url="/docs", redoc_url=None, routes=routes)
    known = list(paths)

    @app.api_route("/version", methods=READ, tags=["server"])
    async def version() -> dict[str, str]:
        """The version of the API that is served."""
        return version_info()

    @app.api_route("/metrics", methods=READ, tags=["server"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    @app.api_route("/", methods=READ, tags=["server"])
    async def index() -> dict[str, list[str]]:
        """Every path that is served beside the resources."""
        checks = [f"/{probe}/{check}" for probe in PROBES for check in health.names(ready=probe == "readyz")]
        own = ["/docs", "/metrics", "/openapi/v2", "/openapi/v3", "/version", *(f"/{probe}" for probe in PROBES)]
        return {"paths": sorted({*known, *own, *checks})}

    for name in PROBES:
        _add_probe(app, health, name)

    @app.exception_handler(HTTPException)
    async def as_status(request: Request, error: HTTPException) -> JSONResponse:
        status: StatusError = StatusError(str(error.detail), code=error.status_code)
        if error.status_code == 404:
            status = NotFound("the server could not find the requested resource", {})
        elif error.status_code == 405:
            status = MethodNotAllowed("the server does not allow this method on the requested resource", {})
        return JSONResponse(status.to_status(), status_code=status.code, headers=error.headers)

    return app


def _add_probe(app: FastAPI, health: Health, name: str) -> None:
    ready = name == "readyz"

    @app.api_route(f"/{name}", methods=READ, name=name, tags=["health"], response_class=PlainTextResponse)
    async def probe(request: Request) -> Response:
        return await health_answer(health, name, request, ready=ready)

    @app.api_route(
        f"/{name}/{{check:path}}",
        methods=READ,
        name=f"{name}-check",
        tags=["health"],
        response_class=PlainTextResponse,
    )
    async def one(check: str) -> PlainTextResponse:
        if check not in health.names(ready=ready):
            raise HTTPException(404)
        failure = await health.failure(check)
        if failure is None:
            return PlainTextResponse("ok")
        return PlainTextResponse(f"internal server error: {failure}\n", status_code=500)


class Shared:
    """A health check that costs somebody else something, and that anybody may ask for: it is done once for all who ask
    within ``seconds`` (upstream: its check of etcd is limited too)."""

    def __init__(self, check: Callable[[], Awaitable[None]], seconds: float = 1.0) -> None:
        self._check = check
        self._seconds = seconds
        self._began = 0.0
        self._asked: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Raises what the check did."""
        now = asyncio.get_running_loop().time()
        if self._asked is None or (self._asked.done() and now - self._began >= self._seconds):
            self._began = now
            self._asked = asyncio.create_task(self._ask())
            self._asked.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._asked)

    async def _ask(self) -> None:
        await self._check()


class Gate:
    """A health check that fails until something has been done."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.done = asyncio.Event()

    def check(self) -> None:
        if not self.done.is_set():
            raise RuntimeError(f"{self._what} is not complete")
