"""serviceaccounts/token: a token for an account, bound to what is asked for (TokenRequest).

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from apiserver.authn.tokens import TokenIssuer
from apiserver.endpoints.request import Answer, Request, Send, json_answer
from apiserver.subresources.context import Context
from apiserver.subresources.http import admit, check_name, is_dry_run, read_object
from apiserver.types import Connection, Object
from common.api.status import (
    BadRequest,
    FieldError,
    InternalError,
    NotFound,
    conflict,
    invalid,
    invalid_value,
    not_found,
)
from common.api.time import to_rfc3339

MIN_SECONDS, MAX_SECONDS, DEFAULT_SECONDS = 600, 1 << 32, 3600
POD_TOKEN_SECONDS = 3607
EXTENDED_SECONDS = 365 * 24 * 3600
"""A pod's automatic token is accepted for a year and warned about after its hour, for clients that never read it again
(upstream's --service-account-extend-token-expiration)."""

BINDABLE = {"Pod": ("pod", "pods"), "Secret": ("secret", "secrets"), "Node": ("node", "nodes")}


def validate(request: Object, name: str) -> None:
    """Raises Invalid."""
    spec = request.get("spec") or {}
    errors: list[FieldError] = []
    seconds = spec.get("expirationSeconds")
    if seconds is None:  # older clients write the null
        seconds = DEFAULT_SECONDS
    if not isinstance(seconds, int) or seconds < MIN_SECONDS:
        errors.append(
            invalid_value("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        )
    elif seconds > MAX_SECONDS:
        errors.append(
            invalid_value("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
        )
    if errors:
        raise invalid("TokenRequest", name, "authentication.k8s.io", errors)


async def handle(context: Context, connection: Connection, request: Request, send: Send) -> Answer:
    review = await read_object(request, "TokenRequest", "authentication.k8s.io/v1")
    check_name(review, "TokenRequest", connection.name, connection.namespace)
    if context.issuer is None:
        raise InternalError("Internal error occurred: no service-account signing key is configured")
    account = await context.store("", "serviceaccounts").get(connection.namespace, connection.name)
    validate(review, connection.name)
    spec = review.setdefault("spec", {})
    spec["audiences"] = spec.get("audiences") or list(context.issuer.audiences)
    if spec.get("expirationSeconds") is None:
        spec["expirationSeconds"] = DEFAULT_SECONDS
    seconds = spec["expirationSeconds"]
    await admit(context, connection, request, review)
    bound = await _bound_to(context, connection, spec.get("boundObjectRef"))
    review["metadata"] = {**(review.get("metadata") or {}), "name": connection.name, "namespace": connection.namespace}
    now = time.time()
    review["status"] = {
        "token": "" if is_dry_run(request) else _issue(context.issuer, account, spec, seconds, bound, now),
        "expirationTimestamp": to_rfc3339(datetime.fromtimestamp(int(now) + seconds, UTC)),
    }
    return json_answer(review, 201)


def _issue(
    issuer: TokenIssuer, account: Object, spec: Object, seconds: int, bound: dict[str, dict[str, str]], now: float
) -> str:
    automatic = seconds == POD_TOKEN_SECONDS and "pod" in bound and set(spec["audiences"]) <= set(issuer.audiences)
    return issuer.issue(
        account=account,
        token_audiences=spec["audiences"],
        lifetime=EXTENDED_SECONDS if automatic else seconds,
        bound=bound,
        now=now,
        warn_after=seconds if automatic else None,
    )


async def _bound_to(context: Context, connection: Connection, ref: Object | None) -> dict[str, dict[str, str]]:
    """The claims for the object that the token is bound to; a pod's token names its node too."""
    if ref is None:
        return {}
    kind, version = ref.get("kind", ""), ref.get("apiVersion", "")
    if kind not in BINDABLE or version != "v1":
        raise BadRequest(
            f"cannot bind token to object of type {version if '/' in version else '/' + version}, Kind={kind}"
        )
    claim, plural = BINDABLE[kind]
    namespace = "" if claim == "node" else connection.namespace
    name = ref.get("name", "")
    obj = await _live(context, plural, namespace, name)
    uid = obj["metadata"]["uid"]
    if ref.get("uid") and ref["uid"] != uid:
        text = f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. "
        raise conflict(kind, name, "", text + "The object might have been deleted and then recreated")
    bound = {claim: {"name": name, "uid": uid}}
    if claim != "pod":
        return bound
    spec = obj.get("spec") or {}
    if spec.get("serviceAccountName") != connection.name:  # a mirror pod runs as none
        text = f'cannot bind token for serviceaccount "{connection.name}"'
        raise BadRequest(f"{text} to pod running with different serviceaccount name.")
    if spec.get("nodeName"):
        node = context.store("", "nodes").cached("", spec["nodeName"])
        bound["node"] = {"name": spec["nodeName"], **({"uid": node["metadata"]["uid"]} if node else {})}
    return bound


async def _live(context: Context, plural: str, namespace: str, name: str) -> Object:
    store = context.store("", plural)
    try:
        return store.cached(namespace, name) or await store.get(namespace, name)
    except NotFound:
        raise not_found(plural, name) from None
