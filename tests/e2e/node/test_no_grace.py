"""Pods with no grace period: what listens has two seconds all the same, as upstream."""

from __future__ import annotations

from typing import Any

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, container_status, eventually

STUBBORN = "trap 'echo term >> /d/stubborn' TERM; touch /d/ready; while true; do sleep 0.1; done"
POLITE = "trap 'echo term >> /d/polite; exit 3' TERM; touch /d/ready; while true; do sleep 0.1; done"


def test_a_grace_period_of_zero(kubectl: Kubectl, machine: Machine) -> None:
    folder = machine.root / "no-grace"

    def pod(name: str, script: str, **container: Any) -> None:
        volume = {"name": "d", "hostPath": {"path": str(folder / name), "type": "DirectoryOrCreate"}}
        ready = {"readinessProbe": {"exec": {"command": ["test", "-e", "/d/ready"]}, "periodSeconds": 1}}
        mounts = {"volumeMounts": [{"name": "d", "mountPath": "/d"}]}
        kubectl.pod(
            name,
            script,
            container={**mounts, **ready, **container},
            volumes=[volume],
            terminationGracePeriodSeconds=0,
            metadata={"finalizers": ["example.com/keep"]},
        )

    hook = {"lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /d/polite"]}}}}
    pod("polite", POLITE, **hook)
    pod("stubborn", STUBBORN)
    pod("deaf", "touch /d/ready; exec sleep 600")
    try:
        for name in ("polite", "stubborn", "deaf"):
            kubectl.running(name)
        kubectl("delete", "pod", "polite", "stubborn", "deaf", "--wait=false")
        found = {}
        for name in ("polite", "stubborn", "deaf"):
            ended = eventually(f"{name} has ended", lambda name=name: _ended(kubectl, name))
            found[name] = ended["exitCode"]
        assert found == {"polite": 3, "stubborn": 137, "deaf": 137}
        assert (folder / "polite/polite").read_text().split() == ["hook", "term"]
        assert (folder / "stubborn/stubborn").read_text().split() == ["term"]
    finally:
        for name in ("polite", "stubborn", "deaf"):
            kubectl.attempt("patch", "pod", name, "-p", '{"metadata":{"finalizers":null}}')
    eventually("nothing of them is left", lambda: not machine.containers(kubectl.namespace))


def _ended(kubectl: Kubectl, name: str) -> dict[str, Any] | None:
    state: dict[str, Any] = container_status(kubectl.status(name)).get("state", {})
    return state.get("terminated")
