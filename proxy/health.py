"""/healthz as load balancers know it from kube-proxy: whether traffic to this node will be served.

200 while rules are kept up to date, 503 once a change waits for longer than two sync periods.
https://kubernetes.io/docs/reference/networking/ports-and-protocols/ ; KEP-3836 for the shape of the answer.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from common.process import Process, health_app
from proxy.sync import Syncer


class SyncHealth:
    """Judges a syncer by its clock."""

    def __init__(self, syncer: Syncer, sync_period: float) -> None:
        self._syncer = syncer
        self._timeout = 2 * sync_period
        self._started = time.monotonic()

    def healthy(self, at: float) -> bool:
        pending = self._syncer.pending_since
        if self._syncer.last_synced is None:
            return False
        return pending is None or at - pending < self._timeout

    def check(self) -> None:
        """For /readyz."""
        if not self.healthy(time.monotonic()):
            raise RuntimeError("the rules are not up to date")

    async def answer(self, _: Request) -> Response:
        present, clock = datetime.now(UTC), time.monotonic()
        healthy = self.healthy(clock)
        synced = self._syncer.last_synced
        # While nothing waits, the rules are as new as this answer.
        updated = present if healthy else present - timedelta(seconds=clock - (synced or self._started))
        body = {"lastUpdated": str(updated), "currentTime": str(present), "nodeEligible": True}
        return JSONResponse(body, status_code=200 if healthy else 503, headers={"X-Content-Type-Options": "nosniff"})


def application(process: Process, health: SyncHealth) -> Starlette:
    """/healthz here, /livez, /readyz and /metrics as every process has them."""
    return Starlette(routes=[Route("/healthz", health.answer), Mount("/", health_app(process))])
