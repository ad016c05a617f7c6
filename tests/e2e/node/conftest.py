"""One real node for the tests of this folder: etcd, API server, controller manager and kubelet, each a process, in a
network namespace of their own; pods are containers of this machine's Docker on a bridge in that namespace; kubectl is
the real one. There is no scheduler: tests name the node.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.node.machine import Machine, built_image
from tests.e2e.node.support import Kubectl, Namespace


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """Busybox with every applet and users of its own; runs until SIGTERM when told nothing else."""
    with built_image() as tag:
        yield tag


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[Machine]:
    """A node that is Ready. Who changes it (kills its kubelet, stops a server) leaves it as it was."""
    with Machine(tmp_path_factory.mktemp("node"), image) as machine:
        machine.start()
        yield machine


@pytest.fixture
def kubectl(machine: Machine) -> Iterator[Kubectl]:
    """In a namespace of the test's own, which is gone afterwards together with its pods."""
    with Namespace(machine) as kubectl:
        yield kubectl


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Beside a failed test stands what the processes said."""
    report = yield
    machine = getattr(item, "funcargs", {}).get("machine")
    if report.failed and isinstance(machine, Machine):
        for log in sorted(Path(machine.root).glob("*.log")):
            report.sections.append((log.name, log.read_text(errors="replace")[-6000:]))
        listing = machine.kubectl().attempt("get", "pods,nodes,events", "-A", "-o", "wide")
        report.sections.append(("kubectl get", (listing.out + listing.err)[-8000:]))
    return report
