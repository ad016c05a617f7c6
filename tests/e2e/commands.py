"""Commands that tests run, above all kubectl, and waiting for conditions."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 60.0 * float(os.environ.get("PATIENCE", "1"))
"""Seconds for a condition; PATIENCE is for a slow machine (an emulated one)."""


class Result:
    """What a command answered."""

    def __init__(self, completed: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = completed.returncode, completed.stdout, completed.stderr

    def __repr__(self) -> str:
        return f"<exit {self.code}; stdout {self.out!r}; stderr {self.err!r}>"


def command(words: Sequence[str], *, stdin: str = "", timeout: float = 120) -> Result:
    """Runs it in the root of the project."""
    return Result(subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout, cwd=ROOT))


def eventually(what: str, condition: Callable[[], Any], seconds: float = LIMIT) -> Any:
    """The condition's first true value; the test fails with ``what`` and the last value when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}; last seen: {value!r}"
        time.sleep(0.1)


class BaseKubectl:
    """A kubectl, in one namespace of the API."""

    namespace: str

    def words(self, *words: str) -> list[str]:
        """The whole command of some words of kubectl's."""
        raise NotImplementedError

    def attempt(self, *words: str, stdin: str = "", timeout: float = 120) -> Result:
        return command(self.words(*words), stdin=stdin, timeout=timeout)

    def __call__(self, *words: str, stdin: str = "", timeout: float = 120) -> str:
        result = self.attempt(*words, stdin=stdin, timeout=timeout)
        assert result.code == 0, f"kubectl {' '.join(words)}: {result}"
        return result.out

    def get(self, *words: str) -> Any:
        return json.loads(self("get", *words, "-o", "json"))
