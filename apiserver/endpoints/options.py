"""What the query (and the body of a delete) asks for beyond the object itself.

https://kubernetes.io/docs/reference/kubernetes-api/common-parameters/common-parameters/
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from apiserver.endpoints.request import Request
from apiserver.managedfields.entries import check_manager, manager_of_agent
from apiserver.schema import decode, sent_kind
from apiserver.types import Object, Resource
from common.api.selectors import EVERYTHING, Selector, parse_field_selector, parse_label_selector
from common.api.status import BadRequest, FieldError, field_forbidden, invalid, invalid_value, not_supported, required
from common.aside import LARGE, aside

Validation = Literal["Ignore", "Warn", "Strict"]
VALIDATIONS = ("Ignore", "Warn", "Strict")
POLICIES = ("Background", "Foreground", "Orphan")
MATCHES = ("Exact", "NotOlderThan")
MAX_INT = (1 << 63) - 1
MAX_DIGITS = 100
_INTEGER = re.compile(r"[-+]?[0-9]+")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Of create, update and patch."""

    kind: str
    dry_run: bool = False
    field_manager: str = ""
    validation: Validation = "Warn"
    manager: str = ""
    """Who owns what is written: ``field_manager``, or else what the client calls itself."""
    force: bool = False
    """Of an apply: takes fields that others own."""
    size: int = 0
    """Bytes of the body: what is large is worked on aside."""

    def of_size(self, size: int) -> WriteOptions:
        return replace(self, size=size) if size > LARGE else self

    def for_admission(self) -> Mapping[str, Any]:
        options: dict[str, Any] = {"kind": self.kind, "apiVersion": "meta.k8s.io/v1"}
        if self.dry_run:
            options["dryRun"] = ["All"]
        if self.field_manager:
            options["fieldManager"] = self.field_manager
        if self.force:
            options["force"] = True
        return options


def write_options(request: Request, kind: str, *, apply: bool = False) -> WriteOptions:
    """Raises Invalid with upstream's words."""
    agent = manager_of_agent(request.header(b"user-agent"))
    if not request.query and not apply:
        return WriteOptions(kind, manager=agent)
    errors: list[FieldError] = []
    manager = request.param("fieldManager")
    if apply and not manager:
        errors.append(required("fieldManager", "is required for apply patch"))
    elif not apply and kind == "PatchOptions" and "force" in request.query:
        errors.append(field_forbidden("force", "may not be specified for non-apply patch"))
    errors += check_manager(manager)
    dry_run = _dry_run(request.query.get("dryRun", []), errors)
    validation = request.param("fieldValidation") or "Warn"
    if validation not in VALIDATIONS:
        errors.append(not_supported("fieldValidation", validation, ("", *VALIDATIONS)))
    if errors:
        raise invalid(kind, "", "meta.k8s.io", errors)
    force = apply and request.flag("force")
    return WriteOptions(kind, dry_run, manager, cast(Validation, validation), manager or agent, force)


def _dry_run(values: list[str], errors: list[FieldError]) -> bool:
    for value in values:
        if value != "All":
            errors.append(not_supported("dryRun", value, ["All"]))
    return bool(values)


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    dry_run: bool = False
    grace_period_seconds: int | None = None
    propagation_policy: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)


async def delete_options(request: Request) -> DeleteOptions:
    """From the body, or from the query when there is no body."""
    body = await request.body()
    raw: dict[str, Any] = {}
    if body.strip():
        raw = await aside(len(body), _decode_options, body, request.header(b"content-type"))
    elif request.query:
        raw = _options_of_query(request)
    return parse_delete_options(raw)


def _decode_options(body: bytes, content_type: str) -> Object:
    """Clients name the version of the resource they delete, or meta.k8s.io/v1: the options are the same in each."""
    return decode(body, content_type, sent_kind("DeleteOptions", "v1"), "Ignore", any_version=True).object


def _options_of_query(request: Request) -> dict[str, Any]:
    raw: dict[str, Any] = {}
    if "gracePeriodSeconds" in request.query:
        raw["gracePeriodSeconds"] = parse_int(request.param("gracePeriodSeconds"))
    if policy := request.param("propagationPolicy"):
        raw["propagationPolicy"] = policy
    if "orphanDependents" in request.query:
        raw["orphanDependents"] = request.flag("orphanDependents")
    if dry_run := request.query.get("dryRun"):
        raw["dryRun"] = list(dry_run)
    if uid := request.param("uid"):
        raw["preconditions"] = {"uid": uid}
    return raw


def parse_delete_options(raw: Mapping[str, Any]) -> DeleteOptions:
    errors: list[FieldError] = []
    policy, orphan = raw.get("propagationPolicy"), raw.get("orphanDependents")
    grace = raw.get("gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or isinstance(grace, bool)):
        raise BadRequest("DeleteOptions.gracePeriodSeconds: must be an integer")
    if policy is not None and orphan is not None:
        errors.append(
            invalid_value("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set")
        )
    elif policy is not None and policy not in POLICIES:
        errors.append(not_supported("propagationPolicy", policy, (*POLICIES, "nil")))
    dry_run = _dry_run(list(raw.get("dryRun") or []), errors)
    if errors:
        raise invalid("DeleteOptions", "", "meta.k8s.io", errors)
    if policy is None and orphan is not None:
        policy = "Orphan" if orphan else "Background"
    preconditions = raw.get("preconditions") or {}
    return DeleteOptions(
        dry_run, grace, policy, preconditions.get("uid"), preconditions.get("resourceVersion"), dict(raw)
    )


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Of list, watch and deletecollection."""

    labels: Selector = EVERYTHING
    fields: Selector = EVERYTHING
    limit: int = 0
    token: str = ""
    resource_version: str = ""
    match: str = ""
    timeout_seconds: int | None = None
    bookmarks: bool = False
    initial_events: bool | None = None


_NO_OPTIONS = ListOptions()
LONG_QUERY = 2048
"""Bytes of a query from which on it is read aside: a selector of 64 KiB takes a quarter of a second."""


async def read_list_options(
    request: Request, resource: Resource, name: str = "", *, watch: bool = False
) -> ListOptions:
    """As :func:`list_options`, aside where the query is long."""
    if len(request.scope["query_string"]) > LONG_QUERY:
        return await asyncio.to_thread(list_options, request, resource, name, watch=watch)
    return list_options(request, resource, name, watch=watch)


def list_options(request: Request, resource: Resource, name: str = "", *, watch: bool = False) -> ListOptions:
    """``name`` is that of the old ``/watch/…/<name>`` form."""
    if not request.query and not name:
        return _NO_OPTIONS
    labels = fields = EVERYTHING
    if text := request.param("labelSelector"):
        try:
            labels = parse_label_selector(text)
        except ValueError as error:
            # Upstream names what is wrong within a requirement so, and not what is wrong between them.
            between = str(error).endswith("expected: ',' or 'end of string'")
            raise BadRequest(f"{'' if between else 'unable to parse requirement: '}{error}") from None
    if text := request.param("fieldSelector"):
        fields = _field_selector(text, resource)
    if name:
        if not fields.everything and fields.exact("metadata.name") != name:
            raise BadRequest("fieldSelector metadata.name doesn't match requested name")
        fields = fields if fields.requirements else parse_field_selector(f"metadata.name={name}")
    options = ListOptions(
        labels,
        fields,
        max(_number(request, "limit") or 0, 0),
        request.param("continue"),
        request.param("resourceVersion"),
        request.param("resourceVersionMatch"),
        _number(request, "timeoutSeconds"),
        request.flag("allowWatchBookmarks"),
        request.flag("sendInitialEvents") if "sendInitialEvents" in request.query else None,
    )
    return _checked(options, watch)


def _field_selector(text: str, resource: Resource) -> Selector:
    try:
        selector = parse_field_selector(text)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    known = {"metadata.name", *resource.selectable_fields, *resource.renamed_fields}
    # Upstream knows the namespace of kinds of no namespace too, which is empty, unless they have fields of their own.
    if resource.namespaced or not resource.selectable_fields:
        known.add("metadata.namespace")
    for requirement in selector.requirements:
        if requirement.key not in known:
            raise BadRequest(_unknown_field(requirement.key, resource))
    if renamed := resource.renamed_fields:
        return Selector(tuple(replace(r, key=renamed.get(r.key, r.key)) for r in selector.requirements))
    return selector


def _unknown_field(key: str, resource: Resource) -> str:
    """Upstream has other words for kinds that have no selectable fields of their own."""
    if resource.selectable_fields:
        return resource.unknown_field.format(key)
    return f'"{key}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _number(request: Request, name: str) -> int | None:
    return parse_int(request.param(name)) if name in request.query else None


def _checked(options: ListOptions, watch: bool) -> ListOptions:
    """Upstream: apimachinery's ValidateListOptions."""
    errors = _watch_errors(options) if watch else _list_errors(options)
    if errors:
        raise invalid("ListOptions", "", "meta.k8s.io", errors)
    return options


def _list_errors(options: ListOptions) -> list[FieldError]:
    errors: list[FieldError] = []
    path = "resourceVersionMatch"
    if options.match:
        if not options.resource_version:
            errors.append(field_forbidden(path, f"{path} is forbidden unless resourceVersion is provided"))
        if options.token:
            errors.append(field_forbidden(path, f"{path} is forbidden when continue is provided"))
        if options.match not in MATCHES:
            errors.append(not_supported(path, options.match, (*MATCHES, "")))
        elif options.match == "Exact" and options.resource_version == "0":
            errors.append(field_forbidden(path, f'{path} "exact" is forbidden for resourceVersion "0"'))
    if options.initial_events is not None:
        errors.append(field_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return errors


def _watch_errors(options: ListOptions) -> list[FieldError]:
    errors: list[FieldError] = []
    path = "resourceVersionMatch"
    if options.initial_events is not None and options.match != "NotOlderThan":
        errors.append(field_forbidden(path, f"sendInitialEvents requires setting {path} to NotOlderThan"))
    if options.match:
        if options.initial_events is None:
            errors.append(field_forbidden(path, f"{path} is forbidden for watch unless sendInitialEvents is provided"))
        if options.match != "NotOlderThan":
            errors.append(not_supported(path, options.match, ("NotOlderThan",)))
        if options.token:
            errors.append(field_forbidden(path, f"{path} is forbidden when continue is provided"))
    return errors


def parse_int(text: str) -> int:
    """As strconv.ParseInt with 64 bits: Python's own takes more, and numbers that nothing behind it can hold."""
    if not _INTEGER.fullmatch(text):
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(text) > MAX_DIGITS or not -MAX_INT - 1 <= (number := int(text)) <= MAX_INT:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number


def parse_revision(text: str) -> int:
    """0 for unset."""
    if not text:
        return 0
    problem = ""
    if not text.isascii() or not text.isdigit():
        problem = "invalid syntax"
    elif len(text) > MAX_DIGITS or int(text) > MAX_INT:
        problem = "value out of range"
    if problem:
        raise BadRequest(f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {problem}')
    return int(text)
