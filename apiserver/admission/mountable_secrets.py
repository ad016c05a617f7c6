"""Which secrets pods of an account may use, where the account says so by an annotation. A part of ServiceAccount.

https://kubernetes.io/docs/concepts/security/service-accounts/#enforce-mountable-secrets
"""

from __future__ import annotations

from collections.abc import Iterator

from apiserver.types import Object

ANNOTATION = "kubernetes.io/enforce-mountable-secrets"
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_KINDS = (
    ("containers", "container"),
    ("initContainers", "init container"),
    ("ephemeralContainers", "ephemeral container"),
)


def problem(spec: Object, account: Object) -> str:
    """What of a pod's secrets the account does not name, though it says that it names them all; else ""."""
    if (account["metadata"].get("annotations") or {}).get(ANNOTATION) not in _TRUE:
        return ""
    name = account["metadata"]["name"]
    known = {secret.get("name") for secret in account.get("secrets") or ()}
    for secret, where in _used(spec):
        if secret not in known:
            return f"{where} is not allowed because service account {name} does not reference that secret"
    known = {secret.get("name") for secret in account.get("imagePullSecrets") or ()}
    for i, pull in enumerate(spec.get("imagePullSecrets") or ()):
        if pull.get("name") not in known:
            where = f'imagePullSecrets[{i}].name="{pull.get("name", "")}"'
            return f"{where} is not allowed because service account {name} does not reference that imagePullSecret"
    return ""


def _used(spec: Object) -> Iterator[tuple[str, str]]:
    """Each secret with how a refusal names it."""
    for volume in spec.get("volumes") or ():
        if volume.get("secret"):
            secret = volume["secret"].get("secretName", "")
            yield secret, f'volume with secret.secretName="{secret}"'
        for source in (volume.get("projected") or {}).get("sources") or ():
            if source.get("secret"):
                secret = source["secret"].get("name", "")
                yield secret, f'volume with projected secret.name="{secret}"'
    for key, kind in _KINDS:
        for container in spec.get(key) or ():
            of = f"{kind} {container.get('name', '')}"
            for env in container.get("env") or ():
                if ref := (env.get("valueFrom") or {}).get("secretKeyRef"):
                    secret = ref.get("name", "")
                    yield secret, f'{of} with envVar {env.get("name", "")} referencing secret.secretName="{secret}"'
            for source in container.get("envFrom") or ():
                if ref := source.get("secretRef"):
                    secret = ref.get("name", "")
                    yield secret, f'{of} with envFrom referencing secret.name="{secret}"'
