"""Upstream's own clients, each against the one API server of the session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.integration.clients.kubectl import Kubectl
from tests.integration.conftest import ApiServer

Walker = Callable[[str], Kubectl]


@pytest.fixture(scope="session")
def kubectl_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where kubectl keeps what it discovered: one walk's discovery serves the next."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def walker(apiserver: ApiServer, namespace: str, kubectl_home: Path) -> Walker:
    """``walker("1.27")`` is that kubectl as the admin, in a namespace of the test's own."""

    def make(version: str) -> Kubectl:
        home = kubectl_home / version
        home.mkdir(exist_ok=True)
        return Kubectl(version, apiserver.kubeconfig(), namespace, home)

    return make


@pytest.fixture
def remove(http: httpx.Client) -> Callable[[str], None]:
    """For what no namespace takes with it."""

    def delete(path: str) -> None:
        http.delete(path, params={"propagationPolicy": "Background", "gracePeriodSeconds": "0"})

    return delete
