"""pods/binding (and the old POST to bindings): the scheduler gives a pod its node.

One compare-and-swap decides between two schedulers, or a scheduler and a delete.
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/binding-v1/
"""

from __future__ import annotations

from apiserver.endpoints.request import Answer, Request, Send, json_answer
from apiserver.subresources.context import Context
from apiserver.subresources.http import SUCCESS, admit, check_name, is_dry_run, read_object
from apiserver.types import Connection, Object
from common.api.status import BadRequest, conflict, invalid, not_supported, required
from common.api.time import now, to_rfc3339


def bind(pod: Object, binding: Object) -> Object:
    """The pod with its node. Raises Conflict when it cannot have one (any more)."""
    metadata, spec = pod["metadata"], pod["spec"]
    name = metadata["name"]
    if "deletionTimestamp" in metadata:
        raise _conflict(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise _conflict(name, f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise _conflict(name, f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = binding["target"]["name"]
    given = binding.get("metadata") or {}
    if given.get("annotations"):
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **given["annotations"]}
    set_condition(pod, {"type": "PodScheduled", "status": "True"})
    return pod


def set_condition(pod: Object, new: Object) -> None:
    """Puts a condition in its place; its transition time is the present if the status is another than before."""
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    old = next((c for c in conditions if c.get("type") == new["type"]), None)
    same = old is not None and old.get("status") == new["status"]
    time = old.get("lastTransitionTime") if same and old else to_rfc3339(now())
    complete = {**new, "lastProbeTime": None, "lastTransitionTime": time}
    if old is None:
        conditions.append(complete)
    else:
        conditions[conditions.index(old)] = complete


def _conflict(name: str, message: str) -> Exception:
    return conflict("pods/binding", name, "", message)


def check(binding: Object) -> None:
    target = binding.get("target") or {}
    errors = []
    if target.get("kind") not in (None, "", "Node"):
        errors.append(not_supported("target.kind", target["kind"], ["Node", "<empty>"]))
    if not target.get("name"):
        errors.append(required("target.name"))
    if errors:
        raise invalid("Binding", (binding.get("metadata") or {}).get("name", ""), "", errors)


async def handle(context: Context, connection: Connection, request: Request, send: Send) -> Answer:
    binding = await read_object(request, "Binding", "v1")
    name = connection.name or (binding.get("metadata") or {}).get("name", "")
    if not name:
        raise BadRequest("name is required")
    check_name(binding, "Binding", name, connection.namespace)
    check(binding)
    await admit(context, connection, request, binding)
    given = binding.get("metadata") or {}

    def change(pod: Object) -> Object | None:
        if given.get("uid") not in (None, "", pod["metadata"].get("uid")):
            text = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: "
            raise _conflict(name, text + str(pod["metadata"].get("uid", "")))
        bound = bind(pod, binding)
        return None if is_dry_run(request) else bound

    revision = given.get("resourceVersion") or None
    await context.store("", "pods").update(connection.namespace, name, change, resource_version=revision)
    return json_answer(SUCCESS, 201)
