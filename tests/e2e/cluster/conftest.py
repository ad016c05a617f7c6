"""The cluster that `./cox up` brings up, shared by the tests of this folder, and what explains a failure."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.e2e.cluster.support import PROJECT, Kubectl, command, eventually

PROCESSES = ("apiserver", "controller-manager", "scheduler", "etcd", "node-1", "node-2")


@pytest.fixture(scope="session")
def cluster() -> None:
    """The cluster is up, every process healthy and every node Ready."""
    result = command(["./cox", "up", "--nodes", "2"], timeout=1500)
    assert result.code == 0, result


@pytest.fixture
def namespace(cluster: None) -> Iterator[str]:
    """A namespace of the test's own, gone afterwards."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    admin = Kubectl("default")
    admin("create", "namespace", name)
    eventually("the default service account", lambda: admin.attempt("get", "sa", "default", "-n", name).code == 0)
    yield name
    admin("delete", "namespace", name, "--wait=true", timeout=180)


@pytest.fixture
def kubectl(namespace: str) -> Kubectl:
    return Kubectl(namespace)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Beside a failed test stands what the processes said."""
    report = yield
    if report.failed:
        for name in PROCESSES:
            result = command(["docker", "logs", "--tail", "60", f"{PROJECT}-{name}"], timeout=30)
            report.sections.append((f"docker logs {PROJECT}-{name}", result.out + result.err))
        for words in (["get", "pods,nodes", "-A", "-o", "wide"], ["get", "events", "-A"]):
            result = Kubectl("default").attempt(*words)
            report.sections.append((f"kubectl {' '.join(words)}", (result.out + result.err)[-6000:]))
    return report
