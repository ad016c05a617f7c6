"""What is done to the servers while the clients work. One thing at a time; each puts right what it did."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from apiserver.storage.etcd import Etcd
from common.api.status import StatusError
from tests.history.truth import Truth


class Server(Protocol):
    @property
    def pid(self) -> int: ...
    def start(self) -> None: ...
    def stop(self, number: int = ...) -> None: ...


class Faults:
    """``single`` is an API server of one process; ``several`` one with workers, or None."""

    def __init__(
        self, etcd: Server, client: Etcd, truth: Truth, single: Server, several: Server | None, seed: int
    ) -> None:
        self._etcd = etcd
        self._client = client
        self._truth = truth
        self._single = single
        self._several = several
        self._random = random.Random(seed)
        self.done: list[str] = []

    async def run(self, between: float) -> None:
        """Until cancelled: one after the other, in an order that has each of them early."""
        acts: Sequence[Callable[[], Awaitable[None]]] = (
            self.compact,
            self.kill_etcd,
            self.hold_server,
            self.leave_behind,
            self.kill_worker,
            self.hold_etcd,
        )
        while True:
            for act in self._random.sample(acts, len(acts)):
                await asyncio.sleep(self._random.uniform(0.5, 1.5) * between)
                self.done.append(act.__name__)
                # What was begun is put right even when time is up.
                await asyncio.shield(asyncio.ensure_future(act()))

    async def compact(self) -> None:
        """etcd forgets all but the present. Not what the truth has still to see."""
        with suppress(StatusError):  # it is compacted already
            await self._client.compact(self._truth.revision)

    async def kill_etcd(self) -> None:
        self._etcd.stop(signal.SIGKILL)
        await asyncio.sleep(self._random.uniform(0, 0.5))
        self._etcd.start()

    async def hold_etcd(self) -> None:
        await self._held(self._etcd.pid, self._random.uniform(0.2, 1.0))

    async def hold_server(self) -> None:
        """A server that stands still for a while has old caches when it goes on."""
        await self._held(self._single.pid, self._random.uniform(0.2, 1.0))

    async def leave_behind(self) -> None:
        """A server loses its watch, and when it goes on, etcd has compacted what it missed."""
        os.kill(self._single.pid, signal.SIGSTOP)
        try:
            await self.kill_etcd()
            missed = self._truth.revision + 20
            with suppress(TimeoutError):  # unless nobody writes any more
                async with asyncio.timeout(10):
                    while self._truth.revision < missed:  # noqa: ASYNC110 - it has no event
                        await asyncio.sleep(0.05)
            await self.compact()
        finally:
            os.kill(self._single.pid, signal.SIGCONT)

    async def kill_worker(self) -> None:
        if self._several is None:
            return
        children = Path(f"/proc/{self._several.pid}/task/{self._several.pid}/children").read_text().split()
        if children:
            os.kill(int(self._random.choice(children)), signal.SIGKILL)

    @staticmethod
    async def _held(pid: int, seconds: float) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)
