"""Several processes that serve one port: a parent that starts them, starts a dead one anew, and stops them together.

The kernel gives each connection to one of the workers (SO_REUSEPORT), so they share nothing but the port, and one that
dies takes its own connections with it and no others. The parent forks after everything is imported, so that the code is
in memory once; it has no event loop and no threads, and does nothing but wait.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import NoReturn

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
STOP_SECONDS = 30.0
"""How long workers may take to stop; longer than their own grace for open requests."""
QUICK = 5.0
"""A worker that ends within so many seconds has failed to start."""
MOST_FAILURES = 5
"""So many failed starts in a row end the parent: whoever supervises it sees it."""
PR_SET_PDEATHSIG = 1


def check_free(host: str, port: int) -> None:
    """Raises OSError when somebody else listens there: workers would silently share the port with them."""
    with socket.create_server((host, port), family=_family(host), backlog=1):
        pass


def shared_socket(host: str, port: int) -> socket.socket:
    """A socket for one worker, bound and not yet listening."""
    bound = socket.socket(_family(host), socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((host, port))
    return bound


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def supervise(count: int, work: Callable[[], NoReturn], linger: float = 0.0) -> NoReturn:
    """Runs ``work`` in ``count`` processes until SIGTERM or SIGINT; they may go on for ``linger`` seconds more."""
    gc.collect()
    gc.freeze()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    parent = _Parent(count, work, STOP_SECONDS + linger)
    while (code := parent.step()) is None:
        pass
    sys.exit(code)


class _Parent:
    def __init__(self, count: int, work: Callable[[], NoReturn], stop_seconds: float) -> None:
        self._count = count
        self._stop_seconds = stop_seconds
        self._work = work
        self._started: dict[int, float] = {}
        """When each worker started."""
        self._failures = 0
        self._not_before = 0.0
        self._deadline: float | None = None
        """When workers that still run are killed, once a stop was asked for."""
        self._code = 0

    def step(self) -> int | None:
        """Starts who is missing and waits for something to happen. The exit code when all is over."""
        now = time.monotonic()
        if self._deadline is None:
            while len(self._started) < self._count and now >= self._not_before:
                self._start()
        elif not self._started:
            return self._code
        elif now >= self._deadline:
            log.warning("workers did not stop in time: killed")
            self._tell(signal.SIGKILL)
        got = signal.sigtimedwait(SIGNALS, max(self._until(now), 0.0))
        if got is not None and got.si_signo != signal.SIGCHLD:
            self._stop()
        self._reap()
        return None

    def _until(self, now: float) -> float:
        if self._deadline is not None:
            return min(self._deadline - now, 1.0) if now < self._deadline else 1.0
        return self._not_before - now if len(self._started) < self._count else 60.0

    def _start(self) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            # A worker whose parent is gone, however it went, must not stay behind.
            ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            if os.getppid() != parent:
                os._exit(1)
            self._work()
        self._started[pid] = time.monotonic()

    def _stop(self) -> None:
        if self._deadline is None:
            self._deadline = time.monotonic() + self._stop_seconds
            self._tell(signal.SIGTERM)

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._started:
            os.kill(pid, number)

    def _reap(self) -> None:
        while self._started:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            lived = time.monotonic() - self._started.pop(pid, 0.0)
            code = os.waitstatus_to_exitcode(status)
            if self._deadline is not None:
                self._code = self._code or (0 if code in (0, -signal.SIGTERM) else 1)
                continue
            log.warning("worker %d ended with code %d: started anew", pid, code)
            self._failures = self._failures + 1 if lived < QUICK else 0
            self._not_before = time.monotonic() + (min(2.0 ** (self._failures - 1), 8.0) if self._failures else 0.0)
            if self._failures >= MOST_FAILURES:
                log.error("the workers do not start")
                self._code = code if code > 0 else 1
                self._stop()
