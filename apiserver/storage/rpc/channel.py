"""Calls to one address, over a connection that is made when it is needed and made again when it broke."""

from __future__ import annotations

import asyncio
import ssl
from functools import cache
from urllib.parse import urlsplit

from apiserver.storage.rpc.calls import Code, NotConnected, StreamCall
from apiserver.storage.rpc.connection import Connection
from apiserver.storage.rpc.headers import request_block

CONNECT_TIMEOUT = 5.0
FIRST_PAUSE, LAST_PAUSE = 0.1, 1.0
"""Seconds between attempts to connect, doubling."""


class Channel:
    """``url`` is ``https://host:port`` (with ``tls``) or ``http://host:port``. Make it in a running event loop."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "localhost", parts.port or 2379
        self._tls = tls
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        self._block = cache(lambda path: request_block(parts.scheme, parts.netloc, path))
        self._last_error = "not connected yet"

    async def unary(self, path: str, message: bytes, timeout: float) -> bytes:
        """The response to one message. Waits for a connection if there is none. Raises RpcError."""
        deadline = asyncio.get_running_loop().time() + timeout
        connection = self._connection
        if connection is None or not connection.usable:
            connection = await self._connected(deadline)
        return await connection.unary(self._block(path), message, deadline)

    async def stream(self, path: str, timeout: float) -> StreamCall:
        """A call of many messages; ``timeout`` is for the connection. Raises RpcError."""
        connection = await self._connected(asyncio.get_running_loop().time() + timeout)
        return connection.stream(self._block(path))

    @property
    def usable(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None and self._connection.usable

    async def connect(self, timeout: float) -> None:
        """Raises NotConnected when there is no connection in time."""
        await self._connected(asyncio.get_running_loop().time() + timeout)

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._connection is not None:
            self._connection.close()

    async def _connected(self, deadline: float) -> Connection:
        connection = self._connection
        if connection is not None and connection.usable:
            return connection
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._done_connecting)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(self._connecting)
        except TimeoutError:
            raise NotConnected(Code.UNAVAILABLE, self._last_error) from None

    def _done_connecting(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()

    async def _connect(self) -> Connection:
        """Tries until it succeeds."""
        pause = FIRST_PAUSE
        while True:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    self._connection = await self._attempt()
                return self._connection
            except TimeoutError:
                self._last_error = f"connecting to {self._host}:{self._port}: no answer"
            except OSError as error:  # ssl.SSLError is one
                self._last_error = f"connecting to {self._host}:{self._port}: {error}"
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    async def _attempt(self) -> Connection:
        loop = asyncio.get_running_loop()
        name = self._host if self._tls is not None else None
        _, connection = await loop.create_connection(
            lambda: Connection(self._forget), self._host, self._port, ssl=self._tls, server_hostname=name
        )
        try:
            await connection.ready
        except asyncio.CancelledError:
            connection.close()
            raise
        return connection

    def _forget(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None
