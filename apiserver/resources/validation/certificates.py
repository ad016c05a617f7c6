"""CertificateSigningRequests (upstream: pkg/apis/certificates/validation).

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from cryptography import x509

from apiserver.resources.checks import Errors
from apiserver.types import Object
from common.api.names import is_dns1123_label, is_dns1123_subdomain
from common.api.status import (
    GoSyntax,
    duplicate,
    field_forbidden,
    invalid_value,
    not_supported,
    required,
    too_long,
)

Spec = dict[str, Any]

LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
MIN_SECONDS = 600
APPROVAL = ("Approved", "Denied")
FINAL = (*APPROVAL, "Failed")
USAGES = frozenset(
    {
        "signing",
        "digital signature",
        "content commitment",
        "key encipherment",
        "key agreement",
        "data encipherment",
        "cert sign",
        "crl sign",
        "encipher only",
        "decipher only",
        "any",
        "server auth",
        "client auth",
        "code signing",
        "email protection",
        "s/mime",
        "ipsec end system",
        "ipsec tunnel",
        "ipsec user",
        "timestamping",
        "ocsp signing",
        "microsoft sgc",
        "netscape sgc",
    }
)
_STATUSES = frozenset({"True", "False", "Unknown"})
_CONDITIONS = "status.conditions"
_BLOCK = re.compile(rb"-----BEGIN ([^-\n]*)-----\r?\n(.*?)-----END \1-----", re.DOTALL)


def check_signing_request(obj: Object) -> Errors:
    return _check(obj, None)


def check_signing_request_update(obj: Object, old: Object) -> Errors:
    """A PUT: neither approval nor certificate may change."""
    return _update(obj, old, approval=False, certificate=False)


def check_signing_request_status(obj: Object, old: Object) -> Errors:
    """A write to /status: who may sign may not for that reason approve."""
    return _update(obj, old, approval=False, certificate=True)


def check_signing_request_approval(obj: Object, old: Object) -> Errors:
    return _update(obj, old, approval=True, certificate=False)


def _check(obj: Object, old: Object | None) -> Errors:
    spec, before = obj.get("spec") or {}, (old or {}).get("spec") or {}
    usages, signer = spec.get("usages") or (), spec.get("signerName") or ""
    errors: Errors = []
    request = _bytes(spec.get("request"))
    if problem := _request_problem(request):
        errors.append(invalid_value("spec.request", _go_bytes(request), problem))
    if not usages:
        errors.append(required("spec.usages", "usages must be provided"))
    if old is None or not _unknown(before.get("usages") or ()):
        for i in _unknown(usages):
            errors.append(not_supported(f"spec.usages[{i}]", usages[i], USAGES))
    if old is None or not _repeated(before.get("usages") or ()):
        errors += [duplicate(f"spec.usages[{i}]", usages[i]) for i in _repeated(usages)]
    if signer == LEGACY_SIGNER and before.get("signerName") != LEGACY_SIGNER:
        detail = "the legacy signerName is not allowed via this API version"
        errors.append(invalid_value("spec.signerName", signer, detail))
    else:
        errors += signer_name(signer, "spec.signerName")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < MIN_SECONDS:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(invalid_value("spec.expirationSeconds", seconds, detail))
    errors += _conditions(conditions_of(obj), conditions_of(old or {}))
    return errors + _certificate(obj, old)


def _unknown(usages: Any) -> list[int]:
    return [i for i, usage in enumerate(usages) if usage not in USAGES]


def _repeated(usages: Any) -> list[int]:
    return [i for i, usage in enumerate(usages) if usage in usages[:i]]


def conditions_of(obj: Object) -> list[Spec]:
    return (obj.get("status") or {}).get("conditions") or []


def _conditions(conditions: list[Spec], before: list[Spec]) -> Errors:
    old = [c.get("type") or "" for c in before]
    both, empty, twice = set(APPROVAL) <= set(old), "" in old, len(set(old)) < len(old)
    errors: Errors = []
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        kind, status = condition.get("type") or "", condition.get("status") or ""
        path = f"{_CONDITIONS}[{i}]"
        if not kind and not empty:
            errors.append(required(f"{path}.type"))
        allowed = frozenset({"True"}) if kind in FINAL else _STATUSES
        if not status:
            errors.append(required(f"{path}.status"))
        elif status not in allowed:
            errors.append(not_supported(f"{path}.status", status, allowed))
        if kind in APPROVAL and not both and (seen & (set(APPROVAL) - {kind})):
            detail = "Approved and Denied conditions are mutually exclusive"
            errors.append(invalid_value(f"{path}.type", kind, detail))
        if kind in seen and not twice:
            errors.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
    return errors


def _certificate(obj: Object, old: Object | None) -> Errors:
    """A certificate that has not changed, or was not one before, may be anything."""
    new, before = ((o.get("status") or {}).get("certificate") for o in (obj, old or {}))
    if old is not None and ((new or "") == (before or "") or _certificate_problem(_bytes(before))):
        return []
    problem = _certificate_problem(_bytes(new))
    return [invalid_value("status.certificate", "<certificate data>", problem)] if problem else []


def _update(obj: Object, old: Object, *, approval: bool, certificate: bool) -> Errors:
    errors = _check(obj, old)
    new, before = conditions_of(obj), conditions_of(old)

    def of(conditions: list[Spec], kind: str) -> list[Spec]:
        return [c for c in conditions if c.get("type") == kind]

    for kind in FINAL:
        if len(of(new, kind)) < len(of(before, kind)):
            errors.append(
                field_forbidden(_CONDITIONS, f"updates may not remove a condition of type {json.dumps(kind)}")
            )
    for kind in () if approval else APPROVAL:
        if len(of(new, kind)) > len(of(before, kind)):
            errors.append(field_forbidden(_CONDITIONS, f"updates may not add a condition of type {json.dumps(kind)}"))
        elif len(of(new, kind)) == len(of(before, kind)) and of(new, kind) != of(before, kind):
            detail = f"updates may not modify a condition of type {json.dumps(kind)}"
            errors.append(field_forbidden(_CONDITIONS, detail))
    after, was = ((o.get("status") or {}).get("certificate") or "" for o in (obj, old))
    if after != was:
        if not certificate:
            errors.append(field_forbidden("status.certificate", "updates may not set certificate content"))
        elif was:
            detail = "updates may not modify existing certificate content"
            errors.append(field_forbidden("status.certificate", detail))
    return errors


def signer_name(name: str, path: str) -> Errors:
    """``example.com/signer``: a domain of two segments at least, and a path of subdomains."""
    if not name:
        return [required(path, "signerName must be provided")]
    domain, slash, rest = name.partition("/")
    if not slash or "/" in rest:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [invalid_value(path, name, detail)]
    errors: Errors = [too_long(path, 253)] if len(domain) > 253 else []
    labels = domain.split(".")
    errors += _labels(domain, labels, path, is_dns1123_label)
    if len(labels) < 2:
        detail = "should be a domain with at least two segments separated by dots"
        errors.append(invalid_value(path, domain, detail))
    errors += _labels(rest, rest.split("."), path, is_dns1123_subdomain)
    if len(name) > 253 + 253 + 63 + 2:
        errors.append(too_long(path, 253 + 253 + 63 + 2))
    return errors


def _labels(whole: str, labels: list[str], path: str, check: Any) -> Errors:
    for label in labels:
        if problems := check(label):
            return [invalid_value(path, whole, f"validating label {json.dumps(label)}: {text}") for text in problems]
    return []


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text or "")
    except binascii.Error:
        return b""


def _go_bytes(data: bytes) -> GoSyntax:
    return GoSyntax(f"[]byte{{{', '.join(map(hex, data))}}}" if data else "[]byte(nil)")


def _request_problem(data: bytes) -> str:
    block = _BLOCK.search(data)
    if block is None or block[1] != b"CERTIFICATE REQUEST":
        return "PEM block type must be CERTIFICATE REQUEST"
    try:
        request = x509.load_pem_x509_csr(data)
        valid = request.is_signature_valid
    except Exception as error:  # cryptography raises ValueError and more for what is not a request
        return f"asn1: {error}"
    return "" if valid else "x509: signature verification failed"


def _certificate_problem(data: bytes) -> str:
    if not data:
        return ""
    blocks = _BLOCK.findall(data)
    for kind, body in blocks:
        if kind != b"CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {json.dumps(kind.decode(errors='replace'))}"
        if b":" in body:
            return "no PEM block headers are permitted"
        try:
            x509.load_pem_x509_certificate(b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n" % body)
        except ValueError as error:
            return f"x509: {error}"
    return "" if blocks else "must contain at least one CERTIFICATE PEM block"
