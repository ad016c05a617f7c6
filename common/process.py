"""One skeleton for all processes: settings from flags, logging, health and metrics, signals, graceful stop.

A process's ``__main__`` parses its settings and calls :func:`run` with its ``main``, which gets a :class:`Process` to
spawn its long-running tasks on. A task that ends by an error ends the process: whoever supervises it starts it anew,
which is the one recovery that is always right.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Annotated, Any, NoReturn, TypeVar

import prometheus_client
import uvloop
from pydantic import BeforeValidator, ValidationError
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict, SettingsError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from common import collector, heap
from common.api.duration import parse_duration
from common.serving import TLSOptions, serve

log = logging.getLogger(__name__)
S = TypeVar("S", bound="ProcessSettings")
Check = Callable[[], Awaitable[None] | None]
CHECK_SECONDS = 5.0
"""How long a health check may take."""
CREDENTIALS_SECONDS = 30.0
"""How often the files of the own credentials are looked at."""


def _seconds(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(_seconds)]
"""A flag in Go's notation (``1m30s``); seconds in code."""


class ProcessSettings(BaseSettings):
    """Flags that every process has; each process adds its own. Flags are kebab-case: ``--tls-cert-file``."""

    model_config = SettingsConfigDict(
        cli_kebab_case=True, cli_implicit_flags=True, cli_parse_args=False, extra="forbid", env_prefix="COX_"
    )

    v: int = 0
    """Log verbosity: 0 is informational, 4 and above is debugging."""
    kubeconfig: str | None = None
    bind_address: str = "0.0.0.0"
    secure_port: int = 0
    tls_cert_file: str | None = None
    tls_private_key_file: str | None = None
    client_ca_file: str | None = None

    def credentials(self) -> list[str]:
        """The files that say who this process is to others: when they are renewed, it starts anew with them."""
        return [self.kubeconfig] if self.kubeconfig else []

    def tls(self) -> TLSOptions | None:
        """None when no certificate is given. Raises ValueError for half a pair."""
        if self.tls_cert_file is None and self.tls_private_key_file is None:
            return None
        if self.tls_cert_file is None or self.tls_private_key_file is None:
            raise ValueError("--tls-cert-file and --tls-private-key-file go together")
        return TLSOptions(self.tls_cert_file, self.tls_private_key_file, self.client_ca_file)


def parse(settings: type[S], argv: Sequence[str] | None = None, values: Mapping[str, Any] | None = None) -> S:
    """Settings from the command line, and ``values`` for what it does not say. Ends the process with a message that
    names the flag when one is wrong."""
    argv = _upstream_style(settings, list(sys.argv[1:] if argv is None else argv))
    try:
        return CliApp.run(settings, cli_args=argv, cli_exit_on_error=True, **(values or {}))
    except ValidationError as error:
        for problem in error.errors():
            flag = "--" + "-".join(str(part) for part in problem["loc"]).replace("_", "-")
            print(f"error: {flag}: {problem['msg']}", file=sys.stderr)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def _upstream_style(settings: type[ProcessSettings], argv: list[str]) -> list[str]:
    """Go's flags as argparse's: ``--leader-elect=false`` -> ``--no-leader-elect``, ``--v=4`` -> ``-v=4``."""
    switches = {n.replace("_", "-") for n, f in settings.model_fields.items() if f.annotation is bool}
    translated = []
    for argument in argv:
        flag, _, value = argument.removeprefix("--").partition("=")
        if flag in switches and value in ("true", "false"):
            argument = f"--{flag}" if value == "true" else f"--no-{flag}"
        elif argument.startswith("--v=") or argument == "--v":
            argument = argument[1:]
        translated.append(argument)
    return translated


class Health:
    """Named checks behind /healthz, /livez and /readyz. A check raises to say what is wrong."""

    def __init__(self) -> None:
        self._checks: dict[str, tuple[Check, bool]] = {"ping": (_nothing, True)}

    def add(self, name: str, check: Check, *, live: bool = False) -> None:
        """``live`` checks count for /livez and /healthz too: their failure means that a restart is due."""
        self._checks[name] = (check, live)

    def names(self, *, ready: bool) -> list[str]:
        return [name for name, (_, live) in self._checks.items() if ready or live]

    async def failure(self, name: str) -> str | None:
        """What a check says is wrong, None when it is well."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                result = self._checks[name][0]()
                if result is not None:
                    await result
        except Exception as error:
            log.info("check %s failed: %s", name, error)
            return str(error) or type(error).__name__
        return None

    async def report(self, *, ready: bool, exclude: Collection[str] = ()) -> tuple[bool, list[str]]:
        """Whether all is well, and upstream's ``[+]name ok`` lines."""
        lines, well = [], True
        names = self.names(ready=ready)
        for name in names:
            if name in exclude:
                lines.append(f"[+]{name} excluded: ok")
            elif await self.failure(name) is None:
                lines.append(f"[+]{name} ok")
            else:
                well = False
                lines.append(f"[-]{name} failed: reason withheld")
        if unknown := sorted(set(exclude) - set(names)):
            quoted = ",".join(f'"{name}"' for name in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
        return well, lines


def _nothing() -> None:
    """The check that an answer comes at all."""


class Process:
    """What a process's main gets: its name, its health checks, a place for its tasks, and the stop signal."""

    def __init__(self, name: str, tasks: asyncio.TaskGroup) -> None:
        self.name = name
        self.health = Health()
        self.stop = asyncio.Event()
        """Set by SIGTERM and SIGINT."""
        self.linger = 0.0
        """For how many seconds all goes on after that."""
        self._tasks = tasks
        self._spawned: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Runs until the process stops. An error of it ends the process."""
        task = self._tasks.create_task(coroutine, name=name)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
        return task

    def cancel(self) -> None:
        """Cancels all tasks."""
        for task in self._spawned:
            task.cancel()


async def health_answer(health: Health, name: str, request: Request, *, ready: bool) -> Response:
    """What a health endpoint says, more than "ok" when asked or unwell (upstream: apiserver/pkg/server/healthz)."""
    well, lines = await health.report(ready=ready, exclude=request.query_params.getlist("exclude"))
    headers = {"x-content-type-options": "nosniff"}
    if well and "verbose" not in request.query_params:
        return PlainTextResponse("ok", headers=headers)
    verdict = f"{name} check {'passed' if well else 'failed'}"
    return PlainTextResponse("\n".join([*lines, verdict, ""]), 200 if well else 500, headers)


def health_app(process: Process, *, open_metrics: bool = False) -> Starlette:
    """/healthz, /livez and /readyz for everybody; /metrics for clients with a certificate of the cluster's CA."""

    def probe(name: str, *, ready: bool) -> Route:
        async def answer(request: Request) -> Response:
            return await health_answer(process.health, name, request, ready=ready)

        return Route(f"/{name}", answer)

    async def metrics(request: Request) -> Response:
        if request.scope["state"].get("peer") is None and not open_metrics:
            return PlainTextResponse("Unauthorized", status_code=401)
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            probe("healthz", ready=False),
            probe("livez", ready=False),
            probe("readyz", ready=True),
            Route("/metrics", metrics),
        ]
    )


class _LineFormatter(logging.Formatter):
    """One line a record, with the time in UTC; a traceback follows its line."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        from common.api.time import now_micro  # the one user; keeps the import graph of logging small

        return now_micro().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def setup_logging(verbosity: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbosity >= 4 else logging.INFO, handlers=[handler], force=True)
    for noisy in ("httpx", "httpcore", "asyncio", "urllib3", "docker", "uvicorn.error", "pyroute2"):
        logging.getLogger(noisy).setLevel(logging.WARNING if verbosity < 8 else logging.DEBUG)


def run(
    name: str,
    settings: ProcessSettings,
    main: Callable[[Process], Awaitable[None]],
    *,
    port: int | None = None,
) -> NoReturn:
    """Runs ``main`` until SIGTERM or SIGINT, or until it or one of its tasks fails. Never returns.

    With a ``port``, health and metrics are served there, over TLS (settings.tls()). The exit code is 0 after a signal
    and 1 after a failure.
    """
    heap.few_arenas()
    setup_logging(settings.v)
    try:
        tls = settings.tls()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if port is not None and tls is None:
        print("error: --tls-cert-file and --tls-private-key-file are required", file=sys.stderr)
        sys.exit(2)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_run(name, settings, main, port, tls))
    sys.exit(code)


async def _run(
    name: str,
    settings: ProcessSettings,
    main: Callable[[Process], Awaitable[None]],
    port: int | None,
    tls: TLSOptions | None,
) -> int:
    log.info("%s starts: pid %d, python %s", name, os.getpid(), sys.version.split()[0])
    failures: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            process = Process(name, tasks)
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, process.stop.set)
            process.spawn(_called(main, process), name=name)
            if files := settings.credentials():
                process.spawn(stop_on_renewal(process.stop, files), name="credentials")
            process.spawn(collector.run(), name="collector")
            if port is not None:
                app = health_app(process)
                process.spawn(serve(app, host=settings.bind_address, port=port, tls=tls), name="health")
            await process.stop.wait()
            log.info("%s stops", name)
            await asyncio.sleep(process.linger)
            process.cancel()
    except* Exception as group:
        failures = _leaves(group)
    for error in failures:
        log.error("%s failed: %s", name, error, exc_info=error)
    return 1 if failures else 0


async def _called(main: Callable[[Process], Awaitable[None]], process: Process) -> None:
    await main(process)


async def stop_on_renewal(stop: asyncio.Event, files: Sequence[str], period: float = CREDENTIALS_SECONDS) -> None:
    """Asks the process to stop when one of the files changes; whoever supervises it starts it with the new ones.

    Serving certificates need no restart (common.serving reads them again); a client's are in every open connection.
    """
    before = _stamps(files)
    while _stamps(files) == before:  # noqa: ASYNC110 - files have no event to wait for
        await asyncio.sleep(period)
    log.info("the credentials were renewed: this process starts anew")
    stop.set()


def _stamps(files: Sequence[str]) -> list[tuple[int, int] | None]:
    """When each file was written, None for one that is not there: a renewal replaces files one after another."""
    stamps: list[tuple[int, int] | None] = []
    for file in files:
        try:
            status = os.stat(file)
        except OSError:
            stamps.append(None)
        else:
            stamps.append((status.st_mtime_ns, status.st_ino))
    return stamps


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def version_info() -> dict[str, str]:
    """What /version says; upstream's shape. The API is v1.32's."""
    import platform
    from importlib.metadata import version

    return {
        "major": "1",
        "minor": "32",
        "gitVersion": f"v1.32.0+cox{version('coxswain')}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "",
        "goVersion": "",
        "compiler": f"CPython {platform.python_version()}",
        "platform": f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
    }
