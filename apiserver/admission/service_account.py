"""ServiceAccount: every pod runs as an account, and finds that account's token in its containers.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#serviceaccount-admission-controller
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any

from apiserver.admission import mountable_secrets
from apiserver.admission.plugin import concerns, new_object, refuse
from apiserver.authz.references import is_mirror
from apiserver.types import AdmissionRequest, Object, Registry
from common.api.status import NotFound

MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_SECONDS = 3607
"""Upstream's odd number tells tokens of this plugin from those that people ask for by hand."""
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
DEFAULT_ACCOUNT_TRIES = 10
TRY_SECONDS = 0.1
"""A new namespace's default account is made by a controller: pods made at once wait a second for it."""


def token_volume(name: str) -> Object:
    """The projected volume with token, CA and namespace, exactly as upstream's."""
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 420}}


def wants_token(spec: Object, account: Object) -> bool:
    """The pod's word counts first, then the account's; the default is yes."""
    for holder in (spec, account):
        if holder.get("automountServiceAccountToken") is not None:
            return bool(holder["automountServiceAccountToken"])
    return True


def mount_token(spec: Object) -> None:
    """Adds the volume and its mounts, where a container has nothing at that path yet."""
    bare = [c for c in _containers(spec) if not _mounts_at_path(c)]
    if not bare:
        return
    volumes: list[Any] = spec.get("volumes") or []
    name = next((v["name"] for v in volumes if v.get("name", "").startswith(VOLUME_PREFIX)), "")
    if not name:
        name = VOLUME_PREFIX + "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(5))
        spec["volumes"] = [*volumes, token_volume(name)]
    for container in bare:
        mount = {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}
        container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _containers(spec: Object) -> Iterator[Object]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def _mounts_at_path(container: Object) -> bool:
    return any(m.get("mountPath") == MOUNT_PATH for m in container.get("volumeMounts") or ())


class ServiceAccount:
    name = "ServiceAccount"

    def __init__(self, registry: Registry) -> None:
        self._store = registry.store("", "serviceaccounts")

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, "", "pods", ("CREATE",)) or concerns(
            request, "", "pods", ("UPDATE",), "ephemeralcontainers"
        )

    async def admit(self, request: AdmissionRequest) -> None:
        pod = new_object(request)
        if is_mirror(pod) or request.operation == "UPDATE":
            return
        spec = pod.setdefault("spec", {})
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = await self._account(request, name)
        if wants_token(spec, account):
            mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]

    async def validate(self, request: AdmissionRequest) -> None:
        pod = new_object(request)
        spec = pod.get("spec") or {}
        if not is_mirror(pod):
            account = self._store.cached(request.namespace, spec.get("serviceAccountName") or "default")
            if account is not None and (text := mountable_secrets.problem(spec, account)):
                raise refuse(request, text)
            return
        if spec.get("serviceAccountName"):
            raise refuse(request, "a mirror pod may not reference service accounts")
        volumes = spec.get("volumes") or ()
        if any(v.get("secret") for v in volumes) or spec.get("imagePullSecrets"):
            raise refuse(request, "a mirror pod may not reference secrets")
        if any(v.get("configMap") for v in volumes):
            raise refuse(request, "a mirror pod may not reference configmaps")
        if any(s.get("serviceAccountToken") for v in volumes for s in (v.get("projected") or {}).get("sources") or ()):
            raise refuse(request, "a mirror pod may not use ServiceAccountToken volume projections")

    async def _account(self, request: AdmissionRequest, name: str) -> Object:
        namespace = request.namespace
        tries = DEFAULT_ACCOUNT_TRIES if name == "default" else 1
        for attempt in range(tries):
            cached = self._store.cached(namespace, name)
            if cached is not None:
                return cached
            try:
                return await self._store.get(namespace, name)
            except NotFound:
                if attempt + 1 < tries:
                    await asyncio.sleep(TRY_SECONDS)
        raise refuse(request, f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found')
