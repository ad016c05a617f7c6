"""What people and monitors look at: health, version, metrics, and FastAPI's page about these.

Authentication and authorisation are done before a request comes here (:mod:`apiserver.app`).
"""

from __future__ import annotations

import asyncio
import logging

import prometheus_client
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute

from common.api.status import NotFound, StatusError
from common.process import Health, version_info

log = logging.getLogger(__name__)

TITLE = "Coxswain API server"


def build(health: Health, routes: list[BaseRoute]) -> FastAPI:
    """``routes`` are those of the OpenAPI documents of the resources."""
    app = FastAPI(title=TITLE, openapi_url="/docs/openapi.json", docs_url="/docs", redoc_url=None, routes=routes)

    @app.get("/version", tags=["server"])
    async def version() -> dict[str, str]:
        """The version of the API that is served."""
        return version_info()

    @app.get("/metrics", tags=["server"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus metrics."""
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    for name in ("healthz", "livez", "readyz"):
        _add_probe(app, health, name)

    @app.exception_handler(HTTPException)
    async def as_status(request: Request, error: HTTPException) -> JSONResponse:
        status: StatusError = StatusError(str(error.detail), code=error.status_code)
        if error.status_code == 404:
            status = NotFound("the server could not find the requested resource", {})
        return JSONResponse(status.to_status(), status_code=status.code, headers=error.headers)

    return app


def _add_probe(app: FastAPI, health: Health, name: str) -> None:
    @app.get(f"/{name}", name=name, tags=["health"], response_class=PlainTextResponse)
    async def probe(request: Request) -> PlainTextResponse:
        well, lines = await health.report(ready=name == "readyz")
        if well and "verbose" not in request.query_params:
            return PlainTextResponse("ok")
        verdict = f"{name} check {'passed' if well else 'failed'}"
        return PlainTextResponse("\n".join([*lines, verdict, ""]), status_code=200 if well else 500)

    @app.get(f"/{name}/{{check:path}}", name=f"{name}-check", tags=["health"], response_class=PlainTextResponse)
    async def one(check: str) -> PlainTextResponse:
        _, lines = await health.report(ready=True)
        for line in lines:
            if line.startswith((f"[+]{check} ", f"[-]{check} ")):
                well = line.startswith("[+]")
                return PlainTextResponse("ok" if well else f"{line}\n", status_code=200 if well else 500)
        raise HTTPException(404)


class Gate:
    """A health check that fails until something has been done."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.done = asyncio.Event()

    def check(self) -> None:
        if not self.done.is_set():
            raise RuntimeError(f"{self._what} is not complete")
