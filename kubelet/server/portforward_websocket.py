"""Port-forward over plain WebSocket channels, as the official client libraries ask for it.

Each port of the request has two channels, one for data in both directions and one for what goes wrong; each begins
with the port's number in two bytes, low byte first. One connection is made to each port, at once, and the WebSocket
ends with the last of them (upstream: k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go). kubectl uses SPDY
instead, where connections are made as they are needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from common.api.status import BadRequest
from kubelet.network.namespaces import connect_loopback
from kubelet.server import channels
from kubelet.server.portforward import Target

log = logging.getLogger("kubelet.server")

PROTOCOLS = (channels.V4, channels.V4_BASE64)
MAX_PORTS = 100
WAITING = 16
"""Messages that wait for a port that does not take them; then the client has to wait."""
_CHUNK = 32 * 1024
_NORMAL_CLOSURE, _PROTOCOL_ERROR = 1000, 1002


def ports_of(values: Sequence[str]) -> list[int]:
    """Of the parameter ``port``, which may be given several times and hold several. Raises BadRequest."""
    if not values:
        raise BadRequest('query parameter "port" is required')
    found = []
    for text in (part for value in values for part in value.split(",")):
        if not text:
            raise BadRequest('query parameter "port" cannot be empty')
        if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 1 << 16):
            raise BadRequest(f'unable to parse "{text}" as a port')
        found.append(int(text))
    if len(found) > MAX_PORTS:
        raise BadRequest(f"at most {MAX_PORTS} ports can be forwarded at once")
    return found


async def serve(websocket: WebSocket, target: Target, ports: Sequence[int]) -> None:
    offered = websocket.scope.get("subprotocols") or ()
    protocol = next((each for each in PROTOCOLS if each in offered), None)
    if offered and protocol is None:
        text = f"none of the subprotocols is supported, offer one of {', '.join(PROTOCOLS)}"
        await websocket.send_denial_response(PlainTextResponse(text, status_code=400))
        return
    await websocket.accept(subprotocol=protocol)
    await Forwarding(websocket, target, ports, protocol or channels.V4).run()


class Forwarding:
    """The ports of one WebSocket."""

    def __init__(self, websocket: WebSocket, target: Target, ports: Sequence[int], protocol: str) -> None:
        self._websocket = websocket
        self._target = target
        self._ports = ports
        self._protocol = protocol
        self._inward: list[asyncio.Queue[bytes]] = [asyncio.Queue(WAITING) for _ in ports]
        self._over: set[int] = set()
        """Ports whose connection has ended: what the client still sends there is dropped."""
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        code = _NORMAL_CLOSURE
        for index, port in enumerate(self._ports):
            for channel in (2 * index, 2 * index + 1):
                await self._send(channel, port.to_bytes(2, "little"))
        serving = [asyncio.create_task(self._serve(index, port)) for index, port in enumerate(self._ports)]
        reading = asyncio.create_task(self._read())
        try:
            every = asyncio.gather(*serving, return_exceptions=True)
            await asyncio.wait((every, reading), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        except channels.ProtocolError as error:
            log.info("port-forward to %s: %s", self._target.pod, error)
            code = _PROTOCOL_ERROR
        except WebSocketDisconnect:
            return
        finally:
            for task in (reading, *serving):
                task.cancel()
            await asyncio.gather(reading, *serving, return_exceptions=True)
        try:
            await self._websocket.close(code)
        except (RuntimeError, WebSocketDisconnect):
            pass  # the client was faster

    async def _read(self) -> None:
        """Hands the client's messages to the ports. Raises WebSocketDisconnect and ProtocolError."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", _NORMAL_CLOSURE))
            text = message.get("text")
            frame = channels.decode(message.get("bytes") or b"" if text is None else text, self._protocol)
            index, is_error = divmod(frame.channel, 2)
            if index >= len(self._ports):
                raise channels.ProtocolError(f"there is no channel {frame.channel}")
            if not is_error and index not in self._over:
                await self._inward[index].put(frame.data)

    async def _serve(self, index: int, port: int) -> None:
        try:
            await self._relay(index, port)
        except OSError as error:
            target = self._target
            text = f"error forwarding port {port} to pod {target.pod}, uid {target.uid}: {error}"
            await self._send(2 * index + 1, text.encode())
        finally:
            self._over.add(index)
            queue = self._inward[index]
            while not queue.empty():  # the reader may wait for room in it
                queue.get_nowait()

    async def _relay(self, index: int, port: int) -> None:
        """Until the pod's side has written all. Raises OSError."""
        sock = await connect_loopback(self._target.sandbox_pid, port)
        reader, writer = await asyncio.open_connection(sock=sock, limit=_CHUNK)
        inward = asyncio.create_task(self._feed(self._inward[index], writer))
        try:
            while data := await reader.read(_CHUNK):
                await self._send(2 * index, data)
        finally:
            inward.cancel()
            await asyncio.gather(inward, return_exceptions=True)
            writer.close()

    @staticmethod
    async def _feed(queue: asyncio.Queue[bytes], writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(await queue.get())
            await writer.drain()

    async def _send(self, channel: int, data: bytes) -> None:
        message = channels.encode(channel, data, self._protocol)
        async with self._sending:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
