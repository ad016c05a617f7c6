"""The real kubelet server over processes of this machine, in a thread: containers' streams without containers."""

from __future__ import annotations

import asyncio
import os
import threading
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from common.serving import TLSOptions, serve
from common.tunnel import SpdyTunnelProtocol
from kubelet.logs.reader import LogOptions
from kubelet.server.app import KubeletServer
from kubelet.stats.collector import StatsCollector
from tests.integration.conftest import free_port

LOG = ("first\n", "second\n")
ENOUGH = 20


class Session:
    """A process as an exec: see kubelet.cri.ExecSession."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._frames: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue(8)
        pipes = {"stdout": process.stdout, "stderr": process.stderr}
        self._tasks = [asyncio.create_task(self._read(name, pipe)) for name, pipe in pipes.items() if pipe]

    async def _read(self, name: str, pipe: asyncio.StreamReader) -> None:
        while data := await pipe.read(1 << 15):
            await self._frames.put((name, data))
        await self._frames.put(None)

    async def frames(self) -> AsyncIterator[tuple[str, bytes]]:
        ended = 0
        while ended < len(self._tasks):
            frame = await self._frames.get()
            if frame is None:
                ended += 1
            else:
                yield frame

    async def write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(data)
            await self._process.stdin.drain()

    async def close_stdin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def resize(self, width: int, height: int) -> None: ...

    async def exit_code(self) -> int:
        return await self._process.wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


class Processes:
    """A runtime whose one container is this machine; what it prints is LOG, what one attaches to is ``cat``."""

    async def exec(
        self, container_id: str, command: Sequence[str], *, tty: bool = False, stdin: bool = False
    ) -> Session:
        return Session(
            await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=STDOUT if tty else PIPE)
        )

    async def attach(self, container_id: str, *, tty: bool = False, stdin: bool = False) -> Session:
        return await self.exec(container_id, ("cat",), tty=tty, stdin=stdin)

    async def read_logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        for line in LOG[-options.tail :] if options.tail else LOG:
            yield line.encode()


class OnePod:
    """Every pod that is asked for, running; its network is that of this process."""

    def running_container_id(self, *_: Any) -> str:
        return "c"

    container_id_for_logs = running_container_id

    def sandbox_pid(self, *_: Any) -> int:
        return os.getpid()

    def get_pod(self, *_: Any) -> None:
        return None


class ProcessNode:
    def __init__(self, pki: Path) -> None:
        self.port = free_port()
        self._tls = TLSOptions(*(str(pki / name) for name in ("kubelet-node-a.crt", "kubelet-node-a.key", "ca.crt")))
        self._listening, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._serving: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(ENOUGH)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._serving is not None
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join(ENOUGH)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async def well() -> None: ...

        runtime = Processes()
        stats = StatsCollector(runtime, "node-a", Path("/"))  # type: ignore[arg-type]
        app = KubeletServer(OnePod(), runtime, stats, well, runtime.read_logs).app()  # type: ignore[arg-type]
        self._serving = asyncio.create_task(
            serve(
                app,
                host="127.0.0.1",
                port=self.port,
                tls=self._tls,
                protocol=SpdyTunnelProtocol,
                started=self._listening.set,
            )
        )
        await self._serving
