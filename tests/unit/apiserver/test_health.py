"""Checks that anybody may ask for."""

from __future__ import annotations

import asyncio

import pytest

from apiserver.web import Shared


async def test_many_who_ask_are_one_question() -> None:
    asked: list[int] = []
    go = asyncio.Event()

    async def check() -> None:
        asked.append(len(asked))
        await go.wait()
        if len(asked) > 1:
            raise OSError("etcd is gone")

    shared = Shared(check, seconds=0.2)
    waiting = [asyncio.create_task(shared.check()) for _ in range(100)]
    await asyncio.sleep(0)
    waiting[0].cancel()  # who gives up leaves the others their answer
    go.set()
    await asyncio.gather(*waiting[1:])
    await shared.check()
    assert asked == [0]
    await asyncio.sleep(0.25)
    for _ in range(3):
        with pytest.raises(OSError, match="etcd is gone"):
            await shared.check()
    assert asked == [0, 1]
