"""Which ReplicaSet is a Deployment's current revision, how a new one looks, and which old ones are kept.

https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-back-a-deployment
`kubectl rollout history` and `undo` read the annotations written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec
from lightkube.models.apps_v1 import ReplicaSetSpec
from lightkube.models.core_v1 import PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from common.api.meta import annotations_of, clone, is_deleting, owner_ref
from controller_manager.deployment.rolling import Goal
from controller_manager.objects import created_at, name_of, namespace_of, need, uid_of

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
HASH_LABEL = "pod-template-hash"
_NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        "deprecated.deployment.rollback.to",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
    }
)
_HISTORY_LENGTH = 2000
_SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no digits that look like letters: no bad words in names (upstream: rand.SafeEncodeString)."""


def template_hash(template: PodTemplateSpec, collisions: int | None) -> str:
    """A short stable name of a pod template: 32-bit FNV-1a over its canonical JSON, in a safe alphabet."""
    data = msgspec.json.encode(msgspec.to_builtins(template), order="sorted")
    if collisions is not None:
        data += collisions.to_bytes(8, "little", signed=True)
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(_SAFE_ALPHABET[ord(digit) % len(_SAFE_ALPHABET)] for digit in str(value))


def same_template(a: PodTemplateSpec, b: PodTemplateSpec) -> bool:
    """Whether two templates are equal but for the hash label."""
    return _without_hash(a) == _without_hash(b)


def _without_hash(template: PodTemplateSpec) -> tuple[object, ...]:
    meta = template.metadata or ObjectMeta()
    labels = {key: value for key, value in (meta.labels or {}).items() if key != HASH_LABEL}
    return labels, meta.annotations or {}, meta.finalizers or [], template.spec


def find_new(deployment: Deployment, sets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """The oldest ReplicaSet with the Deployment's template."""
    template = need(deployment.spec).template
    same = (each for each in sets if same_template(need(need(each.spec).template), template))
    return min(same, key=_age, default=None)


def find_old(new: ReplicaSet | None, sets: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """All but the new one."""
    return [each for each in sets if new is None or uid_of(each) != uid_of(new)]


def _age(each: ReplicaSet) -> tuple[datetime, str]:
    return created_at(each), name_of(each)


def revision_of(obj: Deployment | ReplicaSet) -> int:
    """The annotated revision, 0 for none."""
    text = annotations_of(obj).get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def next_revision(old: Sequence[ReplicaSet]) -> int:
    """The revision of what is new now."""
    return max(map(revision_of, old), default=0) + 1


def replica_annotations(goal: Goal) -> dict[str, str]:
    """What a ReplicaSet was last scaled for."""
    return {DESIRED_REPLICAS: str(goal.replicas), MAX_REPLICAS: str(goal.most)}


def new_annotations(deployment: Deployment, replica_set: ReplicaSet | None, revision: int) -> dict[str, str]:
    """The annotations of the new ReplicaSet: the Deployment's own (with the change cause), its revision and its former
    revisions, when an undo brought it back."""
    annotations = dict(annotations_of(replica_set)) if replica_set else {}
    annotations |= {key: value for key, value in annotations_of(deployment).items() if key not in _NOT_COPIED}
    former = annotations.get(REVISION)
    former_number = int(former) if former and former.isdecimal() else 0
    if former_number < revision:
        annotations[REVISION] = str(revision)
        if former:
            annotations[REVISION_HISTORY] = _history(annotations.get(REVISION_HISTORY, ""), former)
    return annotations


def _history(history: str, former: str) -> str:
    """Former revisions, the oldest dropped when there are too many to keep."""
    revisions = [*filter(None, history.split(",")), former]
    while len(",".join(revisions)) > _HISTORY_LENGTH:
        del revisions[0]
    return ",".join(revisions)


def new_replica_set(deployment: Deployment, revision: int, replicas: int, goal: Goal) -> ReplicaSet:
    """The ReplicaSet of the Deployment's present template."""
    spec = need(deployment.spec)
    template: PodTemplateSpec = clone(spec.template)
    hashed = template_hash(template, deployment.status.collisionCount if deployment.status else None)
    if template.metadata is None:
        template.metadata = ObjectMeta()
    labels = {**(template.metadata.labels or {}), HASH_LABEL: hashed}
    template.metadata.labels = labels
    selector: LabelSelector = clone(spec.selector)
    selector.matchLabels = {**(selector.matchLabels or {}), HASH_LABEL: hashed}
    return ReplicaSet(
        metadata=ObjectMeta(
            name=f"{name_of(deployment)}-{hashed}",
            namespace=namespace_of(deployment),
            labels=dict(labels),
            annotations={**new_annotations(deployment, None, revision), **replica_annotations(goal)},
            ownerReferences=[owner_ref(deployment)],
        ),
        spec=ReplicaSetSpec(
            replicas=replicas, minReadySeconds=spec.minReadySeconds, selector=selector, template=template
        ),
    )


def outdated(deployment: Deployment, old: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """Old ReplicaSets beyond revisionHistoryLimit, lowest revision first; those with pods stay."""
    limit = need(deployment.spec).revisionHistoryLimit
    if limit is None or limit == 2**31 - 1:
        return []
    candidates = sorted(
        (each for each in old if not is_deleting(each)), key=lambda each: (revision_of(each), _age(each))
    )
    return [each for each in candidates[: max(0, len(candidates) - limit)] if _is_empty(each)]


def _is_empty(each: ReplicaSet) -> bool:
    status, meta = each.status, need(each.metadata)
    seen = (status.observedGeneration if status else None) or 0
    return not need(each.spec).replicas and not (status and status.replicas) and (meta.generation or 0) <= seen
