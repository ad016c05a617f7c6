"""The far end of a tunnel: a TLS server that answers like a kubelet's streaming ports, and notes who calls."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path

from tests.integration.apiserver.tls_server import TLSServer

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
STATUS = b'{"metadata":{},"status":"Success"}'


def frame(payload: bytes) -> bytes:
    """An unmasked binary WebSocket frame of less than 126 bytes."""
    return bytes([0x82, len(payload)]) + payload


class FarKubelet(TLSServer):
    """``paths`` are the request lines seen."""

    def __init__(self, pki: Path) -> None:
        super().__init__(str(pki / "ca.crt"), str(pki / "kubelet-node-a.crt"), str(pki / "kubelet-node-a.key"))
        self.paths: list[str] = []
        self.heads: list[bytes] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        path = head.split(b" ", 2)[1].decode()
        self.paths.append(path)
        self._note_peer(writer)
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
