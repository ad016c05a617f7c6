"""Who asks for a certificate is written into the request by the server, whatever the client put there.

Upstream does this in the storage of CertificateSigningRequests, where the user is at hand. An update never changes the
spec of one (``resources.signing_requests``).
https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
"""

from __future__ import annotations

from apiserver.admission.plugin import Mutates, concerns, new_object
from apiserver.types import AdmissionRequest

FIELDS = ("username", "uid", "groups", "extra")


class CertificateRequester(Mutates):
    name = "CertificateRequester"

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, "certificates.k8s.io", "certificatesigningrequests", ("CREATE",))

    async def admit(self, request: AdmissionRequest) -> None:
        spec = new_object(request).setdefault("spec", {})
        user = request.user
        extra = {key: list(values) for key, values in user.extra.items()}
        given = {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": extra}
        for field in FIELDS:
            spec.pop(field, None)
            if given.get(field):
                spec[field] = given[field]
