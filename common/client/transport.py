"""One HTTP connection pool to the API server, and its answers as StatusErrors.

httpx's interface over aiohttp's connections: a sixth of the CPU of httpx's own (see docs/dependencies.md).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from prometheus_client import Counter, Histogram

from common.api.status import ServiceUnavailable, StatusError
from common.client.config import ClusterConfig

TIMEOUT = httpx.Timeout(30.0, connect=10.0)
STREAM_TIMEOUT = httpx.Timeout(30.0, connect=10.0, read=150.0)
"""The server sends a bookmark about every minute: a stream that is silent for longer hangs on a dead connection."""
READ_BUFFER = 1 << 20
"""Bytes aiohttp buffers for one connection: a watch line may be as large as an object (1.5 MiB in etcd)."""

REQUESTS = Counter(
    "rest_client_requests", "Number of HTTP requests, partitioned by status code, method, and host.",
    ["code", "host", "method"],
)  # fmt: skip
DURATION = Histogram(
    "rest_client_request_duration_seconds", "Request latency in seconds. Broken down by verb, and host.",
    ["host", "verb"], buckets=(0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60),
)  # fmt: skip


class Transport:
    """Requests to one API server as one user."""

    def __init__(self, config: ClusterConfig, *, user_agent: str = "coxswain", connections: int = 100) -> None:
        self.config = config
        self._headers = {"User-Agent": user_agent, "Accept": "application/json"}
        self._ssl = config.ssl_context()
        self._host = config.server.partition("://")[2]
        self._connections = connections
        self._http: httpx.AsyncClient | None = None

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:  # aiohttp wants a running loop
            connector = aiohttp.TCPConnector(
                limit=self._connections, ssl=self._ssl if self._ssl is not None else False, keepalive_timeout=60
            )
            session = aiohttp.ClientSession(
                connector=connector,
                read_bufsize=READ_BUFFER,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            self._http = httpx.AsyncClient(
                base_url=self.config.server,
                transport=AiohttpTransport(client=session),
                headers=self._headers,
                timeout=TIMEOUT,
                trust_env=False,
            )
        return self._http

    async def use_certificate(self, pair: str) -> None:
        """From now on this client certificate (a PEM file with its key). Connections made with an earlier one end:
        their requests fail as if the server had gone, and watches go on with the new one."""
        if self._ssl is not None:
            await asyncio.to_thread(self._ssl.load_cert_chain, pair)
        await self.close()

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def __aenter__(self) -> Transport:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _request(self, method: str, path: str, **kw: Any) -> httpx.Request:
        headers = dict(kw.pop("headers", None) or {})
        if token := self.config.bearer():
            headers["Authorization"] = f"Bearer {token}"
        return self._client().build_request(method, path, headers=headers, **kw)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        """The answer, read whole. Raises StatusError; ServiceUnavailable when the server cannot be reached."""
        request = self._request(
            method,
            path,
            params=params,
            content=content,
            headers=headers,
            timeout=httpx.Timeout(timeout) if timeout else TIMEOUT,
        )
        began = time.monotonic()
        try:
            response = await self._client().send(request)
        except (httpx.HTTPError, OSError) as error:
            self._count("<error>", method)
            raise _unreachable(self.config.server, error) from error
        self._count(str(response.status_code), method)
        DURATION.labels(self._host, method).observe(time.monotonic() - began)
        if response.status_code >= 400:
            raise _error(response.status_code, response.content)
        return response

    def _count(self, code: str, method: str) -> None:
        REQUESTS.labels(code, self._host, method).inc()

    @asynccontextmanager
    async def stream(
        self, path: str, *, params: Mapping[str, str] | None = None, accept: str | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A GET whose answer arrives piece by piece: gives an iterator of lines, without their ends."""
        headers = {"Accept": accept} if accept else None
        request = self._request("GET", path, params=params, headers=headers, timeout=STREAM_TIMEOUT)
        try:
            response = await self._client().send(request, stream=True)
        except (httpx.HTTPError, OSError) as error:
            self._count("<error>", "GET")
            raise _unreachable(self.config.server, error) from error
        self._count(str(response.status_code), "GET")
        try:
            if response.status_code >= 400:
                raise _error(response.status_code, await response.aread())
            yield _lines(response)
        except (httpx.HTTPError, aiohttp.ClientError) as error:
            raise _unreachable(self.config.server, error) from error
        finally:
            await asyncio.shield(response.aclose())


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in response.aiter_raw():
        if b"\n" not in chunk:
            rest += chunk
            continue
        first, *lines = chunk.split(b"\n")
        yield rest + first
        rest = lines.pop()
        for line in lines:
            yield line
    if rest:
        yield rest


def _unreachable(server: str, error: Exception) -> ServiceUnavailable:
    return ServiceUnavailable(f"{server}: {error or type(error).__name__}")


def _error(code: int, body: bytes) -> StatusError:
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        status = {"message": body[:300].decode(errors="replace").strip(), "code": code}
    return StatusError.from_status(status, code)
