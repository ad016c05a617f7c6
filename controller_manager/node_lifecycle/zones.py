"""How fast pods are evicted when nodes fall silent, zone by zone. Pure.

https://kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction

When most nodes of a zone are silent at once it is more likely that the network, or this very process, has failed than
the nodes. Then evictions slow down or stop, and when all zones are dark nothing is evicted at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from lightkube.resources.core_v1 import Node

from common.api.meta import labels_of


class ZoneState(Enum):
    """Upstream's names."""

    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


@dataclass(frozen=True, slots=True)
class Limits:
    """The flags --node-eviction-rate, --secondary-node-eviction-rate, --unhealthy-zone-threshold and
    --large-cluster-size-threshold."""

    rate: float = 0.1
    secondary_rate: float = 0.01
    unhealthy: float = 0.55
    large_zone: int = 50


def zone_of(node: Node) -> str:
    """Region and zone of a node."""
    labels = labels_of(node)
    return f"{labels.get('topology.kubernetes.io/region', '')}:{labels.get('topology.kubernetes.io/zone', '')}"


def state(ready: Iterable[bool], limits: Limits) -> ZoneState:
    """The state of a zone, from its nodes' being ready."""
    flags = list(ready)
    silent = flags.count(False)
    if silent and silent == len(flags):
        return ZoneState.FULL
    if silent > 2 and silent / len(flags) >= limits.unhealthy:
        return ZoneState.PARTIAL
    return ZoneState.NORMAL


def rates(zones: Mapping[str, list[bool]], limits: Limits) -> dict[str, float]:
    """Evictions a second (nodes tainted NoExecute) of each zone."""
    states = {zone: state(ready, limits) for zone, ready in zones.items()}
    if states and all(each is ZoneState.FULL for each in states.values()):
        return dict.fromkeys(zones, 0.0)
    return {zone: _rate(each, len(zones[zone]), limits) for zone, each in states.items()}


def _rate(state: ZoneState, size: int, limits: Limits) -> float:
    if state is not ZoneState.PARTIAL:
        return limits.rate
    return limits.secondary_rate if size > limits.large_zone else 0.0


@dataclass(slots=True)
class Bucket:
    """A token bucket of one token: the first eviction is at once, the next after 1/rate seconds."""

    tokens: float = 1.0
    filled_at: float = 0.0

    def take(self, rate: float, time: float) -> bool:
        """Whether one more may go now."""
        self.tokens = min(1.0, self.tokens + (time - self.filled_at) * rate)
        self.filled_at = time
        if rate <= 0 or self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
