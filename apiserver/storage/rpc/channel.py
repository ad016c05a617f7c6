"""Calls to one address, over a connection that is made when it is needed and made again when it broke."""

from __future__ import annotations

import asyncio
import ssl
from functools import cache
from urllib.parse import urlsplit

from apiserver.storage.rpc.calls import StreamCall
from apiserver.storage.rpc.connection import Connection
from apiserver.storage.rpc.headers import request_block
from apiserver.storage.rpc.limits import LIMITS, Limits
from apiserver.storage.rpc.statuses import Code, NotConnected


class Channel:
    """``url`` is ``https://host:port`` (with ``tls``) or ``http://host:port``. Make it in a running event loop."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None, limits: Limits = LIMITS) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "localhost", parts.port or 2379
        self._tls = tls
        self._limits = limits
        self._connection: Connection | None = None
        """The one that takes calls."""
        self._open: set[Connection] = set()
        """It and those that only end what they have begun."""
        self._connecting: asyncio.Task[Connection] | None = None
        self._block = cache(lambda path: request_block(parts.scheme, parts.netloc, path))
        self._why = "not connected yet"
        self._closed = False

    async def unary(self, path: str, message: bytes, timeout: float) -> bytes:
        """The response to one message. Waits for a connection if there is none. Raises RpcError."""
        deadline = asyncio.get_running_loop().time() + timeout
        connection = self._connection
        if connection is None:
            connection = await self._connected(deadline)
        return await connection.unary(self._block(path), message, deadline)

    async def stream(self, path: str, timeout: float) -> StreamCall:
        """A call of many messages; ``timeout`` is for the connection. Raises RpcError."""
        connection = await self._connected(asyncio.get_running_loop().time() + timeout)
        return connection.stream(self._block(path))

    @property
    def usable(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    async def connect(self, timeout: float) -> None:
        """Raises NotConnected when there is no connection in time."""
        await self._connected(asyncio.get_running_loop().time() + timeout)

    async def close(self) -> None:
        """Ends all calls; those that come later fail."""
        self._closed, self._why = True, "the channel is closed"
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        closing = [connection.closed for connection in self._open]
        for connection in list(self._open):
            connection.close()
        if closing:
            await asyncio.wait(closing)

    async def _connected(self, deadline: float) -> Connection:
        if self._connection is not None:
            return self._connection
        if self._closed:
            raise NotConnected(Code.UNAVAILABLE, self._why)
        task = self._connecting
        if task is None:
            self._connecting = task = asyncio.create_task(self._connect())
            task.add_done_callback(self._done_connecting)
        # A caller that gives up must not end the attempt for others.
        await asyncio.wait([task], timeout=max(deadline - asyncio.get_running_loop().time(), 0))
        if not task.done() or task.cancelled():
            raise NotConnected(Code.UNAVAILABLE, self._why)
        return task.result()

    def _done_connecting(self, task: asyncio.Task[Connection]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()

    async def _connect(self) -> Connection:
        """Tries until it succeeds."""
        pause = self._limits.first_pause
        while True:
            try:
                async with asyncio.timeout(self._limits.connect):
                    return await self._attempt()
            except TimeoutError:
                self._why = f"connecting to {self._host}:{self._port}: no answer"
            except OSError as error:  # ssl.SSLError is one
                self._why = f"connecting to {self._host}:{self._port}: {error}"
            await asyncio.sleep(pause)
            pause = min(2 * pause, self._limits.last_pause)

    async def _attempt(self) -> Connection:
        loop = asyncio.get_running_loop()
        name = self._host if self._tls is not None else None
        transport, connection = await loop.create_connection(
            lambda: Connection(self._forget, self._limits), self._host, self._port, ssl=self._tls, server_hostname=name
        )
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._open.discard(connection))
        try:
            tls = transport.get_extra_info("ssl_object")
            if tls is not None and tls.selected_alpn_protocol() != "h2":
                raise OSError("the server does not speak HTTP/2 (ALPN)")
            await connection.ready
        except BaseException:
            connection.close()
            raise
        if connection.usable:
            self._connection = connection
        return connection

    def _forget(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None
