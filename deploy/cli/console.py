"""Running commands, and telling the person in front of the screen what is going on.

Whatever takes longer than a moment is a `step`: it says what it is doing while it does it, and how long it took. Output
of commands is kept back and shown only when they fail, since that is when somebody wants to read it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".cox"
_QUIET_SECONDS = 10.0


class CoxError(Exception):
    """Something a person can act upon; shown without a traceback."""


class Step:
    """One line of progress; `detail` may be changed while it runs."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.done_as: str | None = None
        self._started = time.monotonic()
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> Step:
        self._thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._finished.set()
        self._thread.join()
        mark = "FAILED" if error else (self.done_as or "done")
        elapsed = time.monotonic() - self._started
        took = f" ({elapsed:.0f} s)" if elapsed >= 2 else ""
        print(f"{_clear_line()}  {self.title}: {mark}{took}", flush=True)

    def _show(self) -> None:
        """On a terminal a line that counts; elsewhere (CI) a line now and then, so that nobody thinks it hangs."""
        interval = 0.5 if sys.stdout.isatty() else _QUIET_SECONDS
        while not self._finished.wait(interval):
            elapsed = time.monotonic() - self._started
            line = f"  {self.title} … {elapsed:.0f} s  {self.detail}"
            if sys.stdout.isatty():
                width = max(20, os.get_terminal_size().columns - 1)
                print(f"{_clear_line()}{line[:width]}", end="", flush=True)
            else:
                print(line, flush=True)


def _clear_line() -> str:
    return "\r\x1b[K" if sys.stdout.isatty() else ""


def say(text: str = "") -> None:
    print(text, flush=True)


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float | None = 1800,
    cwd: Path = ROOT,
) -> str:
    """Run a command to its end and return what it printed; a failure carries its last lines."""
    result = try_run(command, env=env, stdin=stdin, timeout=timeout, cwd=cwd)
    if result.returncode != 0:
        lines = (result.stdout + result.stderr).decode(errors="replace").strip().splitlines()
        text = "\n    ".join(lines[-25:])
        raise CoxError(f"{' '.join(map(str, command))} failed with {result.returncode}:\n    {text}")
    return result.stdout.decode(errors="replace")


def try_run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float | None = 60,
    cwd: Path = ROOT,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command and return its result, whatever it is; a missing command is exit code 127, a timeout 124."""
    words = [str(word) for word in command]
    try:
        return subprocess.run(
            words, input=stdin or b"", capture_output=True, env={**os.environ, **(env or {})}, timeout=timeout, cwd=cwd
        )
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(words, 127, b"", str(error).encode())
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 124, b"", f"no answer within {timeout:.0f} s".encode())


@contextlib.contextmanager
def step(title: str) -> Iterator[Step]:
    with Step(title) as current:
        yield current
