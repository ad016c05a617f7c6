"""PUT of an object, and the path that every change of an existing object takes (PUT, PATCH, status, scale).

The change is computed from what the cache has, and written if etcd still has that; else it is computed again. So what
a client sends without a resourceVersion never conflicts, and what it sends with one conflicts exactly when it should.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from apiserver.endpoints import metadata
from apiserver.endpoints.api import Api, to_served
from apiserver.endpoints.options import WriteOptions, write_options
from apiserver.endpoints.request import Answer, Request, Target
from apiserver.endpoints.views import view_for
from apiserver.storage.cache import Entry
from apiserver.types import AdmissionRequest, Guard, Object, Resource, User
from common.api.status import BadRequest, GoSyntax, conflict, invalid, invalid_value

CONDITIONAL_ONLY = frozenset(
    {
        ("coordination.k8s.io", "leases"),
        ("policy", "poddisruptionbudgets"),
        ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "volumeattachments"),
        ("node.k8s.io", "runtimeclasses"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("apiregistration.k8s.io", "apiservices"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    }
)
"""Kinds whose PUT must name a resourceVersion (upstream: AllowUnconditionalUpdate is false)."""

Produce = Callable[[Entry, list[str]], Object]
"""What the present object becomes; warnings are put into the list."""


async def update(api: Api, request: Request, target: Target) -> Answer:
    resource = target.resource
    options = write_options(request, "UpdateOptions")
    view = view_for(request, resource)
    sent = api.decode_object(
        await request.body(), request.header(b"content-type"), resource, options.validation, request.warnings
    )
    check_identity(sent, target)
    pristine = orjson.dumps(sent)
    needs_revision = (resource.group, resource.plural) in CONDITIONAL_ONLY

    def produce(entry: Entry, warnings: list[str]) -> Object:
        obj: Object = orjson.loads(pristine)
        if needs_revision and not obj["metadata"].get("resourceVersion"):
            text = invalid_value("metadata.resourceVersion", GoSyntax("0x0"), "must be specified for an update")
            raise invalid(resource.kind, target.name, resource.group, [text])
        return obj

    stored = await change_object(api, target, request.user, options, produce, request.warnings)
    return Answer(view.object(to_served(resource, stored)))


def check_identity(obj: Object, target: Target) -> None:
    """The object must be the one that the URL names."""
    name = obj["metadata"].get("name") or ""
    if name != target.name:
        if not name:
            raise BadRequest(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({target.name})")
    metadata.check_namespace(obj, target.resource, target.namespace)


async def change_object(
    api: Api,
    target: Target,
    user: User,
    options: WriteOptions,
    produce: Produce,
    warnings: list[str],
) -> Object:
    """Writes what ``produce`` makes of the present object, after all checks. The stored object."""
    store = api.store(target.resource)
    kind = store.resource
    guards: list[Guard] = []

    async def change(entry: Entry) -> Object:
        old = entry.parse()
        noted: list[str] = []
        obj = produce(entry, noted)
        check_revision(obj, old, kind)
        guards[:] = await _prepare(api, kind, target, user, options, obj, old, noted)
        warnings[:] = [*said, *noted]
        return obj

    said = list(warnings)
    return await store.update_entry(target.namespace, target.name, change, dry_run=options.dry_run, guards=guards)


def check_revision(obj: Object, old: Object, resource: Resource) -> None:
    """Raises Conflict when the client's object is of another time, or another object."""
    metadata, before = obj["metadata"], old["metadata"]
    revision = metadata.get("resourceVersion")
    if revision and revision != before["resourceVersion"]:
        raise conflict(resource.plural, before["name"], resource.group)
    uid = metadata.get("uid")
    if uid and uid != before.get("uid"):
        raise conflict(
            resource.plural,
            before["name"],
            resource.group,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before.get('uid', '')}",
        )


async def _prepare(
    api: Api,
    kind: Resource,
    target: Target,
    user: User,
    options: WriteOptions,
    obj: Object,
    old: Object,
    warnings: list[str],
) -> list[Guard]:
    metadata.carry_over(obj, old, kind, target.subresource)
    strategy, subresource = kind.strategy, target.subresource
    strategy.prepare_for_update(obj, old, subresource)
    strategy.default(obj)
    review = AdmissionRequest(
        "UPDATE",
        kind,
        subresource,
        target.namespace,
        target.name,
        obj,
        old,
        user,
        options.for_admission(),
        options.dry_run,
        warnings,
    )
    await api.admission.admit(review)
    metadata.raise_generation(obj, old, kind)
    errors = metadata.validate_update(obj, old) + strategy.validate_update(obj, old, subresource)
    if errors:
        raise invalid(kind.kind, target.name, kind.group, errors)
    await api.admission.validate(review)
    warnings.extend(strategy.warnings(obj))
    return review.guards
