"""Counts and times what is asked of a runtime, by upstream's names of the operations."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from kubelet.cri import RuntimeFailure
from kubelet.metrics import (
    RUNTIME_DURATION,
    RUNTIME_ERRORS,
    RUNTIME_OPERATIONS,
    STARTED_CONTAINER_ERRORS,
    STARTED_CONTAINERS,
    STARTED_POD_ERRORS,
    STARTED_PODS,
)

R = TypeVar("R")

OPERATIONS = {
    "version": "version",
    "info": "status",
    "run_sandbox": "run_podsandbox",
    "stop_sandbox": "stop_podsandbox",
    "remove_sandbox": "remove_podsandbox",
    "list_sandboxes": "list_podsandbox",
    "create_container": "create_container",
    "start_container": "start_container",
    "stop_container": "stop_container",
    "remove_container": "remove_container",
    "list_containers": "list_containers",
    "container_pid": "container_status",
    "update_container": "update_container",
    "image_status": "image_status",
    "pull_image": "pull_image",
    "list_images": "list_images",
    "remove_image": "remove_image",
    "exec": "exec",
    "exec_sync": "exec_sync",
    "attach": "attach",
    "stats": "container_stats",
    "stats_of": "list_container_stats",
}
"""Method -> upstream's operation_type. A runtime may lack some."""


def measure(runtime: R) -> R:
    """The same runtime, with these methods counted."""
    for name, operation in OPERATIONS.items():
        method = getattr(runtime, name, None)
        if method is not None:
            setattr(runtime, name, _counted(method, operation))
    return runtime


def _counted(method: Callable[..., Awaitable[Any]], operation: str) -> Callable[..., Awaitable[Any]]:
    count, errors = RUNTIME_OPERATIONS.labels(operation), RUNTIME_ERRORS.labels(operation)
    duration = RUNTIME_DURATION.labels(operation)

    @functools.wraps(method)
    async def counted(*args: Any, **kw: Any) -> Any:
        count.inc()
        began = time.monotonic()
        try:
            answer = await method(*args, **kw)
            _started(operation, ok=True)
            return answer
        except RuntimeFailure:
            errors.inc()
            _started(operation, ok=False)
            raise
        finally:
            duration.observe(time.monotonic() - began)

    return counted


def _started(operation: str, *, ok: bool) -> None:
    """kubelet_started_*: what upstream counts where it asks the runtime for these."""
    if operation == "run_podsandbox":
        (STARTED_PODS if ok else STARTED_POD_ERRORS).inc()
    elif operation == "start_container":
        if ok:
            STARTED_CONTAINERS.labels("container").inc()
        else:
            STARTED_CONTAINER_ERRORS.labels("container", "RunContainerError").inc()
