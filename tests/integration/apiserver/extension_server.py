"""An aggregated API server of the tests: one resource, a watch, an upgrade; it notes who the headers name."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.integration.apiserver.tls_server import TLSServer

GROUP = "test.example.com"
RESOURCES = [
    {"name": "flavors", "singularName": "flavor", "namespaced": True, "kind": "Flavor", "shortNames": ["fl"],
     "verbs": ["get", "list", "watch"]},
    {"name": "flavors/status", "singularName": "", "namespaced": True, "kind": "Flavor", "verbs": ["get"]},
]  # fmt: skip


def self_signed(folder: Path, name: str) -> Path:
    """A certificate for a name that is its own authority, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    certificate = builder.add_extension(x509.BasicConstraints(True, None), critical=True).sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / f"{name}.pem"
    path.write_bytes(pem + secret)
    (folder / f"{name}.crt").write_bytes(pem)
    return path


class ExtensionServer(TLSServer):
    """``heads`` are the requests seen."""

    def __init__(self, folder: Path, name: str, proxies: Path, version: str = "v1alpha1") -> None:
        super().__init__(str(proxies), str(self_signed(folder, name)))
        self.version = version
        self.heads: list[str] = []
        self.healthy = True

    def seen(self, start: str) -> str:
        """The newest request that begins so."""
        return next(head for head in reversed(self.heads) if head.startswith(start))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            self._note_peer(writer)
            await self._answer(head, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, path, _ = head.split("\r\n", 1)[0].split(" ")
        base = f"/apis/{GROUP}/{self.version}"
        path, _, query = path.partition("?")
        if not self.healthy:
            await self._send(writer, 500, "broken")
        elif path == base:
            document = {"kind": "APIResourceList", "groupVersion": f"{GROUP}/{self.version}", "resources": RESOURCES}
            await self._send(writer, 200, document)
        elif path == "/openapi/v3":
            name = base[1:]
            await self._send(writer, 200, {"paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash=ABC"}}})
        elif path == f"/openapi/v3{base}":
            await self._send(writer, 200, {"openapi": "3.0.0", "info": {"title": "extension"}})
        elif path.endswith("/upgrade"):
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            writer.write((await reader.read(100)).upper())
            await writer.drain()
        elif "watch=" in query or "watch=" in path:
            await self._watch(writer)
        elif method == "POST":
            length = int(next(line.split(":")[1] for line in head.splitlines() if line.startswith("content-length")))
            await self._send(writer, 201, json.loads(await reader.readexactly(length)))
        elif path.endswith("/missing"):
            await self._send(writer, 404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                                           "reason": "NotFound", "message": 'flavors "missing" not found'})  # fmt: skip
        else:
            item = {"metadata": {"name": "vanilla", "namespace": "default"}, "kind": "Flavor",
                    "apiVersion": f"{GROUP}/{self.version}"}  # fmt: skip
            listed = {"kind": "FlavorList", "apiVersion": f"{GROUP}/{self.version}", "metadata": {}, "items": [item]}
            await self._send(writer, 200, listed if path.endswith("/flavors") else item)

    async def _watch(self, writer: asyncio.StreamWriter) -> None:
        """Two events, the second when the first has been seen to arrive; then until the client goes."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(1000):
            line = json.dumps({"type": "ADDED", "object": {"number": number}}).encode() + b"\n"
            writer.write(b"%x\r\n%b\r\n" % (len(line), line))
            await writer.drain()
            await asyncio.sleep(0.05)

    async def _send(self, writer: asyncio.StreamWriter, code: int, document: object) -> None:
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
