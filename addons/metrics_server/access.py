"""Who asks, and whether they may: both are the API server's to say.

A request comes from the API server's proxy with the user in its headers, or with a client certificate or a token of its
own. Tokens are shown to the API server (TokenReview), rights are asked of it (SubjectAccessReview); its answers count
for ten seconds.
https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson

from common.api.status import Forbidden, NotFound, StatusError, Unauthorized
from common.client import Client, ResourceInfo
from common.request_header import HeaderOptions, RequestHeaders
from common.serving import PeerIdentity

log = logging.getLogger("metrics-server")

CONFIG_MAPS = ResourceInfo("", "v1", "configmaps", "ConfigMap", True)
TRUST = ("kube-system", "extension-apiserver-authentication")
OPEN_PATHS = ("/healthz", "/livez", "/readyz")
MASTERS = "system:masters"
AGE = 10.0
"""Seconds that an answer counts (upstream's --authorization-webhook-cache-*-ttl)."""
KEPT = 1024
LOOK_SECONDS = 60.0
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class User:
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked. ``path`` alone when it is about no resource."""

    verb: str
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Remembered(Generic[V]):
    """Answers for a while, the oldest given up first when there are many."""

    def __init__(self) -> None:
        self._answers: dict[Any, tuple[float, V]] = {}

    def get(self, key: Any) -> V | None:
        found = self._answers.get(key)
        return found[1] if found is not None and time.monotonic() - found[0] < AGE else None

    def put(self, key: Any, value: V) -> V:
        self._answers.pop(key, None)
        while len(self._answers) >= KEPT:
            del self._answers[next(iter(self._answers))]
        self._answers[key] = time.monotonic(), value
        return value


class Trust:
    """The authorities of clients and proxies, from the ConfigMap that the API server keeps, as files."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self.client_ca_file = folder / "client-ca.crt"
        self.proxy_ca_file = folder / "requestheader-client-ca.crt"
        self.headers: RequestHeaders | None = None

    async def read(self) -> None:
        """Raises StatusError."""
        namespace, name = TRUST
        data = (await self._client.dynamic.get(CONFIG_MAPS, name, namespace)).get("data") or {}
        await asyncio.to_thread(self._write, data)
        proxies = data.get("requestheader-client-ca-file")
        if proxies:
            self.headers = self.headers or RequestHeaders(
                HeaderOptions(
                    str(self.proxy_ca_file),
                    str(self.client_ca_file) if data.get("client-ca-file") else None,
                    _list(data, "requestheader-allowed-names"),
                    _list(data, "requestheader-username-headers"),
                    _list(data, "requestheader-group-headers"),
                    _list(data, "requestheader-extra-headers-prefix"),
                )
            )

    def _write(self, data: Mapping[str, str]) -> None:
        for path, key in (
            (self.client_ca_file, "client-ca-file"),
            (self.proxy_ca_file, "requestheader-client-ca-file"),
        ):
            text = data.get(key) or ""
            if text and (not path.exists() or path.read_text() != text):
                path.write_text(text)

    async def follow(self) -> None:
        """Until cancelled: authorities are renewed."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.read()
            except StatusError as error:
                log.warning("%s/%s: %s", *TRUST, error)


def _list(data: Mapping[str, str], key: str) -> list[str]:
    try:
        found = json.loads(data.get(key) or "[]")
    except ValueError:
        return []
    return [str(each) for each in found] if isinstance(found, list) else []


class Access:
    def __init__(self, client: Client, trust: Trust) -> None:
        self._client = client
        self._trust = trust
        self._users: Remembered[User | bool] = Remembered()
        self._verdicts: Remembered[tuple[bool, str]] = Remembered()

    async def user(self, peer: PeerIdentity | None, headers: list[tuple[bytes, bytes]]) -> User:
        """Raises Unauthorized."""
        proxies = self._trust.headers
        if peer is not None and peer.common_name:
            named = proxies.user(peer, headers) if proxies is not None else None
            if named is not None:
                return User(named.name, named.groups, extra=named.extra)
            if proxies is None or proxies.names_users(peer):
                return User(peer.common_name, (*peer.organizations, "system:authenticated"))
        for name, value in headers:
            if name == b"authorization":
                scheme, _, token = value.decode("latin-1").strip().partition(" ")
                if scheme.lower() == "bearer" and token.strip():
                    return await self._by_token(token.strip())
        raise Unauthorized

    async def _by_token(self, token: str) -> User:
        known = self._users.get(hash(token))
        if known is None:
            review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
            status = await self._review("/apis/authentication.k8s.io/v1/tokenreviews", review)
            found: User | bool = False
            if status.get("authenticated"):
                told = status.get("user") or {}
                extra = {key: tuple(values) for key, values in (told.get("extra") or {}).items()}
                found = User(told.get("username") or "", tuple(told.get("groups") or ()), told.get("uid") or "", extra)
            known = self._users.put(hash(token), found)
        if not isinstance(known, User):
            raise Unauthorized
        return known

    async def authorize(self, user: User, asked: Attributes) -> None:
        """Raises Forbidden."""
        if MASTERS in user.groups:
            return
        key = (user.name, user.groups, user.uid, asked)
        verdict = self._verdicts.get(key)
        if verdict is None:
            status = await self._review(
                "/apis/authorization.k8s.io/v1/subjectaccessreviews", access_review(user, asked)
            )
            verdict = self._verdicts.put(key, (bool(status.get("allowed")), str(status.get("reason") or "")))
        if not verdict[0]:
            raise forbidden(user, asked, verdict[1])

    async def _review(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises StatusError when the API server does not answer."""
        answer = orjson.loads(await self._client.dynamic.send("POST", path, body=orjson.dumps(body)))
        status: Mapping[str, Any] = answer.get("status") or {}
        return status


def access_review(user: User, asked: Attributes) -> Mapping[str, Any]:
    spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups)}
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra.items()}
    if asked.resource:
        spec["resourceAttributes"] = {
            "verb": asked.verb,
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "resource": asked.resource,
            "namespace": asked.namespace,
            "name": asked.name,
        }
    else:
        spec["nonResourceAttributes"] = {"verb": asked.verb, "path": asked.path}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}


def forbidden(user: User, asked: Attributes, reason: str) -> Forbidden:
    """In upstream's words."""
    who = f'User "{user.name}" cannot {asked.verb}'
    if not asked.resource:
        text = f'forbidden: {who} path "{asked.path}"'
        return Forbidden(f"{text}: {reason}" if reason else text, {})
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    subject = f'{asked.resource}.metrics.k8s.io "{asked.name}"' if asked.name else f"{asked.resource}.metrics.k8s.io"
    text = f'{subject} is forbidden: {who} resource "{asked.resource}" in API group "metrics.k8s.io" {where}'
    details = {"name": asked.name, "group": "metrics.k8s.io", "kind": asked.resource}
    return Forbidden(f"{text}: {reason}" if reason else text, {k: v for k, v in details.items() if v})


def not_found(kind: str, name: str) -> NotFound:
    details = {"name": name, "group": "metrics.k8s.io", "kind": kind}
    return NotFound(f'{kind}.metrics.k8s.io "{name}" not found', details)
