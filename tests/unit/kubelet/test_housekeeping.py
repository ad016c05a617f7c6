"""Addresses of pods that are gone come back; those of pods that live, or that start meanwhile, do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from kubelet.housekeeping import AddressKeeper


@dataclass
class Book:
    held: set[str]
    released: list[str] = field(default_factory=list)

    def holders(self) -> frozenset[str]:
        return frozenset(self.held)

    async def teardown_pod(self, pod_uid: str) -> None:
        self.released.append(pod_uid)


async def test_only_addresses_of_the_gone_are_released() -> None:
    book = Book({"known", "running", "gone"})

    class Runtime:
        async def list_containers(self) -> list[Any]:
            book.held.add("starts meanwhile")
            return [SimpleNamespace(pod_uid="running")]

    class Pods:
        def pods(self) -> list[Pod]:
            return [Pod(metadata=ObjectMeta(name="web", uid="known"))]

    await AddressKeeper(book, Runtime(), Pods()).release_lost()  # type: ignore[arg-type]
    assert book.released == ["gone"]
