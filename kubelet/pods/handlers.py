"""One attempt at a probe or a lifecycle hook: exec, httpGet, tcpSocket, grpc.

https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/
https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from lightkube.models.core_v1 import Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe

from kubelet import metrics
from kubelet.cri import Runtime, RuntimeFailure
from kubelet.pods.httpget import MAX_BODY, Answer, Headers, NoAnswer, PlainAnswer, get, unverified

AGENT = "kube-{purpose}/1.32"
TIMED_OUT = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
GRPC_STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_METHOD = "/grpc.health.v1.Health/Check"


@dataclass(frozen=True, slots=True)
class Outcome:
    ok: bool
    output: str = ""
    timed_out: bool = False
    warning: str = ""
    """Good, but somebody should know of this."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a handler acts."""

    container: Container
    container_id: str
    pod_ip: str


class Handlers:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tls = unverified()

    async def probe(self, probe: Probe, target: Target) -> Outcome:
        """What the container answers. Raises RuntimeFailure (and others) when it could not be asked."""
        timeout = float(probe.timeoutSeconds or 1)
        if probe.exec is not None:
            return await self._exec(probe.exec, target, timeout)
        if probe.httpGet is not None:
            return await self._http_probe(probe.httpGet, target, timeout)
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
            return await self._http_hook(handler.httpGet, target, timeout)
        if handler.sleep is not None:
            await asyncio.sleep(min(float(handler.sleep.seconds), timeout))
            return Outcome(True)
        return Outcome(False, "invalid handler: must have exec, httpGet or sleep")

    async def _exec(self, action: ExecAction, target: Target, timeout: float) -> Outcome:
        command = list(action.command or ())
        try:
            result = await self._runtime.exec_sync(target.container_id, command, timeout, limit=MAX_BODY)
        except TimeoutError:
            return Outcome(False, f'command "{" ".join(command)}" timed out', timed_out=True)
        return Outcome(result.exit_code == 0, result.output[:MAX_BODY].decode(errors="replace"))

    async def _http_probe(self, action: HTTPGetAction, target: Target, timeout: float) -> Outcome:
        url = http_url(action, target)
        try:
            async with asyncio.timeout(timeout):
                answer = await self._get(url, action, "probe")
        except TimeoutError:
            return Outcome(False, f'Get "{url}": {TIMED_OUT}', timed_out=True)
        except (NoAnswer, ValueError) as error:
            return Outcome(False, f'Get "{url}": {error}')
        text = answer.body.decode(errors="replace")
        if 300 <= answer.status < 400:
            return Outcome(True, text, warning=f"Probe terminated redirects, Response body: {text}")
        if 200 <= answer.status < 300:
            return Outcome(True, text)
        return Outcome(False, f"HTTP probe failed with statuscode: {answer.status}")

    async def _http_hook(self, action: HTTPGetAction, target: Target, timeout: float) -> Outcome:
        """Any answer will do, as upstream has it: the hook was delivered."""
        url = ""
        try:
            url = http_url(action, target)
            async with asyncio.timeout(timeout):
                try:
                    await self._get(url, action, "lifecycle")
                except PlainAnswer:
                    return await self._fall_back(action, url)
        except TimeoutError:
            return Outcome(False, f'Get "{url}": {TIMED_OUT}', timed_out=True)
        except (NoAnswer, ValueError) as error:
            return Outcome(False, f'Get "{url}": {error}')
        return Outcome(True)

    async def _fall_back(self, action: HTTPGetAction, url: str) -> Outcome:
        """Such hooks went out as HTTP in older versions, so that servers may still speak that; what is secret stays."""
        plain = f"http{url.removeprefix('https')}"
        try:
            await self._get(plain, action, "lifecycle", without=("authorization",))
        except (NoAnswer, ValueError):
            return Outcome(False, f'Get "{url}": http: server gave HTTP response to HTTPS client')
        metrics.LIFECYCLE_FALLBACKS.inc()
        where = url.partition("://")[2].partition("/")[0]
        text = f"request to HTTPS lifecycle hook {where} got HTTP response, retry with HTTP succeeded"
        return Outcome(True, warning=text)

    async def _get(self, url: str, action: HTTPGetAction, purpose: str, without: tuple[str, ...] = ()) -> Answer:
        return await get(url, http_headers(action, purpose, without), self._tls)


def http_headers(action: HTTPGetAction, purpose: str, without: tuple[str, ...] = ()) -> Headers:
    """The action's own, however often one is repeated, and upstream's where it has none; an empty User-Agent or Accept
    is not sent."""
    own = [(each.name, each.value or "") for each in action.httpHeaders or () if each.name.lower() not in without]
    names = {name.lower() for name, _ in own}
    default = [("User-Agent", AGENT.format(purpose=purpose)), ("Accept", "*/*"), ("Connection", "close")]
    sent = [(name, value) for name, value in own if value or name.lower() not in ("user-agent", "accept")]
    return [*(each for each in default if each[0].lower() not in names), *sent]


def http_url(action: HTTPGetAction, target: Target) -> str:
    port = resolve_port(target.container, action.port)
    host = action.host or target.pod_ip
    path = action.path or "/"
    return f"{(action.scheme or 'HTTP').lower()}://{_bracketed(host)}:{port}{path if path[0] == '/' else '/' + path}"


def resolve_port(container: Container, port: int | str) -> int:
    """A number, or the name of one of the container's ports. Raises ValueError when it is neither."""
    number = next((int(each.containerPort) for each in container.ports or () if each.name == port), port)
    try:
        number = int(number)
    except ValueError:
        raise ValueError(f'strconv.Atoi: parsing "{port}": invalid syntax') from None
    if not 0 < number < 65536:
        raise ValueError(f"invalid port number: {number}")
    return number


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

    address = f"{_bracketed(host)}:{action.port}"
    options = [("grpc.primary_user_agent", AGENT.format(purpose="probe")), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        try:
            answer = await channel.unary_unary(_METHOD)(health_request(action.service or ""), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return Outcome(False, _grpc_text(error, address, timeout))
    state = health_state(answer)
    return Outcome(state == "SERVING", "" if state == "SERVING" else f'service unhealthy (responded with "{state}")')


def health_request(service: str) -> bytes:
    """grpc.health.v1.HealthCheckRequest: a string in field 1, which is left out when it is empty."""
    text = service.encode()
    size, length = len(text), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return b"\x0a" + bytes([*length, size]) + text if text else b""


def health_state(answer: bytes) -> str:
    """Of a grpc.health.v1.HealthCheckResponse: an enumeration in field 1, UNKNOWN when it is left out."""
    number = answer[1] if len(answer) >= 2 and answer[0] == 0x08 else 0
    return GRPC_STATES.get(number, str(number))


def _grpc_text(error: Any, address: str, timeout: float) -> str:
    import grpc

    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {details}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"timeout: health rpc did not complete within {timeout:g}s"
    if code is grpc.StatusCode.UNAVAILABLE:
        return f'error: failed to connect service at "{address}": {details}'
    return f"error: health rpc probe failed: rpc error: code = {code.name} desc = {details}"
