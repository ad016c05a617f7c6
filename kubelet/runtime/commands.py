"""Commands in Docker's containers, and the streams of the containers themselves: exec, attach, logs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from kubelet.cri import ExecResult, ExecSession, RuntimeFailure, Stream
from kubelet.runtime.engine import Engine
from kubelet.runtime.hijack import HijackedSession, open_hijacked
from kubelet.runtime.processes import kill_member
from kubelet.runtime.streams import demultiplex, limited

log = logging.getLogger(__name__)

EXEC_END = 10.0
EXEC_OUTPUT = 16 << 20
"""Bytes of each stream that are kept of a command, as upstream's runtime interface bounds them."""


class DockerCommands:
    def __init__(self, engine: Engine, socket_path: str) -> None:
        self._engine = engine
        self._socket_path = socket_path

    async def logs(
        self,
        container_id: str,
        *,
        follow: bool,
        tail: int | None,
        since: datetime | None,
        timestamps: bool,
        limit_bytes: int | None,
    ) -> AsyncIterator[tuple[Stream, bytes]]:
        raw = await self._engine.get(f"/containers/{container_id}/json")
        params = {
            "stdout": "1",
            "stderr": "1",
            "follow": str(int(follow)),
            "timestamps": str(int(timestamps)),
            "tail": "all" if tail is None else str(tail),
            "since": "0" if since is None else f"{since.astimezone(UTC).timestamp():.9f}",
        }
        async with self._engine.stream("GET", f"/containers/{container_id}/logs", params) as chunks:
            frames = demultiplex(chunks, tty=bool(raw["Config"].get("Tty")))
            async for frame in limited(frames, limit_bytes):
                yield frame

    async def exec(
        self, container_id: str, command: Sequence[str], *, tty: bool = False, stdin: bool = False
    ) -> tuple[str, ExecSession]:
        """The command's id, and its streams."""
        body = {"Cmd": list(command), "Tty": tty, "AttachStdin": stdin, "AttachStdout": True, "AttachStderr": True}
        created = await self._engine.post(f"/containers/{container_id}/exec", body=body)
        exec_id = str(created["Id"])
        path = await self._engine.versioned(f"/exec/{exec_id}/start")
        reader, writer = await open_hijacked(self._socket_path, path, {"Detach": False, "Tty": tty})

        async def resize(width: int, height: int) -> None:
            await self._engine.post(f"/exec/{exec_id}/resize", _size(width, height))

        async def exit_code() -> int:
            return await self._exit_code(exec_id)

        return exec_id, HijackedSession(reader, writer, tty=tty, resize=resize, exit_code=exit_code)

    async def _exit_code(self, exec_id: str) -> int:
        deadline = asyncio.get_running_loop().time() + EXEC_END
        while True:
            raw = await self._engine.get(f"/exec/{exec_id}/json")
            if not raw["Running"]:
                return int(raw["ExitCode"] or 0)
            if asyncio.get_running_loop().time() > deadline:
                raise RuntimeFailure("the command closed its output and still runs")
            await asyncio.sleep(0.05)

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout: float, *, limit: int) -> ExecResult:
        output: dict[Stream, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        exec_id = ""
        try:
            async with asyncio.timeout(timeout):
                exec_id, session = await self.exec(container_id, command)
                try:
                    async for stream, data in session.frames():
                        output[stream] += data[: limit - len(output[stream])]
                    code = await session.exit_code()
                finally:
                    await session.close()
        except TimeoutError:
            if exec_id:
                await self._kill(exec_id, container_id)
            raise
        return ExecResult(code, bytes(output["stdout"]), bytes(output["stderr"]))

    async def _kill(self, exec_id: str, container_id: str) -> None:
        """A command that hangs would stay, and the next probe's beside it. Docker cannot end one; its number is the
        machine's, if this process sees the machine's numbers: what it belongs to is looked at first."""
        try:
            raw = await self._engine.get(f"/exec/{exec_id}/json")
        except RuntimeFailure as error:
            log.warning("a command in container %s may be left running: %s", container_id[:12], error)
            return
        pid = int(raw.get("Pid") or 0)
        if raw.get("Running") and pid and not await asyncio.to_thread(kill_member, pid, raw["ContainerID"]):
            log.warning("a command in container %s is left running", container_id[:12])

    async def attach(self, container_id: str, *, tty: bool, stdin: bool) -> ExecSession:
        raw = await self._engine.get(f"/containers/{container_id}/json")
        # Docker ends the output together with the input of a container whose stdin stays open for the next client.
        once = bool(raw["Config"].get("StdinOnce"))
        path = await self._engine.versioned(f"/containers/{container_id}/attach")
        query = f"?stream=1&stdout=1&stderr=1&stdin={int(stdin)}"
        reader, writer = await open_hijacked(self._socket_path, path + query, None)

        async def resize(width: int, height: int) -> None:
            await self._engine.post(f"/containers/{container_id}/resize", _size(width, height))

        async def exit_code() -> int:
            return 0

        return HijackedSession(reader, writer, tty=tty, resize=resize, exit_code=exit_code, half_close=once)


def _size(width: int, height: int) -> dict[str, str]:
    return {"w": str(width), "h": str(height)}
