"""What has to be done for a pod: a pure function of what is wanted and what is there.

The rules are upstream's computePodActions (pkg/kubelet/kuberuntime): a pod has one running sandbox; init containers
run one after the other in it, sidecars (init containers that restart always) stay; then the app containers run, and
the restart policy says which of them run again.
https://kubernetes.io/docs/concepts/workloads/pods/init-containers/
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from lightkube.models.core_v1 import Container, PodSpec

from kubelet.cri import ContainerState, RuntimeContainer
from kubelet.pods.observed import PodObservation

LABEL_HASH = "io.kubernetes.container.hash"


@dataclass(frozen=True, slots=True)
class Kill:
    container: RuntimeContainer
    message: str
    probe: str = ""
    """The kind of the probe that failed: it may have a grace period of its own."""


@dataclass(frozen=True, slots=True)
class Actions:
    sandbox_id: str = ""
    create_sandbox: bool = False
    attempt: int = 0
    """Of the sandbox to create."""
    kill_pod: bool = False
    """Everything that still runs ends, the sandbox too: it is to be replaced, or the pod is finished."""
    kill: tuple[Kill, ...] = ()
    start: tuple[str, ...] = ()
    """Names of containers, init containers included."""


@dataclass(frozen=True, slots=True)
class ProbeFindings:
    """By container id: what the probes of running containers found."""

    failed: Mapping[str, str]
    """"liveness" or "startup" for containers that must be restarted."""
    started: frozenset[str]
    """Containers whose startup probe has succeeded, or that have none."""


def compute_actions(spec: PodSpec, observed: PodObservation, probes: ProbeFindings) -> Actions:
    sandbox = observed.sandbox
    if sandbox is None or not sandbox.running:
        return _without_sandbox(spec, observed)
    kills: list[Kill] = []
    starts = _ephemeral_starts(spec, observed)
    finished, failed = _init_actions(spec, observed, probes, sandbox.id, kills, starts)
    if failed:
        return Actions(sandbox.id, kill_pod=True)
    kept = 0
    if finished:
        kept = _app_actions(spec, observed, probes, kills, starts)
        if not kept and not starts_app(spec, starts):
            return Actions(sandbox.id, kill_pod=True)
    return Actions(sandbox.id, kill=tuple(kills), start=tuple(starts))


def _ephemeral_starts(spec: PodSpec, observed: PodObservation) -> list[str]:
    """Once each, whatever the restart policy, and also while init containers are still at work.
    https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/
    """
    runs = ((each.name, observed.latest(each.name)) for each in spec.ephemeralContainers or ())
    return [name for name, latest in runs if latest is None or latest.state is ContainerState.CREATED]


def starts_app(spec: PodSpec, starts: list[str]) -> bool:
    return any(container.name in starts for container in spec.containers)


def _without_sandbox(spec: PodSpec, observed: PodObservation) -> Actions:
    attempt = observed.sandbox.attempt + 1 if observed.sandbox else 0
    if spec.restartPolicy == "Never" and attempt and observed.containers:
        return Actions(kill_pod=True)
    wanted = tuple(c.name for c in spec.containers if _runs_in_new_sandbox(spec, observed.latest(c.name)))
    if not wanted or _init_failed_for_good(spec, observed):
        return Actions(kill_pod=bool(observed.sandboxes))
    first = (spec.initContainers[0].name,) if spec.initContainers else wanted
    return Actions(create_sandbox=True, attempt=attempt, kill_pod=bool(observed.running()), start=first)


def _runs_in_new_sandbox(spec: PodSpec, latest: RuntimeContainer | None) -> bool:
    """Also what still runs in the old one: it ends with it, through no fault of its own."""
    return should_restart(spec, latest) or (latest is not None and latest.running)


def should_restart(spec: PodSpec, latest: RuntimeContainer | None) -> bool:
    """Whether a container that does not run should."""
    if latest is None or latest.state in (ContainerState.CREATED, ContainerState.UNKNOWN):
        return True
    if latest.running or spec.restartPolicy == "Never":
        return False
    return spec.restartPolicy != "OnFailure" or latest.exit_code != 0


def is_sidecar(container: Container) -> bool:
    return container.restartPolicy == "Always"


def container_hash(container: Container) -> str:
    """Changes when a running container must be replaced: of the fields that may change, its image is one."""
    return hashlib.sha256(f"{container.name}\0{container.image}".encode()).hexdigest()[:8]


def _init_failed_for_good(spec: PodSpec, observed: PodObservation) -> bool:
    if spec.restartPolicy != "Never":
        return False
    return any(
        latest is not None and latest.state is ContainerState.EXITED and latest.exit_code != 0
        for latest in (observed.latest(c.name) for c in spec.initContainers or () if not is_sidecar(c))
    )


def _init_actions(
    spec: PodSpec,
    observed: PodObservation,
    probes: ProbeFindings,
    sandbox_id: str,
    kills: list[Kill],
    starts: list[str],
) -> tuple[bool, bool]:
    """Whether the init containers have done their part, and whether one has failed for good."""
    apps_began = any(observed.latest_in_sandbox(c.name, sandbox_id) for c in spec.containers)
    for container in spec.initContainers or ():
        latest = observed.latest_in_sandbox(container.name, sandbox_id)
        if is_sidecar(container):
            if not _keep_sidecar(container, latest, probes, kills, starts) and not apps_began:
                return False, False
        elif apps_began:
            continue
        elif latest is None or latest.state in (ContainerState.CREATED, ContainerState.UNKNOWN):
            starts.append(container.name)
            return False, False
        elif latest.running:
            return False, False
        elif latest.exit_code != 0:
            if spec.restartPolicy == "Never":
                return False, True
            starts.append(container.name)
            return False, False
    return True, False


def _keep_sidecar(
    container: Container,
    latest: RuntimeContainer | None,
    probes: ProbeFindings,
    kills: list[Kill],
    starts: list[str],
) -> bool:
    """Whether the sidecar runs and has started, so that what follows it may."""
    if latest is None or not latest.running:
        starts.append(container.name)
        return False
    kill = _kill(container, latest, probes)
    if kill is not None:
        kills.append(kill)
        return False
    return latest.id in probes.started


def _app_actions(
    spec: PodSpec, observed: PodObservation, probes: ProbeFindings, kills: list[Kill], starts: list[str]
) -> int:
    """How many app containers go on (or come back after they are killed)."""
    kept = 0
    for container in spec.containers:
        latest = observed.latest(container.name)
        if latest is None or not latest.running:
            if should_restart(spec, latest):
                starts.append(container.name)
            continue
        kept += 1
        kill = _kill(container, latest, probes)
        if kill is not None:
            kills.append(kill)
    return kept


def _kill(container: Container, running: RuntimeContainer, probes: ProbeFindings) -> Kill | None:
    recorded = running.labels.get(LABEL_HASH)
    if recorded is not None and recorded != container_hash(container):
        return Kill(running, f"Container {container.name} definition changed, will be restarted")
    failed = probes.failed.get(running.id)
    if failed:
        return Kill(running, f"Container {container.name} failed {failed} probe, will be restarted", failed)
    return None
