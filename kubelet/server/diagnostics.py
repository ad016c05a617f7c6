"""Routes for whoever looks after a node: single health checks, the configuration, the machine's logs, a command in a
container (/run), and what this kubelet has not, with upstream's answers for it.

/run is upstream's oldest way to run a command: no streams, no exit code, the output alone. /logs shows the files of
``/var/log`` and is off unless ``--enable-system-log-handler`` is given, since they are not the pods' alone.
"""

from __future__ import annotations

import html
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from common.api.status import BadRequest, NotFound
from kubelet.cri import Runtime
from kubelet.types import PodSource

RUN_SECONDS = 60.0


@dataclass(frozen=True)
class Diagnostics:
    """``sync_loop`` says what is wrong with the loop over pods; ``log_dir`` None: /logs is disabled."""

    config: Mapping[str, Any]
    sync_loop: Callable[[], str | None]
    log_dir: Path | None = None

    def routes(self, pods: PodSource, runtime: Runtime) -> list[Route]:
        async def ok(request: Request) -> Response:
            return PlainTextResponse("ok")

        async def sync_loop(request: Request) -> Response:
            if problem := self.sync_loop():
                return PlainTextResponse(f"internal server error: {problem}\n", status_code=500)
            return PlainTextResponse("ok")

        async def configz(request: Request) -> Response:
            return JSONResponse({"kubeletconfig": dict(self.config)})

        async def run(request: Request) -> Response:
            path = request.path_params
            container = pods.running_container_id(path["namespace"], path["pod"], path.get("uid"), path["container"])
            command = request.query_params.get("cmd", "")
            if not command:
                raise BadRequest("a command must be given: cmd")
            try:
                result = await runtime.exec_sync(container, command.split(" "), RUN_SECONDS)
            except TimeoutError:
                return PlainTextResponse(f'command "{command}" timed out', status_code=500)
            if result.exit_code:
                output = result.output.decode(errors="replace")
                text = f"command '{command}' exited with {result.exit_code}: {output}"
                return PlainTextResponse(text, status_code=500)
            return Response(result.output, media_type="text/plain")

        async def checkpoint(request: Request) -> Response:
            path = request.path_params
            namespace, name, container = path["namespace"], path["pod"], path["container"]
            pods.running_container_id(namespace, name, None, container)
            text = f"checkpointing of {namespace}/{name}/{container} failed (the container runtime has no checkpoints)"
            return PlainTextResponse(text, status_code=500)

        async def logs(request: Request) -> Response:
            if self.log_dir is None:
                return PlainTextResponse("logs endpoint is disabled.\n", status_code=405)
            return show(self.log_dir, request.path_params.get("path", ""), request.url.path)

        async def no_profiles(request: Request) -> Response:
            return PlainTextResponse("profiling endpoint is disabled.\n", status_code=405)

        pod = "/{namespace}/{pod}"
        return [
            Route("/healthz/ping", ok),
            Route("/healthz/log", ok),
            Route("/healthz/syncloop", sync_loop),
            Route("/configz", configz),
            Route(f"/run{pod}/{{container}}", run, methods=["POST"]),
            Route(f"/run{pod}/{{uid}}/{{container}}", run, methods=["POST"]),
            Route(f"/checkpoint{pod}/{{container}}", checkpoint, methods=["POST"]),
            Route("/logs", logs),
            Route("/logs/{path:path}", logs),
            Route("/debug/pprof", no_profiles),
            Route("/debug/pprof/{path:path}", no_profiles),
        ]


def show(root: Path, path: str, asked: str) -> Response:
    """A file, or what is in a folder. No link leads out of ``root``. Raises NotFound."""
    base = root.resolve()
    try:
        found = (base / path.lstrip("/")).resolve(strict=True)
        kind = found.stat().st_mode
    except (OSError, ValueError, RuntimeError):
        raise NotFound("404 page not found") from None
    if not found.is_relative_to(base):
        raise NotFound("404 page not found")
    if stat.S_ISREG(kind):
        return FileResponse(found, media_type="text/plain")
    if not stat.S_ISDIR(kind):
        raise NotFound("404 page not found")
    if not asked.endswith("/"):
        return RedirectResponse(f"{asked.rsplit('/', 1)[-1]}/", status_code=301)
    names = sorted(f"{each.name}/" if each.is_dir() else each.name for each in found.iterdir())
    lines = "".join(f'<a href="{quote(name)}">{html.escape(name)}</a>\n' for name in names)
    return HTMLResponse(f'<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n{lines}</pre>\n')
