"""Which etcd may be trusted with consistent reads."""

import pytest

from apiserver.storage.etcd import reports_progress


@pytest.mark.parametrize(
    ("version", "good"),
    [("3.4.23", False), ("3.4.31", True), ("3.5.0", False), ("3.5.12", False), ("3.5.16", True), ("3.6.0-rc.1", True)],
)
def test_versions(version: str, good: bool) -> None:
    assert reports_progress(version) is good
