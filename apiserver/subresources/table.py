"""Which subresources and review resources there are, with what discovery says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from apiserver.endpoints.answers import finish
from apiserver.endpoints.request import Request, send_answer
from apiserver.subresources import (
    binding,
    component_statuses,
    eviction,
    log,
    parts,
    proxies,
    reviews,
    streams,
    token,
)
from apiserver.subresources.context import Context, Handler
from apiserver.types import ConnectHandler, Connection
from common.api.status import MethodNotAllowed

VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
    "OPTIONS": "",
}
"""The verb that a request by each method is authorised for (a WebSocket's GET on pods/exec is ``get``)."""


@dataclass(frozen=True)
class ConnectHandlerSpec:
    """One subresource. ``kind``, ``group`` and ``version`` are those of the object that is sent to it."""

    handler: Handler
    kind: str
    methods: tuple[str, ...]
    group: str = ""
    version: str = ""
    verbs: tuple[str, ...] = field(init=False)
    """For discovery, sorted."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "verbs", tuple(sorted({VERBS[m] for m in self.methods} - {""})))

    def verb(self, method: str) -> str | None:
        """What to authorise, or None for a method that is not served (405)."""
        return VERBS[method] if method in self.methods else None

    def bind(self, context: Context) -> ConnectHandler:
        """The ASGI-shaped handler. It raises StatusError before it has answered; never after."""

        async def connect(connection: Connection, scope: Any, receive: Any, send: Any) -> None:
            request = Request(scope, receive)
            request.user = connection.user
            if self.verb(request.method) is None:
                raise MethodNotAllowed("the server does not allow this method on the requested resource", {})
            answer = await self.handler(context, connection, request, send)
            if answer is not None:
                answer = await finish(request, answer)
                await send_answer(scope, send, answer, request.warnings)

        return connect


_STREAM = ("GET", "POST")
_PART = ("GET", "PATCH", "PUT")
_PROXY = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_AUTHENTICATION = ("authentication.k8s.io", "v1")
_AUTHORIZATION = ("authorization.k8s.io", "v1")

HANDLERS: Mapping[tuple[str, str, str], ConnectHandlerSpec] = {
    ("", "bindings", ""): ConnectHandlerSpec(binding.handle, "Binding", ("POST",)),
    ("", "componentstatuses", ""): ConnectHandlerSpec(component_statuses.handle, "ComponentStatus", ("GET",)),
    ("", "pods", "binding"): ConnectHandlerSpec(binding.handle, "Binding", ("POST",)),
    ("", "pods", "eviction"): ConnectHandlerSpec(eviction.handle, "Eviction", ("POST",), "policy", "v1"),
    ("", "pods", "ephemeralcontainers"): ConnectHandlerSpec(parts.handle, "Pod", _PART),
    ("", "pods", "resize"): ConnectHandlerSpec(parts.handle, "Pod", _PART),
    ("", "pods", "log"): ConnectHandlerSpec(log.handle, "Pod", ("GET",)),
    ("", "pods", "exec"): ConnectHandlerSpec(streams.exec_, "PodExecOptions", _STREAM),
    ("", "pods", "attach"): ConnectHandlerSpec(streams.attach, "PodAttachOptions", _STREAM),
    ("", "pods", "portforward"): ConnectHandlerSpec(streams.port_forward, "PodPortForwardOptions", _STREAM),
    ("", "pods", "proxy"): ConnectHandlerSpec(proxies.pod, "PodProxyOptions", _PROXY),
    ("", "services", "proxy"): ConnectHandlerSpec(proxies.service, "ServiceProxyOptions", _PROXY),
    ("", "nodes", "proxy"): ConnectHandlerSpec(proxies.node, "NodeProxyOptions", _PROXY),
    ("", "namespaces", "finalize"): ConnectHandlerSpec(parts.handle, "Namespace", ("PUT",)),
    ("", "serviceaccounts", "token"): ConnectHandlerSpec(token.handle, "TokenRequest", ("POST",), *_AUTHENTICATION),
    ("certificates.k8s.io", "certificatesigningrequests", "approval"): ConnectHandlerSpec(
        parts.handle, "CertificateSigningRequest", _PART
    ),
    (_AUTHENTICATION[0], "tokenreviews", ""): ConnectHandlerSpec(reviews.token_review, "TokenReview", ("POST",)),
    (_AUTHENTICATION[0], "selfsubjectreviews", ""): ConnectHandlerSpec(
        reviews.self_subject_review, "SelfSubjectReview", ("POST",)
    ),
    (_AUTHORIZATION[0], "subjectaccessreviews", ""): ConnectHandlerSpec(
        reviews.subject_access_review, "SubjectAccessReview", ("POST",)
    ),
    (_AUTHORIZATION[0], "selfsubjectaccessreviews", ""): ConnectHandlerSpec(
        reviews.self_subject_access_review, "SelfSubjectAccessReview", ("POST",)
    ),
    (_AUTHORIZATION[0], "localsubjectaccessreviews", ""): ConnectHandlerSpec(
        reviews.local_subject_access_review, "LocalSubjectAccessReview", ("POST",)
    ),
    (_AUTHORIZATION[0], "selfsubjectrulesreviews", ""): ConnectHandlerSpec(
        reviews.self_subject_rules_review, "SelfSubjectRulesReview", ("POST",)
    ),
}


def mount(context: Context) -> dict[tuple[str, str, str], ConnectHandler]:
    """All handlers, bound to what they work with."""
    return {key: spec.bind(context) for key, spec in HANDLERS.items()}
