"""DELETE of one object: at once, after a grace period, or when its finalizers are done.

Upstream: apiserver/pkg/registry/rest/delete.go and generic/registry/store.go;
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination and
https://kubernetes.io/docs/concepts/architecture/garbage-collection/#cascading-deletion.
"""

from __future__ import annotations

from datetime import timedelta

from apiserver.endpoints.api import Api, to_served
from apiserver.endpoints.options import DeleteOptions, delete_options
from apiserver.endpoints.request import Answer, Request, Target, json_answer
from apiserver.endpoints.views import view_for
from apiserver.storage.cache import Entry
from apiserver.storage.store import is_gone
from apiserver.types import AdmissionRequest, Object, Resource, User
from common.api.time import now, parse_rfc3339, to_rfc3339

MAX_GRACE = 100 * 365 * 24 * 3600
"""Seconds. A pod may say more, and a time so far away cannot be written."""
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
JOB_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set "
    "propagationPolicy=Orphan to suppress this warning"
)
RETURNED = frozenset(
    {
        ("", "pods"),
        ("", "services"),
        ("", "serviceaccounts"),
        ("", "resourcequotas"),
        ("", "podtemplates"),
        ("", "persistentvolumes"),
        ("", "persistentvolumeclaims"),
        ("storage.k8s.io", "storageclasses"),
        ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "volumeattachments"),
        ("policy", "podsecuritypolicies"),
    }
)
"""Kinds whose DELETE answers with the object even when it is gone at once."""


async def delete(api: Api, request: Request, target: Target) -> Answer:
    resource = target.resource
    options = await delete_options(request)
    if resource.orphans_dependents and options.propagation_policy is None and resource.kind == "Job":
        request.warnings.append(JOB_WARNING)
    obj, gone = await delete_object(api, target, request.user, options, request.warnings)
    if gone and (resource.group, resource.plural) not in RETURNED:
        return json_answer(success(resource, obj))
    return Answer(view_for(request, resource).object(to_served(resource, obj)))


def success(resource: Resource, obj: Object) -> Object:
    """The Status of a deletion that is complete."""
    details = {"name": obj["metadata"]["name"], "kind": resource.plural, "uid": obj["metadata"].get("uid", "")}
    if resource.group:
        details["group"] = resource.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


async def delete_object(
    api: Api, target: Target, user: User, options: DeleteOptions, warnings: list[str]
) -> tuple[Object, bool]:
    """The object as it was last, and whether it is gone."""
    store = api.store(target.resource)
    kind = store.resource
    removed = False

    async def change(entry: Entry) -> Object | None:
        nonlocal removed
        obj, old = entry.parse(), entry.parse()
        store.check_preconditions(obj, options.uid, options.resource_version)
        review = AdmissionRequest(
            "DELETE", kind, "", target.namespace, target.name, None, old, user, options.raw, options.dry_run, warnings
        )
        await api.admission.validate(review)
        marked = mark_deleted(kind, obj, options)
        removed = is_gone(kind, obj)
        return obj if marked or removed else None

    obj = await store.update_entry(target.namespace, target.name, change, dry_run=options.dry_run)
    return obj, removed


def mark_deleted(resource: Resource, obj: Object, options: DeleteOptions) -> bool:
    """Sets deletionTimestamp, grace period and finalizers as the options ask. Whether anything changed."""
    metadata = obj["metadata"]
    finalizers = wanted_finalizers(metadata.get("finalizers") or [], policy_of(resource, metadata, options))
    changed = finalizers != (metadata.get("finalizers") or [])
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    if _namespace(resource):
        status = obj.setdefault("status", {})
        changed = changed or status.get("phase") != "Terminating"
        status["phase"] = "Terminating"
    grace = grace_period(resource, obj, options.grace_period_seconds)
    if "deletionTimestamp" in metadata:
        return _shorten(resource, metadata, options, grace) or changed
    metadata["deletionTimestamp"] = to_rfc3339(now() + timedelta(seconds=grace))
    metadata["deletionGracePeriodSeconds"] = grace
    if metadata.get("generation"):
        metadata["generation"] += 1
    return True


def _shorten(resource: Resource, metadata: Object, options: DeleteOptions, grace: int) -> bool:
    """A second delete may only make the grace period of the first shorter."""
    before = metadata.get("deletionGracePeriodSeconds") or 0
    if not resource.graceful or options.grace_period_seconds is None or grace >= before:
        return False
    started = parse_rfc3339(metadata["deletionTimestamp"]) - timedelta(seconds=before)
    metadata["deletionTimestamp"] = to_rfc3339(started + timedelta(seconds=grace))
    metadata["deletionGracePeriodSeconds"] = grace
    return True


def grace_period(resource: Resource, obj: Object, asked: int | None) -> int:
    """Of a pod: what was asked, or what its spec says; none for one that no node runs or that has ended."""
    if not resource.graceful:
        return 0
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    period = asked if asked is not None else spec.get("terminationGracePeriodSeconds", 30)
    if not spec.get("nodeName") or status.get("phase") in ("Failed", "Succeeded"):
        return 0
    return 1 if period < 0 else min(int(period), MAX_GRACE)


def wanted_finalizers(present: list[str], policy: str | None) -> list[str]:
    """A policy adds the finalizer that the garbage collector works for, and removes the other one."""
    if policy is None:
        return present
    kept = [f for f in present if f not in (ORPHAN, FOREGROUND)]
    if policy == "Orphan":
        kept.append(ORPHAN)
    elif policy == "Foreground":
        kept.append(FOREGROUND)
    return present if sorted(kept) == sorted(present) else kept


def policy_of(resource: Resource, metadata: Object, options: DeleteOptions) -> str | None:
    """What the client asks for; else what the object's finalizers say; else the kind's default."""
    if not resource.has_dependents:
        return None
    if options.propagation_policy is not None or not resource.orphans_dependents:
        return options.propagation_policy
    present = metadata.get("finalizers") or ()
    return None if ORPHAN in present or FOREGROUND in present else "Orphan"


def _namespace(resource: Resource) -> bool:
    return resource.kind == "Namespace" and not resource.group
