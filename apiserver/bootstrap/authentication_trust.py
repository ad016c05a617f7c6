"""``kube-system/extension-apiserver-authentication``: by which authority a client's certificate is to be trusted.

Every component that serves HTTPS itself (the controller manager, the scheduler, aggregated API servers) reads it there,
to accept the same client certificates as the API server. Several API servers may each have an authority of their own:
the ConfigMap holds all of them, and loses those that have expired.
https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/#original-request-username-and-group
"""

from __future__ import annotations

import re
from datetime import datetime

from cryptography import x509

from apiserver.types import Object
from common.api.time import now

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
KEY = "client-ca-file"

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def config_map(authorities: str) -> Object:
    """``authorities``: the PEM text of ``--client-ca-file``."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {KEY: authorities},
    }


def completed(stored: Object, wanted: Object) -> Object | None:
    """The stored ConfigMap with the wanted authorities, or None when it has them already."""
    data = stored.get("data") or {}
    bundle = union(data.get(KEY, ""), wanted["data"][KEY], at=now())
    return None if data.get(KEY) == bundle else {**stored, "data": {**data, KEY: bundle}}


def union(stored: str, own: str, *, at: datetime) -> str:
    """Both bundles' certificates, each once; of the stored ones only those that are valid still."""
    own_blocks = [match.group() for match in _CERTIFICATE.finditer(own)]
    others = [match.group() for match in _CERTIFICATE.finditer(stored)]
    valid = [block for block in others if block in own_blocks or _lasts(block, at)]
    blocks = dict.fromkeys([*valid, *own_blocks])
    return "".join(f"{block}\n" for block in blocks)


def _lasts(certificate: str, at: datetime) -> bool:
    try:
        return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc > at
    except ValueError:
        return False
