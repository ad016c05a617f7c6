"""``create``, ``get``, ``describe``, ``label`` and ``delete`` of kinds that ``kubectl create`` has no word for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.clients.conftest import Walker
from tests.integration.clients.kubectl import ends

MANIFEST = (Path(__file__).parent / "every_kind.yaml").read_text()


@pytest.mark.parametrize("version", ends())
def test_every_kind(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    manifest = MANIFEST.replace("NAME", kubectl.namespace)
    count = manifest.count("\n---\n") + 1
    created = kubectl("create", "-f", "-", "-o", "name", stdin=manifest).split()
    try:
        assert len(created) == count
        for wide in ("name", "wide", "yaml"):
            assert kubectl("get", "-f", "-", "-o", wide, stdin=manifest)
        assert kubectl("get", "-f", "-", "-o", "name", stdin=manifest).split() == created
        described = kubectl("describe", "-f", "-", stdin=manifest)
        assert sum(line.startswith("Name:") for line in described.splitlines()) == count
        assert kubectl("label", "-f", "-", "walked=yes", stdin=manifest).count(" labeled") == count
        applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", "-o", "name", stdin=manifest)
        assert applied.split() == created
    finally:
        done = kubectl("delete", "-f", "-", "--wait=false", "--grace-period=0", "--force", stdin=manifest)
    assert done.count(" force deleted") == count
