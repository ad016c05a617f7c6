"""Docker's socket with a person's hand on it: it goes away, comes back, and says what Docker never would."""

from __future__ import annotations

import asyncio
from pathlib import Path

DOCKER = "/var/run/docker.sock"
CHUNK = 1 << 16


class DockerProxy:
    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.connections: set[asyncio.Task[None]] = set()
        self.followers: list[asyncio.StreamWriter] = []
        """Who reads Docker's events."""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        """As when the daemon is killed: nobody listens, and every connection ends in the middle."""
        assert self._server is not None
        self._server.close()
        self._server = None
        Path(self.path).unlink()
        for task in list(self.connections):
            task.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)

    def say(self, line: bytes) -> None:
        """A line of the daemon's to all who follow its events."""
        for writer in self.followers:
            writer.write(b"%x\r\n%s\r\n" % (len(line), line))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        up: asyncio.StreamWriter | None = None
        try:
            down, up = await asyncio.open_unix_connection(DOCKER)
            head = await reader.readuntil(b"\r\n\r\n")
            up.write(head)
            if b"/events?" in head:
                self.followers.append(writer)
            ways = asyncio.create_task(_copy(reader, up)), asyncio.create_task(_copy(down, writer))
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.connections.discard(task)
            if writer in self.followers:
                self.followers.remove(writer)
            for each in (writer, up):
                if each is not None:
                    each.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK):
        target.write(data)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
