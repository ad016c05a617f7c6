"""HTTPS servers: uvicorn with uvloop and httptools, client certificates shown to the application, certificates that are
read again when their files change.

Every server of the project listens through :func:`serve`. The application finds who the client certificate names in
``scope["state"]["peer"]``, in http and websocket scopes alike, and in ``scope["state"]["answer"]`` a shorter way than
``send`` for an answer that is ready as a whole (:meth:`CoxProtocol.answer`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

log = logging.getLogger(__name__)

GRACE_SECONDS = 10
"""How long open requests may go on after the stop signal."""
GOODBYE_SECONDS = 0.2
"""How long a client has for its part of TLS' goodbye when the server stops. An idle one never looks, and the server
would wait for it until its grace is over; Go's does not wait at all."""
RELOAD_SECONDS = 30
"""How often certificate files are looked at."""
KEEP_ALIVE_SECONDS = 180
"""Longer than the idle time of upstream's clients (90 s), so that the server does not close under a request."""
BACKLOG = 1024
HEAD_SECONDS = 32.0
"""How long a request's line and headers may take (upstream's ReadHeaderTimeout)."""
TAKING_SECONDS = 60.0
"""How long a client may take for what is left of an answer when all of it has been written."""
MAX_HEAD = 1024 * 1024
"""Bytes of a request's line and headers (Go's default): whoever sends more, known or not, is cut off."""
MAX_HEADERS = 4096
"""Headers of a head that is not complete: a short one takes thirty times its bytes."""
PER_PIECE, PER_BYTE = 16, 2
"""Bytes that a chunked body may spend on saying where its pieces end, as Go counts them: what is beyond (extensions,
trailers) is counted as a head is."""
HIGH_WATER = 256 * 1024
"""Bytes that wait for a client before whoever writes more has to wait. Half of what uvloop would take over TLS; with a
quarter of this, large lists and watches under load cost half as much CPU again."""
MAX_PIPELINED = 16
"""Requests that a client may send before it has the answer to the first."""
KEEP_ALIVE_PROBES = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
"""A machine that is gone says no goodbye: a silent one is asked (seconds, seconds, times). A watch or a shell would
else keep its connection for good."""


@dataclass(frozen=True)
class TLSOptions:
    """Files of the serving certificate, and the CA that client certificates are verified against."""

    cert_file: str
    key_file: str
    client_ca_file: str | None = None
    require_client_cert: bool = False
    request_header_ca_file: str | None = None
    """Of proxies that speak for others. Whose certificate a connection has, PeerIdentity.anchor tells."""

    def load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self.cert_file, self.key_file)
        if self.client_ca_file:
            context.load_verify_locations(self.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED if self.require_client_cert else ssl.CERT_OPTIONAL
        if self.request_header_ca_file:
            context.load_verify_locations(self.request_header_ca_file)
            if not self.client_ca_file:
                context.verify_mode = ssl.CERT_OPTIONAL

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self.load(context)
        return context

    def stamp(self) -> tuple[int, ...]:
        """Changes when one of the files does."""
        files = (self.cert_file, self.key_file, self.client_ca_file, self.request_header_ca_file)
        return tuple(Path(file).stat().st_mtime_ns for file in files if file)


@dataclass(frozen=True)
class PeerIdentity:
    """Who a verified client certificate names: CN is the user, O the groups."""

    common_name: str
    organizations: tuple[str, ...]
    anchor: bytes = b""
    """The authority that the certificate was verified by, in DER."""


def peer_identity(ssl_object: ssl.SSLObject | None) -> PeerIdentity | None:
    certificate = ssl_object.getpeercert() if ssl_object is not None else None
    if not certificate:
        return None
    pairs: list[tuple[str, str]] = [pair for rdn in certificate.get("subject", ()) for pair in rdn]  # type: ignore[misc]
    name = next((value for key, value in pairs if key == "commonName"), "")
    organizations = tuple(value for key, value in pairs if key == "organizationName")
    return PeerIdentity(name, organizations, _anchor(ssl_object))


def _anchor(ssl_object: Any) -> bytes:
    """The last certificate of the verified chain. Public from Python 3.13 on, there since 3.10."""
    chain = getattr(ssl_object, "get_verified_chain", None)
    if chain is not None:
        return bytes(chain()[-1])
    found = ssl_object._sslobj.get_verified_chain()
    return bytes(ssl.PEM_cert_to_DER_cert(found[-1].public_bytes())) if found else b""


ONE_PIECE = 16 * 1024
"""An answer up to this size (a TLS record's) leaves in one piece, its head copied before it."""

TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Trailers(list[tuple[bytes, bytes]]):
    """Headers after a body: nobody asked for them, and who is asked for has been judged by those before."""

    def append(self, header: tuple[bytes, bytes]) -> None:
        pass


_TRAILERS = _Trailers()


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Asks a silent peer now and then whether it is still there."""
    raw = transport.get_extra_info("socket")
    if raw is None or raw.family not in (socket.AF_INET, socket.AF_INET6):
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEP_ALIVE_PROBES.items():
        raw.setsockopt(socket.IPPROTO_TCP, option, value)


class CoxProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which learns the client certificate once for each connection and bounds a request's head."""

    _head: int | None = 0
    """Bytes that have come of a head that is not complete; None in a body."""
    _waste = 0
    """Bytes that have come with a body and are none of it."""
    _date: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")
    """The headers of every answer, and their lines."""
    _late: asyncio.TimerHandle | None = None
    """Ends a connection whose client lets the server wait for the rest of a request."""
    _taking: asyncio.TimerHandle | None = None
    """Ends a connection whose client does not take its answer."""
    _lost = False

    def data_received(self, data: bytes) -> None:
        if not self.refuses(data):
            super().data_received(data)
            if self._head:
                self.expect_rest()

    def expect_rest(self) -> None:
        """Of a head, or of a body that nobody waits for any more: the client has HEAD_SECONDS for it."""
        if self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def refuses(self, data: bytes) -> bool:
        """Whether a head, or what is no body after it, has grown too large with this; the connection ends then."""
        if self._head is None:
            self._waste += len(data)  # on_body takes off what is none
            if self._waste - len(data) <= MAX_HEAD:
                return False
            self.transport.abort()
            return True
        self._head += len(data)
        if self._head <= MAX_HEAD and (not self.headers or len(self.headers) <= MAX_HEADERS):
            return False
        self.transport.write(TOO_LARGE)
        self.transport.close()
        return True

    def on_headers_complete(self) -> None:
        self._head, self._waste = None, 0
        self._came()
        super().on_headers_complete()
        self.headers = [*self.headers] if self.parser.should_upgrade() else _TRAILERS
        if len(self.pipeline) > MAX_PIPELINED:
            raise ValueError("too many requests at once")

    def on_body(self, body: bytes) -> None:
        self._waste = max(self._waste - (1 + PER_BYTE) * len(body) - PER_PIECE, 0)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head = 0
        self._came()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Not into the middle of another answer."""
        if self.pipeline or (self.cycle is not None and self.cycle.response_started != self.cycle.response_complete):
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._head is None:
            self.expect_rest()
        if self.flow.write_paused and self._taking is None:
            # It is written, however large: it stays in memory until its client takes it.
            self._taking = self.loop.call_later(TAKING_SECONDS, self.transport.abort)

    def _taken(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def shutdown(self) -> None:
        """The server stops: an idle connection ends now, another one with the answer that is being written."""
        super().shutdown()
        self._end_when_closed(False)

    def _end_when_closed(self, closing: bool) -> None:
        """``closing``: it was so a moment ago."""
        if self._lost:
            return
        if closing and not self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.loop.call_later(GOODBYE_SECONDS, self._end_when_closed, self.transport.is_closing())

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._came()
        self._taken()
        super().connection_lost(exc)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        keep_alive(transport)
        transport.set_write_buffer_limits(high=HIGH_WATER)
        # app_state is copied into every scope of this connection, of websockets too
        peer = peer_identity(transport.get_extra_info("ssl_object"))
        self.app_state = {**self.app_state, "peer": peer, "abort": transport.abort, "answer": self.answer}
        self.expect_rest()

    def answer(self, scope: Mapping[str, Any], status: int, head: bytes, body: bytes) -> bool:
        """Writes a whole answer at once; ``head`` is the lines of its headers. False if it must go through ``send``.

        ``send`` writes an answer in two pieces, each with a TLS record and a system call of its own: a quarter of what
        a small request costs.
        """
        cycle = self.cycle
        if (
            cycle is None
            or cycle.scope is not scope  # requests are pipelined
            or cycle.response_started
            or cycle.disconnected
            or not cycle.keep_alive
            or self.flow.write_paused
        ):
            return False
        cycle.response_started = cycle.response_complete = True
        date = self.server_state.default_headers
        if date is not self._date[0]:
            self._date = date, b"".join(b"%s: %s\r\n" % pair for pair in date)
        head = b"%s%s%s\r\n" % (STATUS_LINE[status], self._date[1], head)
        if len(body) < ONE_PIECE:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        cycle.message_event.set()
        cycle.on_response()
        return True


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to its process and says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._listening = listening
        self._stop = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._listening is not None:
            self._listening()

    async def main_loop(self) -> None:
        """Refreshes the Date header once a second (uvicorn's own loop wakes ten times as often)."""
        ticks = 0
        while not await self.on_tick(ticks):
            ticks = (ticks + 10) % 864_000
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._stop.wait()

    def stop(self) -> None:
        self.should_exit = True
        self._stop.set()


async def serve(
    app: Any,
    *,
    host: str,
    port: int,
    tls: TLSOptions | None,
    protocol: type[HttpToolsProtocol] = CoxProtocol,
    started: Callable[[], None] | None = None,
    bound: socket.socket | None = None,
    renewed: asyncio.Event | None = None,
) -> None:
    """Serves until cancelled; then takes no more connections and lets open requests end (GRACE_SECONDS at most).

    Raises OSError when the address cannot be listened on. ``started`` is called once it listens. ``bound`` is the
    socket to listen on, for a process that shares the address with others. Certificate files are looked at now and
    then (RELOAD_SECONDS), and at once when ``renewed`` is set.
    """
    context = tls.context() if tls is not None else None
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol,
        ws="websockets-sansio",
        ws_max_size=1 << 24,
        ws_ping_interval=None,
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing stands before us whose word on the client's address would count
        date_header=True,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=BACKLOG,
        ssl_context_factory=(lambda *_: context) if context is not None else None,
    )
    server = _Server(config, started)
    serving = asyncio.ensure_future(_serve(server, host, port, bound))
    reload = None
    if tls is not None and context is not None:
        reload = asyncio.create_task(_reload(tls, context, renewed or asyncio.Event()))
    try:
        await asyncio.shield(serving)
    finally:
        if reload is not None:
            reload.cancel()
        server.stop()
        await asyncio.wait({serving}, timeout=GRACE_SECONDS + 5)


async def _serve(server: uvicorn.Server, host: str, port: int, bound: socket.socket | None) -> None:
    try:
        await server.serve(None if bound is None else [bound])
    except SystemExit:  # uvicorn's way to say that it cannot listen
        raise OSError(f"cannot listen on {host}:{port}") from None


async def _reload(tls: TLSOptions, context: ssl.SSLContext, renewed: asyncio.Event) -> None:
    """New connections get the new certificate; a half-written pair is tried again."""
    stamp = tls.stamp()
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(RELOAD_SECONDS):
                await renewed.wait()
        renewed.clear()
        try:
            current = tls.stamp()
            if current != stamp:
                tls.load(context)
                stamp = current
                log.info("serving certificate read again from %s", tls.cert_file)
        except (OSError, ssl.SSLError) as error:
            log.warning("serving certificate %s: %s", tls.cert_file, error)
