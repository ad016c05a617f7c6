"""PUT of an object, and the path that every change of an existing object takes (PUT, PATCH, status, scale).

The change is computed from what the cache has, and written if etcd still has that; else it is computed again. So what
a client sends without a resourceVersion never conflicts, and what it sends with one conflicts exactly when it should.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import orjson

from apiserver.endpoints import metadata
from apiserver.endpoints.api import Api, to_served
from apiserver.endpoints.create import create_object, may_create, settled
from apiserver.endpoints.options import WriteOptions, write_options
from apiserver.endpoints.request import Answer, Request, Target
from apiserver.endpoints.views import view_for
from apiserver.managedfields.tracking import Write, track_update
from apiserver.storage.cache import Entry
from apiserver.types import AdmissionRequest, Guard, Object, Resource, User
from common.api.status import (
    AlreadyExists,
    BadRequest,
    FieldError,
    GoSyntax,
    NotFound,
    RequestEntityTooLarge,
    conflict,
    invalid,
    invalid_value,
)
from common.api.time import now_text
from common.aside import aside

ATTEMPTS = 8
"""How often an object may appear and vanish between a look and a write."""
UNCONDITIONAL = (None, "", "0")
"""Revisions of an object whose client does not care which one it replaces."""
Produce = Callable[[Entry, list[str]], Object]
"""What the present object becomes; warnings are put into the list."""


async def update(api: Api, request: Request, target: Target) -> Answer:
    resource = target.resource
    options = write_options(request, "UpdateOptions")
    view = view_for(request, resource)
    body = await request.body()
    options = options.of_size(len(body))
    sent = await api.decode_object(
        body, request.header(b"content-type"), resource, options.validation, request.warnings
    )
    check_identity(sent, target)
    pristine = orjson.dumps(sent)

    def produce(entry: Entry, warnings: list[str]) -> Object:
        obj: Object = orjson.loads(pristine)
        if not resource.unconditional_update and obj["metadata"].get("resourceVersion") in UNCONDITIONAL:
            text = invalid_value("metadata.resourceVersion", GoSyntax("0x0"), "must be specified for an update")
            raise invalid(resource.plural, target.name, resource.group, [text])  # the plural: upstream's words
        return obj

    said = list(request.warnings)
    for _ in range(ATTEMPTS):
        try:
            stored = await change_object(api, target, request.user, options, produce, request.warnings)
            return Answer(view.object(to_served(resource, stored)))
        except NotFound:
            if target.subresource or not resource.create_on_update:
                raise
        request.warnings[:] = said
        try:
            stored = await settled(
                api, resource, request.warnings, lambda: _create(api, request, target, options, orjson.loads(pristine))
            )
            return Answer(view.object(to_served(resource, stored)), 201)
        except AlreadyExists:
            continue
    raise conflict(resource.plural, target.name, resource.group)


async def _create(api: Api, request: Request, target: Target, options: WriteOptions, obj: Object) -> Object:
    """What a PUT of an object that is not there makes (upstream: AllowCreateOnUpdate)."""
    resource = target.resource
    may_create(api, request, target)
    if uid := obj["metadata"].get("uid"):
        key = "/".join(filter(None, ("/registry", resource.plural, target.namespace, target.name)))
        text = (
            f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
        )
        raise conflict(resource.plural, target.name, resource.group, text)
    as_create = replace(options, kind="CreateOptions")
    return await create_object(api, resource, target.namespace, obj, request.user, as_create, request.warnings)


def check_identity(obj: Object, target: Target) -> None:
    """The object must be the one that the URL names."""
    name = obj["metadata"].get("name") or ""
    if name != target.name:
        if not name:
            text = f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
            raise BadRequest(text)
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({target.name})")
    metadata.check_namespace(obj, target.resource, target.namespace)


async def change_object(
    api: Api,
    target: Target,
    user: User,
    options: WriteOptions,
    produce: Produce,
    warnings: list[str],
    *,
    tracked: bool = True,
) -> Object:
    """Writes what ``produce`` makes of the present object, after all checks. The stored object.

    Who owns what is tracked, unless ``produce`` has done so.
    """
    store = api.store(target.resource)
    kind = store.resource
    guards: list[Guard] = []
    write = Write(target.resource, options.manager, now_text(), target.subresource) if tracked else None

    async def change(entry: Entry) -> Object | None:
        size = max(options.size, len(entry.data))
        old = entry.parse()
        noted: list[str] = []
        obj = await aside(size, produce, entry, noted)
        check_revision(obj, old, kind, patch=options.kind == "PatchOptions")
        guards[:] = await _prepare(api, kind, target, user, options, obj, old, noted, write, size)
        warnings[:] = [*said, *noted]
        if not fits:  # who owns what is what an object can do without
            obj["metadata"].pop("managedFields", None)
        return None if is_same_but_for_times(obj, old) else obj

    said, fits = list(warnings), True
    try:
        return await store.update_entry(target.namespace, target.name, change, dry_run=options.dry_run, guards=guards)
    except RequestEntityTooLarge:
        if write is None:
            raise
        fits = False
    return await store.update_entry(target.namespace, target.name, change, dry_run=options.dry_run, guards=guards)


def is_same_but_for_times(obj: Object, old: Object) -> bool:
    """Whether a write changes nothing but when managers wrote: then it is none.

    The tracker cannot know that defaults, admission and the strategy make of a change what was there before
    (upstream: IgnoreManagedFieldsTimestampsTransformer).
    """
    metadata, before = obj["metadata"], old["metadata"]
    entries, old_entries = metadata.get("managedFields") or (), before.get("managedFields") or ()
    if len(entries) != len(old_entries):
        return False
    ignored = ("managedFields", "resourceVersion")
    if {k: v for k, v in metadata.items() if k not in ignored} != {k: v for k, v in before.items() if k not in ignored}:
        return False
    if {k: v for k, v in obj.items() if k != "metadata"} != {k: v for k, v in old.items() if k != "metadata"}:
        return False
    return all({**e, "time": ""} == {**o, "time": ""} for e, o in zip(entries, old_entries, strict=True))


def check_revision(obj: Object, old: Object, resource: Resource, *, patch: bool = False) -> None:
    """Raises Conflict when the client's object is of another time, or another object.

    A patch that sets another uid tries to change it, which is Invalid.
    """
    metadata, before = obj["metadata"], old["metadata"]
    revision = metadata.get("resourceVersion")
    if revision not in UNCONDITIONAL and revision != before["resourceVersion"]:
        raise conflict(resource.plural, before["name"], resource.group)
    uid = metadata.get("uid")
    if uid and uid != before.get("uid"):
        if patch:
            error = invalid_value("metadata.uid", uid, "field is immutable")
            raise invalid(resource.kind, before["name"], resource.group, [error, error])
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
    write: Write | None,
    size: int,
) -> list[Guard]:
    strategy, subresource = (target.resource if target.resource.stored_as else kind).strategy, target.subresource

    def complete() -> list[FieldError]:
        metadata.carry_over(obj, old, kind, subresource)
        strategy.prepare_for_update(obj, old, subresource)
        strategy.default(obj)
        return track_update(write, old, obj) if write is not None else []

    def check() -> list[FieldError]:
        metadata.raise_generation(obj, old, kind)
        return [*metadata.validate_update(obj, old), *strategy.validate_update(obj, old, subresource)]

    wrong = await aside(size, complete)
    if wrong:
        raise invalid(kind.kind, target.name, kind.group, wrong)
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
    errors = await aside(size, check)
    if errors:
        raise invalid(kind.kind, target.name, kind.group, errors)
    await api.admission.validate(review)
    warnings.extend(strategy.update_warnings(obj, old, subresource))
    return review.guards
