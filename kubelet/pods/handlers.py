"""One attempt at a probe or a lifecycle hook: exec, httpGet, tcpSocket, grpc.

https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/
https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
"""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass

import httpx
from lightkube.models.core_v1 import Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe

from kubelet.types import Runtime, RuntimeFailure

MAX_BODY = 10 * 1024
"""Bytes that are read of what a container answers; the rest says nothing about its health."""
DEFAULT_AGENT = "kube-probe/1.32"
GRPC_SERVING = 1
_METHOD = "/grpc.health.v1.Health/Check"


@dataclass(frozen=True, slots=True)
class Outcome:
    ok: bool
    output: str = ""
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where a handler acts."""

    container: Container
    container_id: str
    pod_ip: str


class Handlers:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        # Each attempt is a connection of its own: a kept one would say nothing about new ones.
        self._http = httpx.AsyncClient(
            verify=False, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0), follow_redirects=False
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def probe(self, probe: Probe, target: Target) -> Outcome:
        """What the container answers. Raises RuntimeFailure (and others) when it could not be asked."""
        timeout = float(probe.timeoutSeconds or 1)
        if probe.exec is not None:
            return await self._exec(probe.exec, target, timeout)
        if probe.httpGet is not None:
            return await self._http_get(probe.httpGet, target, timeout)
        if probe.tcpSocket is not None:
            return await _tcp(
                probe.tcpSocket.host or target.pod_ip, resolve_port(target.container, probe.tcpSocket.port), timeout
            )
        if probe.grpc is not None:
            return await _grpc(probe.grpc, target.pod_ip, timeout)
        return Outcome(False, "missing probe handler")

    async def hook(self, handler: LifecycleHandler, target: Target, timeout: float) -> Outcome:
        if handler.exec is not None:
            try:
                outcome = await self._exec(handler.exec, target, timeout)
            except RuntimeFailure as error:
                outcome = Outcome(False, str(error))
            if outcome.ok:
                return outcome
            command = " ".join(handler.exec.command or ())
            return Outcome(False, f"command '{command}' failed: {outcome.output}", outcome.timed_out)
        if handler.httpGet is not None:
            return await self._http_get(handler.httpGet, target, timeout)
        if handler.sleep is not None:
            await asyncio.sleep(min(float(handler.sleep.seconds), timeout))
            return Outcome(True)
        return Outcome(False, "invalid handler: must have exec, httpGet or sleep")

    async def _exec(self, action: ExecAction, target: Target, timeout: float) -> Outcome:
        command = list(action.command or ())
        try:
            result = await self._runtime.exec_sync(target.container_id, command, timeout, limit=MAX_BODY)
        except TimeoutError:
            return Outcome(False, f'command "{shlex.join(command)}" timed out', timed_out=True)
        return Outcome(result.exit_code == 0, result.output[:MAX_BODY].decode(errors="replace"))

    async def _http_get(self, action: HTTPGetAction, target: Target, timeout: float) -> Outcome:
        url = http_url(action, target)
        headers = {"User-Agent": DEFAULT_AGENT, "Accept": "*/*", "Connection": "close"}
        headers.update({header.name: header.value for header in action.httpHeaders or ()})
        try:
            request = self._http.build_request("GET", url, headers=headers, timeout=timeout)
            # Go's probes ask for no compression, and nothing that would grow when it is unpacked is unpacked here.
            if not any(header.name.lower() == "accept-encoding" for header in action.httpHeaders or ()):
                del request.headers["accept-encoding"]
            async with asyncio.timeout(timeout):
                status, body = await self._fetch(request)
        except (TimeoutError, httpx.TimeoutException):
            return Outcome(False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded)', timed_out=True)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return Outcome(False, f'Get "{url}": {_network_text(error, url)}')
        if 200 <= status < 400:
            return Outcome(True, body.decode(errors="replace"))
        return Outcome(False, f"HTTP probe failed with statuscode: {status}")

    async def _fetch(self, request: httpx.Request) -> tuple[int, bytes]:
        """The status and the beginning of the body: a server may send one without an end."""
        response = await self._http.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk[: MAX_BODY - len(body)]
                if len(body) == MAX_BODY:
                    break
            return response.status_code, bytes(body)
        finally:
            await response.aclose()


def http_url(action: HTTPGetAction, target: Target) -> str:
    port = resolve_port(target.container, action.port)
    host = action.host or target.pod_ip
    path = action.path or "/"
    return f"{(action.scheme or 'HTTP').lower()}://{_bracketed(host)}:{port}{path if path[0] == '/' else '/' + path}"


def resolve_port(container: Container, port: int | str) -> int:
    """A number, or the name of one of the container's ports. 0 when there is none: the attempt then fails."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    return next((int(each.containerPort) for each in container.ports or () if each.name == port), 0)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _tcp(host: str, port: int, timeout: float) -> Outcome:
    where = f"dial tcp {_bracketed(host)}:{port}"
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Outcome(False, f"{where}: i/o timeout")
    except OSError as error:
        return Outcome(False, f"{where}: connect: {(error.strerror or str(error)).lower()}")
    writer.close()
    return Outcome(True)


async def _grpc(action: GRPCAction, host: str, timeout: float) -> Outcome:
    """The standard health service; its two one-field messages are written and read by hand."""
    import grpc  # nine megabytes that most nodes never need

    service = (action.service or "").encode()
    request = b"\x0a" + bytes([len(service)]) + service if service else b""
    address = f"{_bracketed(host)}:{action.port}"
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            answer = await channel.unary_unary(_METHOD)(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return Outcome(False, f'timeout: failed to connect service "{address}" within {timeout:g}s')
            return Outcome(False, f"error: health rpc probe failed: {error.details()}")
    serving = len(answer) >= 2 and answer[0] == 0x08 and answer[1] == GRPC_SERVING
    return Outcome(serving, "" if serving else f'service unhealthy (responded with "{answer.hex()}")')


def _network_text(error: Exception, url: str) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            where = url.partition("://")[2].partition("/")[0]
            return f"dial tcp {where}: connect: {cause.strerror.lower()}"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
