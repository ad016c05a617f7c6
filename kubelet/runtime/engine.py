"""Docker's HTTP API on its socket, on the event loop.

The SDK's calls block: each would take a thread, five times the CPU and, with what it loads, some megabytes. What is
needed of it is this page. Every call goes through :class:`Engine`, which turns what goes wrong into the kubelet's
errors, and asks anew which version the daemon speaks when it was away (it may come back as another one).

https://docs.docker.com/reference/api/engine/version/v1.41/
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from kubelet.cri import RuntimeFailure, RuntimeNotFound, RuntimeUnavailable

CONNECTIONS = 16
"""Calls at a time; others wait their turn."""
STREAMS = 256
"""Streams at a time: logs that are followed, pulls, events."""
TIMEOUT = 120.0
"""Seconds until a daemon that does not answer counts as away."""
CONNECT_TIMEOUT = 10.0

Params = Mapping[str, str]


class Engine:
    def __init__(self, socket_path: str, *, connections: int = CONNECTIONS, timeout: float = TIMEOUT) -> None:
        self._socket_path = socket_path
        self._connections = connections
        self._timeout = timeout
        self._calls: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None
        self._version = ""

    async def close(self) -> None:
        for session in (self._calls, self._fresh, self._streams):
            if session is not None:
                await session.close()

    async def get(self, path: str, params: Params | None = None) -> Any:
        """Of an answer that is JSON. Raises RuntimeNotFound, RuntimeFailure, and RuntimeUnavailable when Docker is
        away."""
        return await self._call("GET", path, params, None)

    async def post(self, path: str, params: Params | None = None, body: Mapping[str, Any] | None = None) -> Any:
        return await self._change("POST", path, params, body)

    async def begin(self, path: str, params: Params | None = None, body: Mapping[str, Any] | None = None) -> Any:
        """A POST that makes or starts a container: on a connection of its own, which a daemon on its way out refuses,
        while it goes on to answer on those it has. What it starts in its last moment leaves a mount beneath the next
        daemon's folder, and such a container cannot be removed."""
        return await self._change("POST", path, params, body, fresh=True)

    async def delete(self, path: str, params: Params | None = None) -> None:
        await self._change("DELETE", path, params, None)

    async def versioned(self, path: str) -> str:
        """The path with the version of the API that the daemon speaks; asked once."""
        if not self._version:
            self._version = str((await self._request("GET", "/version", None, None))["ApiVersion"])
        return f"/v{self._version}{path}"

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        silence: float | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The answer as it comes. ``silence``: after so many seconds without a word it is given up."""
        if self._streams is None:
            self._streams = self._session(STREAMS, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(None, sock_connect=CONNECT_TIMEOUT, sock_read=silence)
        url = f"http://docker{await self.versioned(path)}"
        try:
            async with self._streams.request(method, url, params=params, headers=headers, timeout=timeout) as response:
                if response.status >= 400:
                    raise refusal(response.status, await response.read())
                yield response.content.iter_any()
        except aiohttp.SocketTimeoutError as error:
            raise RuntimeFailure(f"canceled because of no progress for {silence:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._away(error) from error

    async def _change(
        self, method: str, path: str, params: Params | None, body: Mapping[str, Any] | None, fresh: bool = False
    ) -> Any:
        """One that is cancelled is still waited for: a container that is being created must not appear after its owner
        believes that nothing is there."""
        calling = asyncio.ensure_future(self._call(method, path, params, body, fresh))
        try:
            return await asyncio.shield(calling)
        except asyncio.CancelledError:
            await asyncio.wait([calling])  # bounded: every call has a time limit
            if not calling.cancelled():
                calling.exception()  # nobody asks for it any more
            raise

    async def _call(
        self, method: str, path: str, params: Params | None, body: Mapping[str, Any] | None, fresh: bool = False
    ) -> Any:
        return await self._request(method, await self.versioned(path), params, body, fresh)

    async def _request(
        self, method: str, path: str, params: Params | None, body: Mapping[str, Any] | None, fresh: bool = False
    ) -> Any:
        data = headers = None
        if body is not None:
            data, headers = orjson.dumps(body), {"Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(None, sock_connect=CONNECT_TIMEOUT, sock_read=self._timeout)
        try:
            async with self._calling(fresh).request(
                method, f"http://docker{path}", params=params, data=data, headers=headers, timeout=timeout
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise self._away(error) from error
        if response.status >= 400:
            raise refusal(response.status, content)
        try:
            return orjson.loads(content) if content else None
        except ValueError as error:
            raise RuntimeFailure(f"Docker's answer to {method} {path} is no JSON: {error}") from error

    def _calling(self, fresh: bool) -> aiohttp.ClientSession:
        if fresh:
            if self._fresh is None:
                self._fresh = self._session(self._connections, force_close=True)
            return self._fresh
        if self._calls is None:
            self._calls = self._session(self._connections, keepalive_timeout=60)
        return self._calls

    def _session(self, connections: int, **kept: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(self._socket_path, limit=connections, **kept),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Content-Type", "Accept-Encoding"),
        )

    def _away(self, error: Exception) -> RuntimeUnavailable:
        self._version = ""
        return RuntimeUnavailable(f"cannot connect to the Docker daemon: {error or type(error).__name__}")


def segment(name: str) -> str:
    """A name as a part of a path: images' have slashes and colons."""
    return quote(name, safe="/:")


def refusal(status: int, content: bytes) -> RuntimeFailure:
    """The daemon's own words, as docker's command line prints them."""
    try:
        text = str(orjson.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        text = content.decode(errors="replace")
    message = f"Error response from daemon: {text}"
    return RuntimeNotFound(message) if status == 404 else RuntimeFailure(message)
