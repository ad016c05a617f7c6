"""What a CertificateSigningRequest asks for, and whether its signer may give it: pure.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection

from cryptography import x509
from cryptography.x509.oid import NameOID
from lightkube.models.certificates_v1 import CertificateSigningRequestStatus
from lightkube.resources.certificates_v1 import CertificateSigningRequest

API_SERVER_CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY_UNKNOWN = "kubernetes.io/legacy-unknown"
SIGNERS = (KUBELET_SERVING, KUBELET_CLIENT, API_SERVER_CLIENT, LEGACY_UNKNOWN)
NODES, NODE = "system:nodes", "system:node:"
_KEY_ENCIPHERMENT = "key encipherment"
"""For keys of the RSA kind; others do without."""


class Unrecognized(Exception):
    """Why a signer does not give what is asked for, in upstream's words."""


def status_of(request: CertificateSigningRequest) -> CertificateSigningRequestStatus:
    return request.status or CertificateSigningRequestStatus()


def has_condition(request: CertificateSigningRequest, kind: str) -> bool:
    """Approved, Denied or Failed; conditions of certificates are never false."""
    return any(each.type == kind for each in status_of(request).conditions or ())


def parse(request: CertificateSigningRequest) -> x509.CertificateSigningRequest:
    """Raises ValueError."""
    try:
        return x509.load_pem_x509_csr(base64.b64decode(request.spec.request, validate=True))
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def subject(asked: x509.CertificateSigningRequest) -> tuple[str, list[str]]:
    """Common name and organizations."""
    names = asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    organizations = asked.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return str(names[0].value) if names else "", [str(each.value) for each in organizations]


def alternative_names(asked: x509.CertificateSigningRequest) -> x509.SubjectAlternativeName | None:
    """Raises ValueError for one that cannot be read."""
    try:
        return asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def check(signer: str, asked: x509.CertificateSigningRequest, usages: Collection[str]) -> None:
    """Raises Unrecognized."""
    match signer:
        case "kubernetes.io/kubelet-serving":
            check_kubelet_serving(asked, usages)
        case "kubernetes.io/kube-apiserver-client-kubelet":
            check_kubelet_client(asked, usages)
        case "kubernetes.io/kube-apiserver-client":
            _check_client_usages(usages)


def check_kubelet_client(asked: x509.CertificateSigningRequest, usages: Collection[str]) -> None:
    """Raises Unrecognized."""
    name, organizations = subject(asked)
    if organizations != [NODES]:
        raise Unrecognized("subject organization is not system:nodes")
    names = alternative_names(asked)
    for kind, text in (
        (x509.DNSName, "DNS"),
        (x509.RFC822Name, "Email"),
        (x509.IPAddress, "IP"),
        (x509.UniformResourceIdentifier, "URI"),
    ):
        if names is not None and names.get_values_for_type(kind):
            raise Unrecognized(f"{text} subjectAltNames are not allowed")
    if not name.startswith(NODE):
        raise Unrecognized("subject common name does not begin with system:node:")
    _check_exact(usages, "client auth")


def check_kubelet_serving(asked: x509.CertificateSigningRequest, usages: Collection[str]) -> None:
    """Raises Unrecognized."""
    name, organizations = subject(asked)
    if organizations != [NODES]:
        raise Unrecognized("subject organization is not system:nodes")
    names = alternative_names(asked)
    if names is None or not (names.get_values_for_type(x509.DNSName) or names.get_values_for_type(x509.IPAddress)):
        raise Unrecognized("DNS or IP subjectAltName is required")
    if names.get_values_for_type(x509.RFC822Name):
        raise Unrecognized("Email subjectAltNames are not allowed")
    if names.get_values_for_type(x509.UniformResourceIdentifier):
        raise Unrecognized("URI subjectAltNames are not allowed")
    _check_exact(usages, "server auth")
    if not name.startswith(NODE):
        raise Unrecognized("subject common name does not begin with system:node:")


def _check_exact(usages: Collection[str], purpose: str) -> None:
    wanted = {"digital signature", purpose}
    if set(usages) not in (wanted, wanted | {_KEY_ENCIPHERMENT}):
        shown = " ".join(sorted(wanted | {_KEY_ENCIPHERMENT}))
        raise Unrecognized(f"usages did not match [{shown}]")


def _check_client_usages(usages: Collection[str]) -> None:
    for usage in usages:
        if usage not in ("digital signature", _KEY_ENCIPHERMENT, "client auth"):
            raise Unrecognized(f"invalid usage for client certificate: {usage}")
    if "client auth" not in usages:
        raise Unrecognized("missing required usage for client certificate: client auth")


def is_kubelet_client(request: CertificateSigningRequest, asked: x509.CertificateSigningRequest) -> bool:
    try:
        check_kubelet_client(asked, request.spec.usages or ())
    except Unrecognized:
        return False
    return bool(request.spec.signerName == KUBELET_CLIENT)
