"""Three control loops over CertificateSigningRequests, as upstream's: one approves what nodes ask for themselves, one
signs what is approved, one removes what is old. Serving certificates of nodes are approved by people.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/
https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/
"""

from __future__ import annotations

import asyncio
import base64
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from lightkube.models.authorization_v1 import ResourceAttributes, SubjectAccessReviewSpec
from lightkube.models.certificates_v1 import CertificateSigningRequestCondition
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.authorization_v1 import SubjectAccessReview
from lightkube.resources.certificates_v1 import CertificateSigningRequest

from common.api.meta import clone, meta_of
from common.api.status import NotFound
from common.api.time import now
from common.client import Client
from controller_manager.certificates.authority import Authority, AuthorityError, lifetime
from controller_manager.certificates.requests import (
    SIGNERS,
    Unrecognized,
    check,
    has_condition,
    is_kubelet_client,
    parse,
    status_of,
    subject,
)
from controller_manager.context import Context

log = logging.getLogger(__name__)

GROUP, RESOURCE = "certificates.k8s.io", "certificatesigningrequests"
CLEAN_PERIOD = 3600.0
OLD, OLD_PENDING = timedelta(hours=1), timedelta(hours=24)


class ApprovingController:
    """Approves client certificates of kubelets whose requester may create ``nodeclient`` or ``selfnodeclient``."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        informer = context.informers.informer(CertificateSigningRequest)
        self._requests = informer.store
        self._loop = context.loop("csrapproving", self.reconcile, workers=5)
        informer.add_handler(self._loop.enqueue, lambda _, new: self._loop.enqueue(new))

    async def run(self) -> None:
        """Until cancelled."""
        await self._loop.run()

    async def reconcile(self, key: str) -> None:
        request = self._requests.get(key)
        if request is None or status_of(request).certificate:
            return
        if has_condition(request, "Approved") or has_condition(request, "Denied"):
            return
        try:
            asked = parse(request)
            recognized = is_kubelet_client(request, asked)
        except ValueError as error:
            log.info('unable to parse csr "%s": %s', key, error)
            return
        if not recognized:
            return
        own = request.spec.username == subject(asked)[0]
        for part, text in (("selfnodeclient", "self kubelet"), ("nodeclient", "kubelet")):
            if part == "selfnodeclient" and not own:
                continue
            if await self._may(request, part):
                await self._approve(request, f"Auto approving {text} client certificate after SubjectAccessReview.")
                return
        log.info('recognized csr "%s" but subject access review was not approved', key)

    async def _may(self, request: CertificateSigningRequest, part: str) -> bool:
        spec = request.spec
        attributes = ResourceAttributes(group=GROUP, resource=RESOURCE, verb="create", subresource=part)
        asked = SubjectAccessReviewSpec(
            user=spec.username, uid=spec.uid, groups=spec.groups, extra=spec.extra, resourceAttributes=attributes
        )
        answer = await self._client.create(SubjectAccessReview(metadata=ObjectMeta(), spec=asked))
        return bool(answer.status and answer.status.allowed)

    async def _approve(self, request: CertificateSigningRequest, message: str) -> None:
        await _write(self._client, request, "approval", condition("Approved", "AutoApproved", message))


class SigningController:
    """Signs with ``--cluster-signing-cert-file`` what is approved for one of Kubernetes' own signers."""

    def __init__(self, context: Context, authority: Authority, most: timedelta) -> None:
        self._client = context.client
        self._authority = authority
        self._most = most
        informer = context.informers.informer(CertificateSigningRequest)
        self._requests = informer.store
        self._loop = context.loop("csrsigning", self.reconcile, workers=5)
        informer.add_handler(self._loop.enqueue, lambda _, new: self._loop.enqueue(new))

    async def run(self) -> None:
        """Until cancelled."""
        await self._loop.run()

    async def reconcile(self, key: str) -> float | None:
        request = self._requests.get(key)
        if request is None or request.spec.signerName not in SIGNERS or status_of(request).certificate:
            return None
        if (
            not has_condition(request, "Approved")
            or has_condition(request, "Denied")
            or has_condition(request, "Failed")
        ):
            return None
        usages = request.spec.usages or ()
        try:
            asked = parse(request)
            check(request.spec.signerName, asked, usages)
        except (Unrecognized, ValueError) as error:
            failed = condition("Failed", "SignerValidationFailure", str(error))
            await _write(self._client, request, "status", failed)
            return None
        span = lifetime(request.spec.expirationSeconds, self._most)
        try:
            certificate = await asyncio.to_thread(self._authority.sign, asked, usages, span)
        except AuthorityError as error:
            log.error('csr "%s" cannot be signed now: %s', key, error)
            return 10.0
        except ValueError as error:
            await _write(self._client, request, "status", condition("Failed", "SignerValidationFailure", str(error)))
            return None
        signed = clone(request)
        signed.status = status_of(signed)
        signed.status.certificate = base64.b64encode(certificate).decode()
        await self._client.replace(signed, subresource="status")
        return None


class CleanerController:
    """Removes requests an hour after they were answered, a day after nobody did, and when their certificate ends."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._requests = context.informers.informer(CertificateSigningRequest).store

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            time = datetime.now(UTC)
            for request in self._requests.list():
                if is_old(request, time):
                    try:
                        await self._client.delete(CertificateSigningRequest, meta_of(request).name or "")
                    except NotFound:
                        continue
            await asyncio.sleep(CLEAN_PERIOD)


def is_old(request: CertificateSigningRequest, time: datetime) -> bool:
    """Whether a request is to be removed."""
    status = status_of(request)
    created = meta_of(request).creationTimestamp
    if not status.conditions:
        return created is not None and time - created > OLD_PENDING
    issued = bool(status.certificate)
    for each in status.conditions:
        answered = each.type in ("Denied", "Failed") or (each.type == "Approved" and issued)
        if answered and each.lastUpdateTime is not None and time - each.lastUpdateTime > OLD:
            return True
    if not issued:
        return False
    try:
        certificate = x509.load_pem_x509_certificate(base64.b64decode(status.certificate or ""))
    except ValueError:
        return False
    return time > certificate.not_valid_after_utc


def condition(kind: str, reason: str, message: str) -> CertificateSigningRequestCondition:
    return CertificateSigningRequestCondition(
        type=kind, status="True", reason=reason, message=message, lastUpdateTime=now()
    )


async def _write(
    client: Client, request: CertificateSigningRequest, subresource: str, added: CertificateSigningRequestCondition
) -> None:
    changed = clone(request)
    changed.status = status_of(changed)
    changed.status.conditions = [*(changed.status.conditions or ()), added]
    await client.replace(changed, subresource=subresource)


def signing(context: Context) -> SigningController | None:
    """None without a CA to sign with."""
    settings = context.settings
    if not settings.cluster_signing_cert_file or not settings.cluster_signing_key_file:
        log.info("skipping CSR signing: no cluster signing files are given")
        return None
    authority = Authority(Path(settings.cluster_signing_cert_file), Path(settings.cluster_signing_key_file))
    return SigningController(context, authority, timedelta(seconds=settings.cluster_signing_duration))
