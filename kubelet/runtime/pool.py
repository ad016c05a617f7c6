"""Docker's SDK blocks; here its calls run in one bounded thread pool.

Every call goes through :meth:`DockerPool.call`. It turns the SDK's exceptions into the kubelet's, and gives up the
connection when the daemon goes away, so that the next call negotiates anew (the daemon may come back as another
version). A call that was cancelled is still waited for: a container that is being created in a thread must not appear
after its owner believes that nothing is there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from kubelet.cri import RuntimeFailure, RuntimeNotFound, RuntimeUnavailable

T = TypeVar("T")


class DockerPool:
    def __init__(self, socket_path: str, *, threads: int = 16, timeout: float = 120) -> None:
        self._base_url = f"unix://{socket_path}"
        self._timeout = timeout
        self._threads = threads
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="docker")
        self._lock = threading.Lock()
        self._api: Any = None

    async def call(self, function: Callable[[Any], T]) -> T:
        """Runs ``function(api)`` in a thread, where api is docker's low-level APIClient."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, self._invoke, function)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])  # bounded: every call has the SDK's timeout
            future.exception()  # nobody asks for it any more
            raise

    async def api_version(self) -> str:
        return str(await self.call(lambda api: api.api_version))

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _invoke(self, function: Callable[[Any], T]) -> T:
        try:
            return function(self._client())
        except (NotFound, ImageNotFound) as error:
            raise RuntimeNotFound(explain(error)) from error
        except APIError as error:
            raise RuntimeFailure(explain(error)) from error
        except (requests.exceptions.RequestException, DockerException, OSError) as error:
            with self._lock:
                self._api = None
            raise RuntimeUnavailable(f"cannot connect to the Docker daemon: {error}") from error

    def _client(self) -> Any:
        with self._lock:
            if self._api is None:
                self._api = docker.APIClient(
                    self._base_url, version="auto", timeout=self._timeout, num_pools=self._threads
                )
            return self._api


def explain(error: APIError) -> str:
    """The daemon's own words, as docker's command line prints them."""
    text = error.explanation or str(error)
    return f"Error response from daemon: {text if isinstance(text, str) else text.decode(errors='replace')}"
