"""A TLS server in a thread of its own, on a port of 127.0.0.1, that asks each client for its certificate."""

from __future__ import annotations

import asyncio
import ssl
import threading
from typing import Self


class TLSServer:
    """Subclasses answer in ``_serve``, one connection at a time each. ``peers``: the certificates' names."""

    def __init__(self, authority: str, certificate: str, key: str | None = None) -> None:
        """Files in PEM."""
        self.peers: list[str] = []
        self.port = 0
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
        self._tls.load_cert_chain(certificate, key)
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def _note_peer(self, writer: asyncio.StreamWriter) -> None:
        subject = writer.get_extra_info("peercert")["subject"]
        self.peers.append(dict(pair for rdn in subject for pair in rdn)["commonName"])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError
