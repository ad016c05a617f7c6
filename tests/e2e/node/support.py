"""What tests of a node use: kubectl in a namespace of their own, and waiting for conditions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from tests.e2e.commands import LIMIT, BaseKubectl, eventually

if TYPE_CHECKING:
    from tests.e2e.node.machine import Machine

SLEEP = "trap exit TERM; sleep 600 & wait"
"""For a shell that has nothing to do and ends when it is told to: ``exec sleep`` would take its whole grace period."""


class Kubectl(BaseKubectl):
    """The real kubectl in the machine's network namespace, as the admin, in one namespace of the API."""

    def __init__(self, machine: Machine, namespace: str = "default") -> None:
        self.machine, self.namespace = machine, namespace

    def words(self, *words: str) -> list[str]:
        base = ["kubectl", "--kubeconfig", str(self.machine.pki / "admin.conf"), "--namespace", self.namespace]
        return self.machine.inside(*base, *words)

    def find(self, *words: str) -> Any:
        """None when it is not there."""
        result = self.attempt("get", *words, "-o", "json", "--ignore-not-found")
        return json.loads(result.out) if result.code == 0 and result.out.strip() else None

    def apply(self, *objects: Mapping[str, Any] | str) -> None:
        """Objects, or YAML texts. Server-side fields are as ``kubectl create`` sends them."""
        texts = [each if isinstance(each, str) else yaml.safe_dump(dict(each)) for each in objects]
        self("create", "-f", "-", stdin="\n---\n".join(texts))

    def pod(self, name: str = "web", command: str | Sequence[str] = "", **spec: Any) -> dict[str, Any]:
        """Makes a pod on the node and gives it back. ``command`` (a shell script, or words) is its only container's
        unless ``containers`` are given; containers without an image get the tests' own. Fields of ``metadata`` go in
        ``metadata={…}``, more fields of that only container in ``container={…}``."""
        body = pod_of(name, self.machine.node, self.machine.image, command, **spec)
        self.apply(body)
        return dict(body)

    def status(self, name: str = "web") -> dict[str, Any]:
        """{} when there is no such pod."""
        return dict((self.find("pod", name) or {}).get("status") or {})

    def running(self, name: str = "web", seconds: float = LIMIT) -> dict[str, Any]:
        """Waits until the pod is ready, and gives it."""

        def ready() -> Any:
            pod = self.find("pod", name)
            conditions = (pod or {}).get("status", {}).get("conditions", [])
            return pod if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions) else None

        return dict(eventually(f"pod {name} is ready", ready, seconds))

    def phase(self, phase: str, name: str = "web", seconds: float = LIMIT) -> dict[str, Any]:
        """Waits for the phase, and gives the pod."""

        def there() -> Any:
            pod = self.find("pod", name)
            return pod if pod and pod.get("status", {}).get("phase") == phase else None

        return dict(eventually(f"pod {name} is {phase}", there, seconds))

    def waiting(self, name: str, reason: str, container: str = "app") -> str:
        """Waits until a container waits for that reason; the message that says why."""

        def there() -> Any:
            state = container_status(self.status(name), container).get("state", {}).get("waiting", {})
            return state if state.get("reason") == reason else None

        return str(eventually(f"{name} waits: {reason}", there).get("message", ""))

    def events(self, name: str = "web") -> list[dict[str, Any]]:
        """Of the pod, oldest first."""
        items = self.get("events", f"--field-selector=involvedObject.name={name}")["items"]
        return sorted(items, key=lambda event: event.get("firstTimestamp") or event.get("eventTime") or "")

    def event(self, reason: str, name: str = "web", text: str = "", seconds: float = LIMIT) -> dict[str, Any]:
        """Waits for an event with that reason whose message has ``text`` in it."""

        def there() -> Any:
            return next((e for e in self.events(name) if e["reason"] == reason and text in e["message"]), None)

        return dict(eventually(f"event {reason} of {name}", there, seconds))

    def sh(self, script: str, name: str = "web", container: str = "") -> str:
        """What a shell command in the pod's container writes."""
        words = ["exec", name, *(["-c", container] if container else []), "--", "sh", "-c", script]
        return self(*words).strip()


def pod_of(name: str, node: str, image: str, command: str | Sequence[str] = "", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, **spec.pop("metadata", {})}
    container = {"name": "app", **spec.pop("container", {})}
    if command:
        container["command"] = ["sh", "-c", command] if isinstance(command, str) else list(command)
    body = {
        "nodeName": node,
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "containers": [container],
        **spec,
    }
    for each in [*body["containers"], *body.get("initContainers", [])]:
        each.setdefault("image", image)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body}


def container_status(pod: Mapping[str, Any], name: str = "app") -> dict[str, Any]:
    """The status of a container of any sort; {} when there is none yet."""
    status = pod.get("status", pod)
    for group in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for each in status.get(group, []):
            if each["name"] == name:
                return dict(each)
    return {}


class Namespace:
    """A namespace of the API and the kubectl in it; afterwards its pods have ended and it is gone."""

    def __init__(self, machine: Machine) -> None:
        self._kubectl = Kubectl(machine, f"t-{uuid.uuid4().hex[:8]}")

    def __enter__(self) -> Kubectl:
        kubectl = self._kubectl
        kubectl("create", "namespace", kubectl.namespace)
        eventually("the default service account", lambda: kubectl.find("serviceaccount", "default"))
        return kubectl

    def __exit__(self, *failure: object) -> None:
        kubectl = self._kubectl
        kubectl.attempt("delete", "pods", "--all", "--grace-period=1", "--wait=false")
        kubectl.attempt("delete", "namespace", kubectl.namespace, "--wait=false")
        eventually("no container is left", lambda: not kubectl.machine.containers(kubectl.namespace))
