"""CertificateSigning and CertificateApproval: who may sign or approve for a signer is asked of the authorizer."""

from __future__ import annotations

from apiserver.admission.plugin import Refuses, concerns, new_object, refuse
from apiserver.types import AdmissionRequest, Attributes, Authorizer, User

GROUP = "certificates.k8s.io"


def may_use_signer(authorizer: Authorizer, user: User, verb: str, signer: str) -> bool:
    """Whether ``verb`` ("sign", "approve", "attest") is allowed for this signer, or for all of its domain."""
    domain = signer.partition("/")[0]
    names = (signer, f"{domain}/*")
    asked = (
        Attributes(user, verb, group=GROUP, version="*", resource="signers", name=name, is_resource=True)
        for name in names
    )
    return any(authorizer.authorize(attributes)[0] for attributes in asked)


class CertificateApproval(Refuses):
    name = "CertificateApproval"

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, GROUP, "certificatesigningrequests", ("UPDATE",), "approval")

    async def validate(self, request: AdmissionRequest) -> None:
        signer = ((request.old_object or {}).get("spec") or {}).get("signerName", "")
        if not may_use_signer(self._authorizer, request.user, "approve", signer):
            raise refuse(request, f'user not permitted to approve requests with signerName "{signer}"')


class CertificateSigning(Refuses):
    name = "CertificateSigning"

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, GROUP, "certificatesigningrequests", ("UPDATE",), "status")

    async def validate(self, request: AdmissionRequest) -> None:
        old = request.old_object or {}
        new = new_object(request)
        status, before = ((obj.get("status") or {}) for obj in (new, old))
        if all(status.get(field) == before.get(field) for field in ("certificate", "conditions")):
            return
        signer = (old.get("spec") or {}).get("signerName", "")
        if not may_use_signer(self._authorizer, request.user, "sign", signer):
            raise refuse(request, f'user not permitted to sign requests with signerName "{signer}"')
