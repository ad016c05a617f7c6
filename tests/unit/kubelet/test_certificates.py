"""What a node's certificate should be for, and when another is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lightkube.models.core_v1 import NodeAddress

from kubelet.certificates import x509
from kubelet.certificates.requests import RequestError, Wanted, client_certificate, serving_certificate
from kubelet.certificates.rotation import Rotation, Template
from kubelet.certificates.store import CertificateStore, Validity, canonical

NOW = datetime.now(UTC)


def addresses(*ips: str) -> list[NodeAddress]:
    return [*(NodeAddress(ip, "InternalIP") for ip in ips), NodeAddress("web", "Hostname")]


def wanted(*ips: str) -> Wanted:
    found = serving_certificate("web", addresses(*ips))
    assert found is not None
    return found


def test_a_serving_certificate_is_for_all_that_the_node_is_known_by() -> None:
    many = [
        *addresses("10.0.0.1", "fd00::1"),
        NodeAddress("198.51.100.1", "ExternalIP"),
        NodeAddress("web", "InternalDNS"),
    ]
    found = serving_certificate("web", many)
    assert found is not None and found.names == ("10.0.0.1", "198.51.100.1", "fd00::1", "web")
    assert found == serving_certificate("web", reversed(many))
    assert serving_certificate("web", [NodeAddress("web", "Hostname")]) is None
    assert serving_certificate("web", []) is None


@pytest.mark.parametrize(
    ("asked", "common_name", "names", "good"),
    [
        (wanted("10.0.0.1"), "system:node:web", ("web", "10.0.0.1"), True),
        (wanted("10.0.0.1"), "system:node:web", ("web", "10.0.0.1", "10.0.0.2", "other"), True),
        (wanted("fd00::0:1"), "system:node:web", ("WEB", "fd00::1"), True),
        (wanted("10.0.0.1"), "system:node:web", ("web", "10.0.0.2"), False),
        (wanted("10.0.0.1"), "system:node:web", ("10.0.0.1",), False),
        (wanted("10.0.0.1"), "system:node:db", ("web", "10.0.0.1"), False),
        (client_certificate("web"), "system:node:web", (), True),
        (client_certificate("web"), "system:node:db", (), False),
    ],
)
def test_whether_a_certificate_will_do(asked: Wanted, common_name: str, names: tuple[str, ...], good: bool) -> None:
    held = Validity(NOW, NOW + timedelta(days=1), common_name, frozenset(map(canonical, names)))
    assert asked.satisfied_by(held) is good


@dataclass
class Signer:
    """Gives a certificate for names of its choice once it is let."""

    names: tuple[str, ...] = ()
    asked: list[Wanted] = field(default_factory=list)
    arrived: asyncio.Queue[Wanted] = field(default_factory=asyncio.Queue)
    approved: asyncio.Queue[bool] = field(default_factory=asyncio.Queue)
    waiting: int = 0

    async def obtain(self, wanted: Wanted) -> tuple[bytes, bytes]:
        self.asked.append(wanted)
        self.arrived.put_nowait(wanted)
        self.waiting += 1
        try:
            if not await self.approved.get():
                raise RequestError("denied")
        finally:
            self.waiting -= 1
        return signed(self.names or wanted.names)


def signed(names: tuple[str, ...]) -> tuple[bytes, bytes]:
    certificate, key = x509.self_signed("system:node:web", names, timedelta(days=365))
    return certificate, key


@pytest.fixture(autouse=True)
def names_as_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What vouches for itself has a name of its own: the subject does not matter here."""
    plain = x509.validity

    def validity(certificate: bytes) -> Validity:
        found = plain(certificate)
        return Validity(found.begin, found.end, "system:node:web", found.names)

    monkeypatch.setattr(x509, "validity", validity)
    monkeypatch.setattr("kubelet.certificates.rotation.FIRST_RETRY", 0.0)
    yield


class Rotating:
    def __init__(self, folder: Path) -> None:
        self.signer, self.template = Signer(), Template()
        self.store = CertificateStore(folder, "kubelet-server")
        self.renewed: asyncio.Queue[Any] = asyncio.Queue()
        self.rotation = Rotation(self.store, self.template, self.signer.obtain, self._renewed)

    async def _renewed(self) -> None:
        self.renewed.put_nowait(self.store.validity())

    @asynccontextmanager
    async def running(self) -> Any:
        task = asyncio.create_task(self.rotation.run())
        try:
            async with asyncio.timeout(20):
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def settled(self) -> None:
        """Whatever would be asked for has been."""
        for _ in range(20):
            await asyncio.to_thread(lambda: None)


async def test_one_is_asked_for_when_the_addresses_are_known(tmp_path: Path) -> None:
    it = Rotating(tmp_path)
    async with it.running():
        await it.settled()
        assert not it.signer.asked and not it.rotation.available.is_set()
        it.template.set(wanted("10.0.0.1"))
        assert await it.signer.arrived.get() == wanted("10.0.0.1")
        it.signer.approved.put_nowait(True)
        await it.rotation.available.wait()
        assert (await it.renewed.get()).names >= {"web", "10.0.0.1"}
        it.template.set(wanted("10.0.0.1"))
        await it.settled()
        assert len(it.signer.asked) == 1


async def test_addresses_that_change(tmp_path: Path) -> None:
    """A request that waits for its answer is given up; what the certificate is for already is not asked for."""
    it = Rotating(tmp_path)
    it.store.update(*signed(("web", "10.0.0.1", "10.0.0.9")))
    it.template.set(wanted("10.0.0.1"))
    async with it.running():
        await it.rotation.available.wait()
        it.template.set(wanted("10.0.0.9"))
        await it.settled()
        assert not it.signer.asked
        for address in ("10.0.0.2", "10.0.0.3"):
            it.template.set(wanted(address))
            assert await it.signer.arrived.get() == wanted(address)
        assert it.signer.waiting == 1
        it.template.set(wanted("10.0.0.1"))
        await it.settled()
        assert it.signer.waiting == 0
        it.template.set(wanted("10.0.0.4"))
        await it.signer.arrived.get()
        it.signer.approved.put_nowait(False)
        await it.signer.arrived.get()
        it.signer.approved.put_nowait(True)
        assert "10.0.0.4" in (await it.renewed.get()).names
        await it.settled()
        assert [each.names[0][-1] for each in it.signer.asked] == ["2", "3", "4", "4"]


async def test_a_signer_that_leaves_something_out_is_not_asked_again(tmp_path: Path) -> None:
    it = Rotating(tmp_path)
    it.signer.names = ("web",)
    it.template.set(wanted("10.0.0.1"))
    async with it.running():
        it.signer.approved.put_nowait(True)
        await it.renewed.get()
        await it.settled()
        assert len(it.signer.asked) == 1


async def test_one_whose_time_is_over_is_renewed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Rotating(tmp_path)
    it.store.update(*signed(("web", "10.0.0.1")))
    it.template.set(wanted("10.0.0.1"))
    drawn = iter([NOW - timedelta(seconds=1)])
    monkeypatch.setattr(
        "kubelet.certificates.rotation.deadline", lambda validity: next(drawn, NOW + timedelta(days=200))
    )
    async with it.running():
        assert await it.signer.arrived.get() == wanted("10.0.0.1")
        it.signer.approved.put_nowait(True)
        await it.renewed.get()
        await it.settled()
        assert len(it.signer.asked) == 1
