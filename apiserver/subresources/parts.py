"""Subresources that are one part of an object, read and written by themselves: the approval of a certificate
request, the finalizers of a namespace.

A write takes that part from what the client sends and leaves the rest of the object as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from apiserver.admission.certificate_signing import may_use_signer
from apiserver.endpoints.apply import APPLY_PATCH, read_config
from apiserver.endpoints.options import write_options
from apiserver.endpoints.patch import patch_type
from apiserver.endpoints.request import Answer, Request, Send, json_answer
from apiserver.endpoints.update import check_revision
from apiserver.managedfields.apply import Apply, apply
from apiserver.managedfields.tracking import Write, track_update
from apiserver.resources.core_validation import check_namespace_finalizers
from apiserver.resources.signing_requests import stamp_conditions
from apiserver.resources.validation.certificates import check_signing_request_approval
from apiserver.subresources.context import Context, Handler
from apiserver.subresources.http import is_dry_run, read_object
from apiserver.types import Connection, Object
from common.api.status import BadRequest, FieldError, forbidden, invalid
from common.api.time import now, to_rfc3339

CSR_GROUP = "certificates.k8s.io"


@dataclass(frozen=True)
class Part:
    """``take(old, new)`` changes ``old`` in place; ``check`` says what is wrong with that."""

    kind: str
    api_version: str
    take: Callable[[Object, Object], None]
    check: Callable[[Object, Object], list[FieldError]]
    authorize: Callable[[Context, Connection, Object], None] = lambda context, connection, old: None

    def handler(self) -> Handler:
        async def handle(context: Context, connection: Connection, request: Request, send: Send) -> Answer:
            store = context.store(connection.resource.group, connection.resource.plural)
            namespace = connection.namespace if connection.resource.namespaced else ""
            if request.method == "GET":
                return json_answer(await store.get(namespace, connection.name))
            produce, write = await self._producer(context, connection, request)
            result: Object = {}

            def change(current: Object) -> Object | None:
                nonlocal result
                self.authorize(context, connection, current)
                new = produce(current)
                before = orjson.loads(orjson.dumps(current))
                result = self._changed(connection, current, new, patch=request.method == "PATCH")
                if write is None:  # an apply has said who owns what
                    result["metadata"].pop("managedFields", None)
                    if entries := new["metadata"].get("managedFields"):
                        result["metadata"]["managedFields"] = entries
                else:
                    track_update(write, before, result)
                return None if is_dry_run(request) else result

            stored = await store.update(namespace, connection.name, change)
            return json_answer(result if is_dry_run(request) else stored)

        return handle

    async def _producer(
        self, context: Context, connection: Connection, request: Request
    ) -> tuple[Callable[[Object], Object], Write | None]:
        """What makes the client's object out of the present one, and how to track that."""
        resource, time = connection.resource, to_rfc3339(now())
        if request.method != "PATCH":
            options = write_options(request, "UpdateOptions")
            sent = await read_object(request, self.kind, self.api_version)
            return lambda current: sent, Write(resource, options.manager, time, connection.subresource)
        content_type = patch_type(request.header(b"content-type"))
        is_apply = content_type == APPLY_PATCH
        options = write_options(request, "PatchOptions", apply=is_apply)
        write = Write(resource, options.manager, time, connection.subresource)
        body = await request.body()
        config = read_config(body, options, request.warnings) if is_apply else {}
        said = list(request.warnings)

        def patched(current: Object) -> Object:
            if is_apply:
                obj = apply(Apply(write, config, options.force), current)
            else:
                obj = context.api.apply_patch(content_type, current, body, resource)
            decoded = context.api.conform(obj, resource, options.validation, body.decode(errors="replace"))
            request.warnings[:] = [*said, *decoded.warnings]
            new: Object = decoded.object
            return new

        return patched, None if is_apply else write

    def _changed(self, connection: Connection, current: Object, new: Object, *, patch: bool) -> Object:
        resource = connection.resource
        named = (new.get("metadata") or {}).get("name")
        if named and named != connection.name:
            text = f"the name of the object ({named}) does not match the name on the URL ({connection.name})"
            raise BadRequest(text)
        check_revision({"metadata": {}, **new}, current, resource, patch=patch)
        errors = self.check(current, new)
        if errors:
            raise invalid(resource.kind, connection.name, resource.group, errors)
        self.take(current, new)
        resource.strategy.default(current)
        return current


# ---- certificatesigningrequests/approval --------------------------------------------------------------------------


def _may_approve(context: Context, connection: Connection, old: Object) -> None:
    signer = (old.get("spec") or {}).get("signerName", "")
    if not may_use_signer(context.authorizer, connection.user, "approve", signer):
        text = f'user not permitted to approve requests with signerName "{signer}"'
        raise forbidden(connection.resource.plural, connection.name, CSR_GROUP, text)


def _approved(old: Object, new: Object) -> Object:
    """The request with the conditions that the client sends, and their times."""
    sent = (new.get("status") or {}).get("conditions") or ()
    status = {**(old.get("status") or {}), "conditions": [dict(condition) for condition in sent]}
    if not sent:
        del status["conditions"]
    obj = {**old, "status": status}
    stamp_conditions(obj, old, to_rfc3339(now()))
    return obj


def _take_approval(old: Object, new: Object) -> None:
    old["status"] = _approved(old, new)["status"]


def check_approval(old: Object, new: Object) -> list[FieldError]:
    return check_signing_request_approval(_approved(old, new), old)


# ---- namespaces/finalize ------------------------------------------------------------------------------------------


def _take_finalizers(old: Object, new: Object) -> None:
    old.setdefault("spec", {})["finalizers"] = (new.get("spec") or {}).get("finalizers") or []


def check_finalizers(old: Object, new: Object) -> list[FieldError]:
    return check_namespace_finalizers(new, old)


approval = Part(
    "CertificateSigningRequest", "certificates.k8s.io/v1", _take_approval, check_approval, _may_approve
).handler()
finalize = Part("Namespace", "v1", _take_finalizers, check_finalizers).handler()
