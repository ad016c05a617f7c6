"""What the handlers share: reading an object of one kind, and its admission."""

from __future__ import annotations

from apiserver.endpoints.options import write_options
from apiserver.endpoints.request import Request
from apiserver.schema import decode, sent_kind
from apiserver.subresources.context import Context
from apiserver.types import AdmissionRequest, Connection, Object
from common.api.status import BadRequest
from common.aside import aside


async def read_object(request: Request, kind: str, api_version: str, *, any_version: bool = False) -> Object:
    """The request's object, of this kind and right by the schema. An empty body is an empty object."""
    body, content_type = await request.body(), request.header(b"content-type")
    if not body.strip():
        return {"apiVersion": api_version, "kind": kind, "metadata": {}}
    validation = write_options(request, "CreateOptions").validation
    row = sent_kind(kind, api_version)
    decoded = await aside(len(body), decode, body, content_type, row, validation, any_version=any_version)
    request.warnings.extend(decoded.warnings)
    return {"metadata": {}, **decoded.object}


async def admit(context: Context, connection: Connection, request: Request, obj: Object) -> None:
    """Admission of what is sent to a subresource that does something and stores nothing of its own."""
    options = write_options(request, "CreateOptions")
    review = AdmissionRequest(
        "CREATE",
        connection.resource,
        connection.subresource,
        connection.namespace,
        connection.name,
        obj,
        None,
        connection.user,
        options.for_admission(),
        options.dry_run,
        request.warnings,
    )
    await context.api.admission.admit(review)
    await context.api.admission.validate(review)


def is_dry_run(request: Request) -> bool:
    return "All" in request.query.get("dryRun", [])


def check_name(obj: Object, kind: str, name: str, namespace: str) -> None:
    """The body may leave its name and namespace out; else they must be those of the URL."""
    metadata = obj.get("metadata") or {}
    if metadata.get("namespace") and metadata["namespace"] != namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    if metadata.get("name") and metadata["name"] != name:
        raise BadRequest(f"name in URL does not match name in {kind} object")


SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
"""What is answered when something was done that has no object to show."""
