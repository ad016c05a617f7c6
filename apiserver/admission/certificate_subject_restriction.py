"""CertificateSubjectRestriction: nobody gets a client certificate for system:masters by asking."""

from __future__ import annotations

import base64
import binascii

from cryptography import x509
from cryptography.x509.oid import NameOID

from apiserver.admission.plugin import Refuses, concerns, new_object, refuse
from apiserver.types import AdmissionRequest

SIGNER = "kubernetes.io/kube-apiserver-client"


def organizations(request_field: str) -> list[str]:
    """The organizations that a base64 PEM certificate request asks for. Raises ValueError."""
    try:
        csr = x509.load_pem_x509_csr(base64.b64decode(request_field, validate=True))
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    return [str(a.value) for a in csr.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


class CertificateSubjectRestriction(Refuses):
    name = "CertificateSubjectRestriction"

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, "certificates.k8s.io", "certificatesigningrequests", ("CREATE",))

    async def validate(self, request: AdmissionRequest) -> None:
        spec = new_object(request).get("spec") or {}
        if spec.get("signerName") != SIGNER:
            return
        try:
            groups = organizations(spec.get("request", ""))
        except ValueError as error:
            raise refuse(request, f"unable to parse spec.request: {error}") from None
        if "system:masters" in groups:
            raise refuse(request, f"use of {SIGNER} signer with system:masters group is not allowed")
