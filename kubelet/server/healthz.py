"""Whether the kubelet is alive, for whoever is on its machine: plain HTTP on --healthz-bind-address (127.0.0.1) and
--healthz-port (10248). It says nothing of the runtime: that is 10250's, and the node's condition.

https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/
"""

from __future__ import annotations

import asyncio
import logging

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from common.serving import serve

log = logging.getLogger("kubelet.server")

RETRY_SECONDS = 5.0


async def _ok(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok", headers={"X-Content-Type-Options": "nosniff"})


def app() -> Starlette:
    return Starlette(routes=[Route("/healthz", _ok), Route("/healthz/ping", _ok)])


async def serve_healthz(host: str, port: int) -> None:
    """Until cancelled. An address that somebody else has ends no kubelet, as upstream: it is tried again."""
    told = False
    while True:
        try:
            await serve(app(), host=host, port=port, tls=None)
        except OSError as error:
            if not told:
                log.error("failed to start the healthz server: %s", error)
            told = True
        await asyncio.sleep(RETRY_SECONDS)
