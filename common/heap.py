"""glibc's heap: few arenas, and what is free goes back to the system.

Each thread would get an arena of its own, and keep what it needed once; a process that has a pool of threads for
blocking calls pays some megabytes for it, and Python's allocator gains nothing by it. With another C library nothing
happens. https://man7.org/linux/man-pages/man3/mallopt.3.html
"""

from __future__ import annotations

import contextlib
import ctypes

_ARENA_MAX = -8
ARENAS = 2


def few_arenas() -> None:
    """Before there are threads."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, ARENAS)


def give_back() -> None:
    """What is free, to the system: some milliseconds."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
