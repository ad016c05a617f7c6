"""POST of a new object."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from apiserver.authz.messages import forbidden_error
from apiserver.endpoints import metadata
from apiserver.endpoints.api import Api, to_served
from apiserver.endpoints.options import WriteOptions, write_options
from apiserver.endpoints.request import Answer, Request, Target
from apiserver.endpoints.views import view_for
from apiserver.managedfields.tracking import Write, track_create
from apiserver.storage.store import Stale
from apiserver.types import AdmissionRequest, Attributes, Object, Resource, Strategy, User
from common.api.status import (
    AlreadyExists,
    BadRequest,
    FieldError,
    RequestEntityTooLarge,
    StatusError,
    already_exists,
    invalid,
)
from common.aside import aside

NAME_ATTEMPTS = 8
"""How often another generated name is tried when one is taken (upstream: RetryGenerateName)."""
STALE_ATTEMPTS = 32
"""How often a create is looked at again because another server changed what it rests on."""


async def create(api: Api, request: Request, target: Target) -> Answer:
    resource = target.resource
    options = write_options(request, "CreateOptions")
    view = view_for(request, resource)
    body, content_type = await request.body(), request.header(b"content-type")
    options = options.of_size(len(body))
    obj = await api.decode_object(body, content_type, resource, options.validation, request.warnings)
    if target.name:
        _check_name(obj, target.name)
    _check_new(obj)
    generated = bool(obj["metadata"].get("generateName")) and not obj["metadata"].get("name")
    pending = [obj]

    async def attempt() -> Object:
        new = pending.pop() if pending else None
        if new is None:
            new = await api.decode_object(body, content_type, resource, options.validation, [])
        if target.name:
            _check_name(new, target.name)
        return await create_object(api, resource, target.namespace, new, request.user, options, request.warnings)

    for left in reversed(range(NAME_ATTEMPTS)):
        try:
            stored = await settled(api, resource, request.warnings, attempt)
            break
        except AlreadyExists:
            if not generated or not left:
                raise
    return Answer(view.object(to_served(resource, stored)), 201)


async def settled(
    api: Api, resource: Resource, warnings: list[str], attempt: Callable[[], Awaitable[Object]]
) -> Object:
    """A create, begun again while what it rests on is being changed by other servers. ``attempt`` begins anew."""
    stale, looked = 0, False
    said = list(warnings)
    while True:
        seen = api.stores.feed.revision
        try:
            return await attempt()
        except AlreadyExists:
            raise
        except Stale:
            stale += 1
            if stale == STALE_ATTEMPTS:
                raise
        except StatusError as error:
            # What was refused for the caches' sake is looked at once more if they were not up to date: the client
            # may have been told of a change by another server.
            if looked or error.code >= 500 or not await api.store(resource).fresh() or seen == api.stores.feed.revision:
                raise
            looked = True
        warnings[:] = said


def _check_name(obj: Object, name: str) -> None:
    given = obj["metadata"].get("name") or name
    if given != name:
        raise BadRequest(f"the name of the object ({given}) does not match the name on the URL ({name})")
    obj["metadata"]["name"] = name


def _check_new(obj: Object) -> None:
    """An object that was read somewhere is not new. Upstream finds that out in its storage, and answers with 500."""
    revision = obj["metadata"].get("resourceVersion")
    if revision and revision.isascii() and revision.isdigit() and revision.strip("0"):
        raise StatusError("resourceVersion should not be set on objects to be created", code=500, reason="")


async def create_object(
    api: Api,
    resource: Resource,
    namespace: str,
    obj: Object,
    user: User,
    options: WriteOptions,
    warnings: list[str],
    *,
    tracked: bool = True,
) -> Object:
    """The stored object. ``obj`` is changed in place. ``tracked`` unless it says already who owns what in it."""
    store = api.store(resource)
    kind = store.resource
    metadata.check_namespace(obj, kind, namespace)
    metadata.fill_for_create(obj, kind)
    strategy = (resource if resource.stored_as else kind).strategy
    await aside(options.size, strategy.default, obj)
    if tracked:
        # Before admission: what that puts in is owned by nobody.
        write = Write(resource, options.manager, obj["metadata"]["creationTimestamp"])
        wrong = await aside(options.size, track_create, write, obj)
        if wrong:
            raise invalid(kind.kind, obj["metadata"].get("name") or "", kind.group, wrong)
    review = AdmissionRequest(
        "CREATE",
        kind,
        "",
        obj["metadata"].get("namespace", ""),
        obj["metadata"].get("name", ""),
        obj,
        None,
        user,
        options.for_admission(),
        options.dry_run,
        warnings,
    )
    await api.admission.admit(review)
    # After admission: a LimitRange decides a pod's QoS class.
    errors = await aside(options.size, _checked, kind, strategy, obj)
    if errors:
        raise invalid(kind.kind, obj["metadata"].get("name") or "", kind.group, errors)
    await api.admission.validate(review)
    warnings.extend(strategy.warnings(obj))
    if options.dry_run:
        if await store.exists(obj["metadata"].get("namespace", ""), obj["metadata"]["name"]):
            raise already_exists(kind.plural, obj["metadata"]["name"], kind.group)
        return obj
    try:
        return await store.create(obj, review.guards)
    except RequestEntityTooLarge:
        # Who owns what may be what makes it too large, and is what an object can do without.
        if not tracked or obj["metadata"].pop("managedFields", None) is None:
            raise
    except AlreadyExists as error:
        there = store.cached(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        if there is not None and "deletionTimestamp" in there["metadata"]:  # it helps to wait
            raise AlreadyExists(f"object is being deleted: {error.message}", error.details) from None
        raise
    return await store.create(obj, review.guards)


def _checked(kind: Resource, strategy: Strategy, obj: Object) -> list[FieldError]:
    """Completes an object; what is wrong with it."""
    strategy.prepare_for_create(obj)
    return [*metadata.validate(obj, kind), *strategy.validate(obj)]


def may_create(api: Api, request: Request, target: Target) -> None:
    """Who may patch or update may not always create: a request that does so is asked for both. Raises Forbidden."""
    if api.authorizer is None:
        return
    resource = target.resource
    attributes = Attributes(
        request.user,
        "create",
        resource.group,
        resource.version,
        resource.plural,
        "",
        target.namespace,
        target.name,
        request.path,
    )
    allowed, reason = api.authorizer.authorize(attributes)
    if not allowed:
        raise forbidden_error(attributes, reason)
