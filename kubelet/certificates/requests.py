"""Asks the API server for a certificate: a key, a CertificateSigningRequest, and the wait until somebody approves."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Iterable
from dataclasses import dataclass

import httpx
from lightkube.models.certificates_v1 import CertificateSigningRequestSpec
from lightkube.models.core_v1 import NodeAddress
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.certificates_v1 import CertificateSigningRequest

from common.api.meta import meta_of
from common.api.status import NotFound, StatusError
from common.client import Client
from kubelet.certificates.store import Validity, canonical

log = logging.getLogger("kubelet.certificates")

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING_SIGNER = "kubernetes.io/kubelet-serving"
PATIENCE = 15 * 60.0
"""Seconds until a request that nobody answers is made anew (upstream: certificateWaitTimeout)."""
LOOK, LOOK_MOST = 1.0, 15.0
"""Seconds between two looks at a request: people take their time."""


class RequestError(Exception):
    """No certificate: denied, refused by the signer, or not answered in time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A certificate of the node's. ``names`` are host names and addresses, of serving certificates."""

    node_name: str
    signer: str
    usage: str
    names: tuple[str, ...] = ()

    @property
    def common_name(self) -> str:
        return f"system:node:{self.node_name}"

    def satisfied_by(self, held: Validity) -> bool:
        """Names beyond those that are wanted do no harm."""
        return held.common_name == self.common_name and held.names.issuperset(map(canonical, self.names))

    def __str__(self) -> str:
        return f"{self.common_name} {' '.join(self.names)}".rstrip()


def client_certificate(node_name: str) -> Wanted:
    return Wanted(node_name, CLIENT_SIGNER, "client auth")


def serving_certificate(node_name: str, addresses: Iterable[NodeAddress]) -> Wanted | None:
    """For all that the node is known by; None as long as it has no address."""
    found = [each for each in addresses if each.address]
    if not any(each.type in ("InternalIP", "ExternalIP") for each in found):
        return None
    names = sorted({each.address for each in found})
    return Wanted(node_name, SERVING_SIGNER, "server auth", tuple(names))


async def obtain(client: Client, wanted: Wanted, *, prefix: str = "csr-") -> tuple[bytes, bytes]:
    """Certificate and key, PEM, once somebody has approved it. Raises RequestError, StatusError."""
    key, request = await asyncio.to_thread(_key_and_request, wanted)
    made = await client.create(
        CertificateSigningRequest(
            metadata=ObjectMeta(generateName=prefix),
            spec=CertificateSigningRequestSpec(
                request=base64.b64encode(request).decode(),
                signerName=wanted.signer,
                usages=["digital signature", wanted.usage],
            ),
        )
    )
    name = meta_of(made).name or ""
    log.info("certificate signing request %s (%s) waits to be approved and signed", name, wanted.signer)
    return await _signed(client, name), key


def _key_and_request(wanted: Wanted) -> tuple[bytes, bytes]:
    from kubelet.certificates import x509

    return x509.key_and_request(wanted.node_name, wanted.names)


async def _signed(client: Client, name: str) -> bytes:
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + PATIENCE, LOOK
    while loop.time() < deadline:
        await asyncio.sleep(pause)
        pause = min(pause * 1.2, LOOK_MOST)
        try:
            found = await client.get(CertificateSigningRequest, name)
        except NotFound:
            raise RequestError(f"certificate signing request {name} is gone") from None
        except (StatusError, httpx.HTTPError, OSError) as error:
            log.info("certificate signing request %s: %s", name, error)
            continue
        status = found.status
        for condition in (status.conditions if status else None) or ():
            if condition.type in ("Denied", "Failed"):
                what = "is not approved" if condition.type == "Denied" else "failed"
                reason, message = condition.reason or "", condition.message or ""
                raise RequestError(f"certificate signing request {name} {what}, reason: {reason}, message: {message}")
        if status is not None and status.certificate:
            return base64.b64decode(status.certificate)
    raise RequestError(f"certificate signing request {name} was not answered within {PATIENCE:.0f} s")
