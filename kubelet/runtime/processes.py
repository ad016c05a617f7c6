"""Ends a process in a container, by its number on this machine. Blocking, for microseconds."""

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
