"""The chain: every plugin that handles a request, in order; first all that mutate, later all that refuse."""

from __future__ import annotations

from collections.abc import Sequence

from apiserver.admission.certificate_requester import CertificateRequester
from apiserver.admission.certificate_signing import CertificateSigning
from apiserver.admission.certificate_subject_restriction import CertificateSubjectRestriction
from apiserver.admission.default_storage_class import DefaultStorageClass
from apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from apiserver.admission.limit_ranger import LimitRanger
from apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from apiserver.admission.node_restriction import NodeRestriction
from apiserver.admission.priority import Priority
from apiserver.admission.rbac_escalation import RBACEscalation
from apiserver.admission.resource_quota import ResourceQuota
from apiserver.admission.runtime_class import RuntimeClass
from apiserver.admission.service_account import ServiceAccount
from apiserver.admission.taint_nodes_by_condition import TaintNodesByCondition
from apiserver.allocation import ServiceAllocation
from apiserver.allocation.spec import AllocationSettings
from apiserver.authz import ServerAuthorizer
from apiserver.authz import build as build_authorizer
from apiserver.types import AdmissionPlugin, AdmissionRequest, Registry


class AdmissionChain:
    """``admit`` before validation of the object, ``validate`` after it."""

    def __init__(self, plugins: Sequence[AdmissionPlugin]) -> None:
        self.plugins = tuple(plugins)

    async def admit(self, request: AdmissionRequest) -> None:
        for plugin in self.plugins:
            if plugin.handles(request):
                await plugin.admit(request)

    async def validate(self, request: AdmissionRequest) -> None:
        for plugin in self.plugins:
            if plugin.handles(request):
                await plugin.validate(request)


def build_chain(
    registry: Registry, settings: AllocationSettings, authorizer: ServerAuthorizer | None = None
) -> AdmissionChain:
    """Upstream's default plugins in upstream's order, then what upstream's storage does with the user or the store
    at hand: certificate requesters, privilege escalation, service addresses.

    ``authorizer`` is the server's; one of its own is made when it is not given.
    """
    authorizer = authorizer or build_authorizer(registry)
    return AdmissionChain(
        [
            NamespaceLifecycle(registry),
            LimitRanger(registry),
            ServiceAccount(registry),
            NodeRestriction(),
            TaintNodesByCondition(),
            Priority(registry),
            DefaultTolerationSeconds(),
            DefaultStorageClass(registry),
            RuntimeClass(registry),
            CertificateSigning(authorizer),
            CertificateSubjectRestriction(),
            CertificateRequester(),
            RBACEscalation(authorizer),
            ServiceAllocation(registry, settings),
            ResourceQuota(registry),
        ]
    )
