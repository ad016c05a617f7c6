"""What the runtime shows of one pod, put in order: a value that the pure decisions are made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kubelet.cri import RuntimeContainer

LABEL_SANDBOX_ID = "io.kubernetes.sandbox.id"


@dataclass(frozen=True, slots=True)
class PodObservation:
    sandboxes: tuple[RuntimeContainer, ...] = ()
    """Newest first."""
    containers: Mapping[str, tuple[RuntimeContainer, ...]] = field(default_factory=dict)
    """By name, newest first."""

    @property
    def sandbox(self) -> RuntimeContainer | None:
        """The newest sandbox, running or not."""
        return self.sandboxes[0] if self.sandboxes else None

    def latest(self, name: str) -> RuntimeContainer | None:
        found = self.containers.get(name)
        return found[0] if found else None

    def latest_in_sandbox(self, name: str, sandbox_id: str) -> RuntimeContainer | None:
        found = self.latest(name)
        return found if found is not None and found.labels.get(LABEL_SANDBOX_ID) == sandbox_id else None

    def used(self, sandbox_id: str) -> bool:
        """Whether a container was ever made in the sandbox."""
        return any(each.labels.get(LABEL_SANDBOX_ID) == sandbox_id for each in self.all_containers())

    def all_containers(self) -> list[RuntimeContainer]:
        return [container for found in self.containers.values() for container in found]

    def running(self) -> list[RuntimeContainer]:
        return [container for container in self.all_containers() if container.running]


def observe(found: Iterable[RuntimeContainer]) -> PodObservation:
    sandboxes: list[RuntimeContainer] = []
    containers: dict[str, list[RuntimeContainer]] = {}
    for container in sorted(found, key=lambda c: (c.attempt, c.created), reverse=True):
        if container.is_sandbox:
            sandboxes.append(container)
        else:
            containers.setdefault(container.name, []).append(container)
    return PodObservation(tuple(sandboxes), {name: tuple(group) for name, group in containers.items()})
