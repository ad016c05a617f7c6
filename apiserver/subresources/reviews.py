"""Resources that are only ever POSTed to, to ask who somebody is and what they may do. Nothing is stored.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#self-subject-review
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apiserver.authz.node import node_of
from apiserver.endpoints.request import Answer, Request, Send, json_answer
from apiserver.resources.validation import reviews as checks
from apiserver.subresources.context import Context
from apiserver.subresources.http import read_object
from apiserver.types import Attributes, Connection, Object, User
from common.api.status import BadRequest, FieldError, Unauthorized, invalid
from common.api.time import now, to_rfc3339

AUTHENTICATION = "authentication.k8s.io/v1"
AUTHORIZATION = "authorization.k8s.io/v1"
NO_TOKEN = "token is required for TokenReview in authentication"


def user_info(user: User) -> Object:
    info: Object = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


async def token_review(context: Context, connection: Connection, request: Request, send: Send) -> Answer:
    review = await read_object(request, "TokenReview", AUTHENTICATION)
    spec = review.get("spec") or {}
    token = spec.get("token")
    if not token:
        raise BadRequest(NO_TOKEN)
    review.setdefault("metadata", {})
    try:
        user, audiences = await context.authenticator.tokens.user(token, spec.get("audiences") or ())
    except Unauthorized:
        review["status"] = {"user": {}, "error": "invalid bearer token"}
    else:
        review["status"] = {"authenticated": True, "user": user_info(user), "audiences": list(audiences)}
    return json_answer(review, 201)


async def self_subject_review(context: Context, connection: Connection, request: Request, send: Send) -> Answer:
    review = await read_object(request, "SelfSubjectReview", AUTHENTICATION)
    metadata = {"creationTimestamp": to_rfc3339(now()), **(review.get("metadata") or {})}
    review["metadata"] = metadata
    review["status"] = {"userInfo": user_info(connection.user)}
    return json_answer(review, 201)


async def subject_access_review(context: Context, connection: Connection, request: Request, send: Send) -> Answer:
    review = await read_object(request, "SubjectAccessReview", AUTHORIZATION)
    _refuse(checks.check_subject_access_review(review))
    return _access(context, review, _subject(review))


async def self_subject_access_review(context: Context, connection: Connection, request: Request, send: Send) -> Answer:
    review = await read_object(request, "SelfSubjectAccessReview", AUTHORIZATION)
    _refuse(checks.check_self_subject_access_review(review))
    return _access(context, review, connection.user)


async def local_subject_access_review(context: Context, connection: Connection, request: Request, send: Send) -> Answer:
    review = await read_object(request, "LocalSubjectAccessReview", AUTHORIZATION)
    metadata = review.setdefault("metadata", {})
    given = metadata.setdefault("namespace", connection.namespace)
    if given != connection.namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    _refuse(checks.check_local_subject_access_review(review, connection.namespace))
    return _access(context, review, _subject(review))


async def self_subject_rules_review(context: Context, connection: Connection, request: Request, send: Send) -> Answer:
    review = await read_object(request, "SelfSubjectRulesReview", AUTHORIZATION)
    namespace = (review.get("spec") or {}).get("namespace")
    if not namespace:
        raise BadRequest("no namespace on request")
    rules = _once(context.authorizer.rules_for(connection.user, namespace))
    resource_fields = ("verbs", "apiGroups", "resources", "resourceNames")
    review["metadata"], review["spec"] = {}, {}  # upstream's answer is a new object
    review["status"] = {
        "resourceRules": [_only(rule, resource_fields) for rule in rules if rule.get("resources")],
        "nonResourceRules": [
            _only(rule, ("verbs", "nonResourceURLs")) for rule in rules if rule.get("nonResourceURLs")
        ],
        "incomplete": False,
    }
    if node_of(connection.user):  # which of the secrets a node may read, no rule says
        unknown = "node authorizer does not support user rule resolution"
        review["status"] |= {"incomplete": True, "evaluationError": unknown}
    return json_answer(review, 201)


def _once(rules: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    kept: list[Mapping[str, Any]] = []
    for rule in rules:
        if rule not in kept:
            kept.append(rule)
    return kept


def _only(rule: Mapping[str, Any], fields: tuple[str, ...]) -> Object:
    return {field: list(rule[field]) for field in fields if rule.get(field)}


def _subject(review: Object) -> User:
    spec = review.get("spec") or {}
    extra = {key.lower(): tuple(values or ()) for key, values in (spec.get("extra") or {}).items()}
    return User(spec.get("user") or "", spec.get("uid") or "", tuple(spec.get("groups") or ()), extra)


def _access(context: Context, review: Object, user: User) -> Answer:
    allowed, reason = context.authorizer.decide(attributes_of(review, user))
    review.setdefault("metadata", {})
    review["status"] = {"allowed": allowed, **({"reason": reason} if reason else {})}
    return json_answer(review, 201)


def attributes_of(review: Object, user: User) -> Attributes:
    """What a review asks about: one resource or one path."""
    spec = review.get("spec") or {}
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(user, path.get("verb") or "", path=path.get("path") or "", is_resource=False)
    assert resource is not None
    fields = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
    asked: dict[str, Any] = {field: resource.get(field) or "" for field in fields}
    asked["field_selector"] = _field_selector(resource.get("fieldSelector") or {})
    return Attributes(user, **asked)


def _field_selector(selector: Mapping[str, Any]) -> str:
    """As the query of a request says it. Leaving a requirement out asks for more, and is never allowed more."""
    if raw := selector.get("rawSelector"):
        return str(raw)
    signs = {"In": "=", "NotIn": "!="}
    terms = []
    for requirement in selector.get("requirements") or ():
        sign, values = signs.get(requirement.get("operator", "")), list(requirement.get("values") or ())
        if sign is not None and len(values) == 1:
            terms.append(f"{requirement.get('key', '')}{sign}{_escaped(values[0])}")
    return ",".join(terms)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _refuse(errors: list[FieldError]) -> None:
    """Upstream names the group alone: the internal review has lost its kind by then."""
    if errors:
        raise invalid("", "", "authorization.k8s.io", errors)
