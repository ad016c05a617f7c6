"""Which container of a pod is meant, and which node has it: shared by log, exec, attach and port-forward."""

from __future__ import annotations

from apiserver.subresources.context import Context
from apiserver.types import Connection, Object
from common.api.status import BadRequest, InternalError, NotFound, StatusError

LISTS = ("containers", "initContainers", "ephemeralContainers")


def choose_container(pod: Object, wanted: str) -> str:
    """The container asked for, or the only one. Raises BadRequest in upstream's words."""
    spec, name = pod.get("spec") or {}, pod["metadata"]["name"]
    names = {key: [c["name"] for c in spec.get(key) or ()] for key in LISTS}
    if wanted:
        if not any(wanted in found for found in names.values()):
            raise BadRequest(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(names["containers"]) == 1:
        only: str = names["containers"][0]
        return only
    text = f"a container name must be specified for pod {name}"
    if names["containers"]:
        text += f", choose one of: [{' '.join(names['containers'])}]"
    if names["initContainers"]:
        text += f" or one of the init containers: [{' '.join(names['initContainers'])}]"
    if names["ephemeralContainers"]:
        text += f" or one of the ephemeral containers: [{' '.join(names['ephemeralContainers'])}]"
    raise BadRequest(text)


async def pod_of(context: Context, connection: Connection) -> Object:
    return await context.store("", "pods").get(connection.namespace, connection.name)


def node_of(pod: Object) -> str:
    """Raises BadRequest for a pod that no node has yet."""
    node = (pod.get("spec") or {}).get("nodeName")
    if not node:
        raise BadRequest(f"pod {pod['metadata']['name']} does not have a host assigned")
    return str(node)


def server_error(status: int, text: str, resource: str, name: str) -> Exception:
    """A kubelet's refusal as the API server's (upstream: GenericHttpResponseChecker)."""
    if status == 500:
        return InternalError(f"Internal error occurred: {text}")
    if status == 400:
        return BadRequest(text)
    cause = {"reason": "UnexpectedServerResponse", "message": text}
    details = {"name": name, "kind": resource, "causes": [cause]}
    if status == 404:
        return NotFound(f"the server could not find the requested resource ( {resource} {name})", details)
    message = f"the server responded with the status code {status} but did not return more information"
    return StatusError(message, details, code=status, reason=StatusError.from_status({}, status).reason)
