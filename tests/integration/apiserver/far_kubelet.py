"""The far end of a tunnel: a TLS server that answers like a kubelet's streaming ports, and notes who calls."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ssl
import threading
from pathlib import Path
from typing import Self

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
STATUS = b'{"metadata":{},"status":"Success"}'


def frame(payload: bytes) -> bytes:
    """An unmasked binary WebSocket frame of less than 126 bytes."""
    return bytes([0x82, len(payload)]) + payload


class FarKubelet:
    """Runs in a thread of its own. ``paths`` are the request lines seen, ``peers`` the client certificates' names."""

    def __init__(self, pki: Path) -> None:
        self.paths: list[str] = []
        self.peers: list[str] = []
        self.heads: list[bytes] = []
        self.port = 0
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / "kubelet-node-a.crt", pki / "kubelet-node-a.key")
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._thread.is_alive():
            return
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

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        path = head.split(b" ", 2)[1].decode()
        self.paths.append(path)
        subject = writer.get_extra_info("peercert")["subject"]
        self.peers.append(dict(pair for rdn in subject for pair in rdn)["commonName"])
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(b":") for line in head.splitlines()[1:])}
        try:
            await self._answer(path, headers, reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _answer(
        self, path: str, headers: dict[bytes, bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if path.startswith("/containerLogs/"):
            await self._log(path, reader, writer)
        elif path.startswith("/app/"):
            await self._app(path, headers, reader, writer)
        elif "refuse" in path:
            writer.write(b"HTTP/1.1 418 I'm a Teapot\r\nContent-Length: 5\r\nX-From: kubelet\r\n\r\nshort")
        else:
            accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + GUID).digest())
            wanted = headers.get(b"sec-websocket-protocol", b"v5.channel.k8s.io").split(b",")[0]
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Protocol: %b\r\nSec-WebSocket-Accept: %b\r\n\r\n" % (wanted, accept)
            )
            if "command=hello" in path:
                writer.write(frame(b"\x01hello\n") + frame(b"\x03" + STATUS) + b"\x88\x02\x03\xe8")
                await writer.drain()
                await reader.read()
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    @staticmethod
    async def _app(
        path: str, headers: dict[bytes, bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """A small web application, to be reached by way of the API server."""
        if path == "/app/moved":
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: /app/page\r\nContent-Length: 0\r\n\r\n")
        elif path == "/app/page":
            page = b'<html><a href="/app/next">next</a><a href="here">here</a></html>'
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nAccess-Control-Allow-Origin: *\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(page), page)
            )
        elif path == "/app/drop":
            return
        elif path == "/app/refused":
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            await writer.drain()
            await reader.read()  # a close with a body unread would be a reset, which may overtake the answer
        else:
            size = 0
            if b"content-length" in headers:
                size = int(headers[b"content-length"])
                left = size
                while left:
                    left -= len(await reader.read(min(left, 65536)))
            elif headers.get(b"transfer-encoding") == b"chunked":
                while length := int(await reader.readline(), 16):
                    await reader.readexactly(length + 2)
                    size += length
            writer.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%d\r\n0\r\n\r\n" % (len(str(size)), size)
            )
        await writer.drain()

    @staticmethod
    async def _log(path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if path.split("?")[0].endswith("/waiting"):
            text = b'container "waiting" in pod "web" is waiting to start: ContainerCreating'
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
            return
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nline 1\n\r\n")
        await writer.drain()
        if "follow=true" in path:
            await reader.read()  # until the API server goes away
            return
        writer.write(b"7\r\nline 2\n\r\n0\r\n\r\n")
