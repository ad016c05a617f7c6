"""POST of a new object."""

from __future__ import annotations

from apiserver.endpoints import metadata
from apiserver.endpoints.api import Api, to_served
from apiserver.endpoints.options import WriteOptions, write_options
from apiserver.endpoints.request import Answer, Request, Target
from apiserver.endpoints.views import view_for
from apiserver.types import AdmissionRequest, Object, Resource, User
from common.api.status import AlreadyExists, BadRequest, already_exists, invalid

NAME_ATTEMPTS = 8
"""How often another generated name is tried when one is taken (upstream: RetryGenerateName)."""


async def create(api: Api, request: Request, target: Target) -> Answer:
    resource = target.resource
    options = write_options(request, "CreateOptions")
    view = view_for(request, resource)
    body, content_type = await request.body(), request.header(b"content-type")
    obj = api.decode_object(body, content_type, resource, options.validation, request.warnings)
    if target.name:
        _check_name(obj, target.name)
    generated = bool(obj["metadata"].get("generateName")) and not obj["metadata"].get("name")
    for attempt in range(NAME_ATTEMPTS):
        try:
            stored = await create_object(api, resource, target.namespace, obj, request.user, options, request.warnings)
            break
        except AlreadyExists:
            if not generated or attempt == NAME_ATTEMPTS - 1:
                raise
            obj = api.decode_object(body, content_type, resource, options.validation, [])
    return Answer(view.object(to_served(resource, stored)), 201)


def _check_name(obj: Object, name: str) -> None:
    given = obj["metadata"].get("name") or name
    if given != name:
        raise BadRequest(f"the name of the object ({given}) does not match the name on the URL ({name})")
    obj["metadata"]["name"] = name


async def create_object(
    api: Api,
    resource: Resource,
    namespace: str,
    obj: Object,
    user: User,
    options: WriteOptions,
    warnings: list[str],
) -> Object:
    """The stored object. ``obj`` is changed in place."""
    store = api.store(resource)
    kind = store.resource
    metadata.check_namespace(obj, kind, namespace)
    metadata.fill_for_create(obj, kind)
    strategy = kind.strategy
    strategy.default(obj)
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
    strategy.prepare_for_create(obj)  # after admission: a LimitRange decides a pod's QoS class
    errors = metadata.validate(obj, kind) + strategy.validate(obj)
    if errors:
        raise invalid(kind.kind, obj["metadata"].get("name") or "", kind.group, errors)
    await api.admission.validate(review)
    warnings.extend(strategy.warnings(obj))
    if options.dry_run:
        if await store.exists(obj["metadata"].get("namespace", ""), obj["metadata"]["name"]):
            raise already_exists(kind.plural, obj["metadata"]["name"], kind.group)
        return obj
    return await store.create(obj)
