"""``kube-system/extension-apiserver-authentication``: by which authority a client's certificate is to be trusted.

Every component that serves HTTPS itself (the controller manager, the scheduler, aggregated API servers) reads it there,
to accept the same client certificates as the API server. Several API servers may each have an authority of their own:
the ConfigMap holds all of them, and loses those that have expired.
https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/#original-request-username-and-group
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from cryptography import x509

from apiserver.types import Object
from common.api.time import now

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
KEY = "client-ca-file"
PROXY_KEY = "requestheader-client-ca-file"

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def config_map(authorities: str, proxies: Mapping[str, str | Sequence[str]] | None = None) -> Object:
    """``authorities``: the PEM text of ``--client-ca-file``. ``proxies``: the values of the ``--requestheader-*``
    flags, whose proxies aggregated API servers are to trust."""
    data = {KEY: authorities} if authorities else {}
    for name, value in (proxies or {}).items():
        data[name] = value if isinstance(value, str) else json.dumps(list(value), separators=(",", ":"))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": data,
    }


def completed(stored: Object, wanted: Object) -> Object | None:
    """The stored ConfigMap with what is wanted added, or None when it has that already."""
    data = dict(stored.get("data") or {})
    for key, value in wanted["data"].items():
        before = data.get(key, "")
        data[key] = union(before, value, at=now()) if key in (KEY, PROXY_KEY) else _joined(before, value)
    return None if data == (stored.get("data") or {}) else {**stored, "data": data}


def _joined(stored: str, own: str) -> str:
    """Both lists' values, each once. What cannot be read is replaced."""
    try:
        before = json.loads(stored or "[]")
    except ValueError:
        before = None
    if not isinstance(before, list):
        return own
    return json.dumps(list(dict.fromkeys([*map(str, before), *json.loads(own)])), separators=(",", ":"))


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
