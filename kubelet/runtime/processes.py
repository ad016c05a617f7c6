"""Processes in containers, by their numbers on this machine: ends one, looks at one. Blocking, for microseconds."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def kill_member(pid: int, container_id: str) -> bool:
    """SIGKILL to the process if it belongs to the container; False if that cannot be told.

    The number alone proves nothing: the process may have ended and another have got its number, or the runtime counts
    in another namespace. The descriptor holds on to the process while its cgroup is read.
    """
    try:
        held = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    try:
        if container_id not in Path(f"/proc/{pid}/cgroup").read_text():
            return False
        signal.pidfd_send_signal(held, signal.SIGKILL)
        return True
    except (ProcessLookupError, FileNotFoundError):
        return True
    except OSError:
        return False
    finally:
        os.close(held)


def is_deaf(pid: int, container_id: str) -> bool:
    """Whether no signal but SIGKILL does anything to the process: it is the first one of its namespace, from which the
    kernel keeps what it has no handler for, and it has none. False if that cannot be told. See signal(7), kill(2)."""
    try:
        if not pid or container_id not in Path(f"/proc/{pid}/cgroup").read_text():
            return False
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
        )
        inner = status["NSpid"].split()
        return len(inner) > 1 and inner[-1] == "1" and int(status["SigCgt"], 16) == 0
    except (OSError, KeyError, ValueError):
        return False
