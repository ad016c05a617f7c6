"""Which containers that have ended are kept for their logs and last words, and which are removed: pure functions.

The newest of a pod that goes on is never removed: it tells that the container has run.
https://kubernetes.io/docs/concepts/architecture/garbage-collection/#container-image-garbage-collection
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from kubelet.cri import RuntimeContainer
from kubelet.pods.observed import LABEL_SANDBOX_ID
from kubelet.types import KubeletConfig

Unit = tuple[str, str]
"""A pod's uid and the name of a container in it."""


def surplus(containers: Collection[RuntimeContainer], config: KubeletConfig, at: datetime) -> list[RuntimeContainer]:
    """Of each container more than ``--maximum-dead-containers-per-container``; and sandboxes that were replaced and in
    which nothing is left."""
    keep = config.max_dead_containers_per_container
    old = [] if keep < 0 else [c for unit in _dead(containers, config, at).values() for c in unit[keep:]]
    newest = _newest(each for each in containers if not each.is_sandbox)
    gone = [each for each in old if each.id not in newest]
    return [*gone, *_empty_sandboxes(containers, {each.id for each in gone})]


def over_the_limit(
    containers: Collection[RuntimeContainer], config: KubeletConfig, finished: Collection[str], at: datetime
) -> list[RuntimeContainer]:
    """What is more than ``--maximum-dead-containers`` on the whole node: first each container has as many left, then
    the oldest go. ``finished`` are the uids of pods that will not go on."""
    limit, units = config.max_dead_containers, _dead(containers, config, at)
    count = sum(len(unit) for unit in units.values())
    if limit < 0 or count <= limit:
        return []
    share = max(1, limit // len(units))
    gone = [each for unit in units.values() for each in unit[share:]]
    left = sorted((c for unit in units.values() for c in unit[:share]), key=lambda c: (c.attempt, c.created))
    gone += left[: max(0, len(left) - limit)]
    newest = _newest(each for each in containers if not each.is_sandbox and each.pod_uid not in finished)
    return [each for each in gone if each.id not in newest]


def _dead(
    containers: Iterable[RuntimeContainer], config: KubeletConfig, at: datetime
) -> dict[Unit, list[RuntimeContainer]]:
    """Newest first; without those that are younger than ``--minimum-container-ttl-duration``."""
    units: dict[Unit, list[RuntimeContainer]] = {}
    age = timedelta(seconds=config.minimum_container_ttl_seconds)
    for each in sorted(containers, key=lambda c: (c.attempt, c.created), reverse=True):
        if not each.is_sandbox and not each.running and at - each.created >= age:
            units.setdefault((each.pod_uid, each.name), []).append(each)
    return units


def _newest(containers: Iterable[RuntimeContainer]) -> set[str]:
    """Ids of the newest of each unit."""
    found: dict[Unit, RuntimeContainer] = {}
    for each in sorted(containers, key=lambda c: (c.attempt, c.created)):
        found[each.pod_uid, each.name] = each
    return {each.id for each in found.values()}


def _empty_sandboxes(containers: Iterable[RuntimeContainer], gone: Collection[str]) -> list[RuntimeContainer]:
    present = list(containers)
    used = {each.labels.get(LABEL_SANDBOX_ID) for each in present if not each.is_sandbox and each.id not in gone}
    sandboxes = [each for each in present if each.is_sandbox]
    newest = _newest(sandboxes)
    return [each for each in sandboxes if not each.running and each.id not in newest and each.id not in used]
