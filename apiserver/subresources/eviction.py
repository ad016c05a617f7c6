"""pods/eviction: a delete that asks the pod's disruption budget first.

https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/ and, for pods that are not ready, KEP-3017.
"""

from __future__ import annotations

from dataclasses import replace

from apiserver.endpoints.delete import delete_object
from apiserver.endpoints.options import DeleteOptions, parse_delete_options
from apiserver.endpoints.request import Answer, Request, Send, Target, json_answer
from apiserver.subresources.binding import set_condition
from apiserver.subresources.context import Context
from apiserver.subresources.http import SUCCESS, admit, check_name, read_object
from apiserver.types import Connection, Object
from common.api.selectors import label_selector_from
from common.api.status import Conflict, Forbidden, InternalError, StatusError, TooManyRequests, forbidden
from common.api.time import now, to_rfc3339

GROUP = "policy"
REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
SEVERAL = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
MAX_DISRUPTED = 2000
RETRY_SECONDS = 10
ATTEMPTS = 8
"""How often an eviction is begun again because the pod has changed."""


def needs_no_budget(pod: Object) -> bool:
    """A pod that has ended, is ending or never ran counts for no budget."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed", "Pending") or (
        "deletionTimestamp" in pod["metadata"]
    )


def may_yet_count(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") == "Pending" and "deletionTimestamp" not in pod["metadata"]


def is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def covers(budget: Object, pod: Object) -> bool:
    """A missing selector covers nothing, an empty one everything (policy/v1)."""
    selector = (budget.get("spec") or {}).get("selector")
    return selector is not None and label_selector_from(selector).matches(pod["metadata"].get("labels") or {})


def spared(budget: Object, pod: Object) -> bool:
    """Whether a pod that is not ready may go without being counted."""
    if is_ready(pod):
        return False
    status = budget.get("status") or {}
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
    return bool(desired > 0 and healthy >= desired)


def take_one(budget: Object, pod_name: str) -> Object:
    """The budget with one disruption less. Raises TooManyRequests when it has none."""
    metadata, status = budget["metadata"], budget.setdefault("status", {})
    name = metadata["name"]
    if status.get("observedGeneration", 0) < metadata.get("generation", 0):
        raise _refused(f"The disruption budget {name} is still being processed by the server.", RETRY_SECONDS)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise _forbidden(name, "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or {}) > MAX_DISRUPTED:
        raise _forbidden(name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller")
    if allowed == 0:
        desired, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        raise _refused(f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
    status["disruptionsAllowed"] = allowed - 1
    status.setdefault("disruptedPods", {})[pod_name] = to_rfc3339(now())
    return budget


def _refused(message: str, retry_seconds: int = 0) -> TooManyRequests:
    details: dict[str, object] = {"causes": [{"reason": "DisruptionBudget", "message": message}]}
    if retry_seconds:
        details["retryAfterSeconds"] = retry_seconds
    return TooManyRequests(REFUSED, details)


def _forbidden(name: str, message: str) -> Forbidden:
    return forbidden("poddisruptionbudgets", name, GROUP, message)


async def handle(context: Context, connection: Connection, request: Request, send: Send) -> Answer:
    eviction = await read_object(request, "Eviction", "policy/v1", any_version=True)
    check_name(eviction, "Eviction", connection.name, connection.namespace)
    raw = dict(eviction.get("deleteOptions") or {})
    if request.query.get("dryRun"):
        raw["dryRun"] = request.query["dryRun"]
    options = parse_delete_options(raw)
    await admit(context, connection, request, eviction)
    for attempt in range(ATTEMPTS):
        try:
            await _evict(context, connection, request, options)
            break
        except Conflict:
            if options.resource_version is not None or attempt + 1 == ATTEMPTS:
                raise
    return json_answer(SUCCESS, 201)


async def _evict(context: Context, connection: Connection, request: Request, options: DeleteOptions) -> None:
    """Raises Conflict when the pod is no longer what it was when its budget was (or was not) asked."""
    pod = await context.store("", "pods").get(connection.namespace, connection.name)
    context.api.store(connection.resource).check_preconditions(pod, options.uid, options.resource_version)
    if needs_no_budget(pod):
        # What never ran may be running by now, and then its budget has a say.
        asked = may_yet_count(pod)
    else:
        asked = await _ask_budget(context, pod, options)
    if asked and options.resource_version is None:
        options = replace(options, resource_version=pod["metadata"]["resourceVersion"])
    if not needs_no_budget(pod) and not options.dry_run:
        marked = await _mark(context, pod, options)
        if options.resource_version is not None:  # it is another now, and by our own hand
            options = replace(options, resource_version=marked["metadata"]["resourceVersion"])
    target = Target(connection.resource, connection.namespace, connection.name)
    await delete_object(context.api, target, connection.user, options, request.warnings)


async def _ask_budget(context: Context, pod: Object, options: DeleteOptions) -> bool:
    """Takes one disruption from the pod's budget, if it has one. True when the pod was spared as not ready: then it
    must still be so when it goes."""
    metadata = pod["metadata"]
    store = context.store(GROUP, "poddisruptionbudgets")
    await store.fresh()  # a budget that another server made counts at once
    budgets = [b for b in store.cached_list(metadata["namespace"]) if covers(b, pod)]
    if not budgets:
        return False
    if len(budgets) > 1:
        raise InternalError(SEVERAL)
    budget = budgets[0]
    if spared(budget, pod):
        return True

    def change(current: Object) -> Object | None:
        taken = take_one(current, metadata["name"])
        return None if options.dry_run else taken

    try:
        await store.update(metadata["namespace"], budget["metadata"]["name"], change)
    except StatusError as error:
        if error.code != 404:  # the budget is gone since: nothing protects the pod any more
            raise
    return False


async def _mark(context: Context, pod: Object, options: DeleteOptions) -> Object:
    """Says on the pod why it goes (KEP-3329)."""

    def change(current: Object) -> Object:
        set_condition(
            current,
            {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting",
            },
        )
        return current

    metadata = pod["metadata"]
    return await context.store("", "pods").update(
        metadata["namespace"], metadata["name"], change, resource_version=options.resource_version
    )
