"""Who a pod is, with nothing optional: what the API server fills in is there for every pod that reaches a node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lightkube.models.core_v1 import Container, EphemeralContainer, PodSpec, VolumeMount
from lightkube.resources.core_v1 import Pod

from common.api.meta import annotations_of, meta_of

ANNOTATION_MIRROR = "kubernetes.io/config.mirror"
DEFAULT_GRACE_PERIOD = 30
SYSTEM_CRITICAL_PRIORITY = 2_000_000_000


@dataclass(frozen=True, slots=True)
class PodIdentity:
    name: str
    namespace: str
    uid: str

    def __str__(self) -> str:
        """As upstream's format.Pod prints it in events."""
        return f"{self.name}_{self.namespace}({self.uid})"


def identity_of(pod: Pod) -> PodIdentity:
    meta = meta_of(pod)
    return PodIdentity(meta.name or "", meta.namespace or "default", meta.uid or "")


def spec_of(pod: Pod) -> PodSpec:
    if pod.spec is None:
        raise ValueError(f"pod {identity_of(pod)} has no spec")
    return pod.spec


def all_containers(spec: PodSpec) -> Iterator[Container]:
    """Init containers first."""
    yield from spec.initContainers or ()
    yield from spec.containers


def find_container(spec: PodSpec, name: str) -> Container | None:
    """Ephemeral containers too."""
    found = next((container for container in all_containers(spec) if container.name == name), None)
    if found is None and (ephemeral := find_ephemeral(spec, name)) is not None:
        return as_container(ephemeral)
    return found


def find_ephemeral(spec: PodSpec, name: str) -> EphemeralContainer | None:
    return next((container for container in spec.ephemeralContainers or () if container.name == name), None)


def as_container(ephemeral: EphemeralContainer) -> Container:
    """An ephemeral container is one that knows whose processes it looks at."""
    return Container(**{name: getattr(ephemeral, name) for name in Container.__struct_fields__})


def field_path(spec: PodSpec, name: str) -> str:
    """What an event about a container refers to in its pod."""
    kind = "containers"
    if any(c.name == name for c in spec.initContainers or ()):
        kind = "initContainers"
    elif find_ephemeral(spec, name) is not None:
        kind = "ephemeralContainers"
    return f"spec.{kind}{{{name}}}"


def grace_period(pod: Pod) -> int:
    """Seconds: of the delete request when there is one, else of the pod."""
    meta = meta_of(pod)
    if meta.deletionTimestamp is not None and meta.deletionGracePeriodSeconds is not None:
        return int(meta.deletionGracePeriodSeconds)
    period = spec_of(pod).terminationGracePeriodSeconds
    return DEFAULT_GRACE_PERIOD if period is None else int(period)


def ending_period(pod: Pod) -> int:
    """Seconds that the pod's end may take: whoever asks for none gets one, as upstream's pod workers have it."""
    return max(1, grace_period(pod))


def probe_grace_period(pod: Pod, name: str, kind: str) -> int:
    """Seconds that a container has whose probe of that kind has failed ("": none has)."""
    container = find_container(spec_of(pod), name)
    probes = {"liveness": container.livenessProbe, "startup": container.startupProbe} if container else {}
    probe = probes.get(kind)
    own = probe.terminationGracePeriodSeconds if probe is not None else None
    return int(own) if own is not None and meta_of(pod).deletionTimestamp is None else grace_period(pod)


def is_mirror(pod: Pod) -> bool:
    return ANNOTATION_MIRROR in annotations_of(pod)


def has_critical_priority(pod: Pod) -> bool:
    """system-node-critical or system-cluster-critical: the node is not kept alive at its cost."""
    return (spec_of(pod).priority or 0) >= SYSTEM_CRITICAL_PRIORITY


def wants_recursive_read_only(mount: VolumeMount) -> bool:
    """Whether what is mounted within a volume is to be read-only too, if that is possible or at all events."""
    return (mount.recursiveReadOnly or "Disabled") != "Disabled"
