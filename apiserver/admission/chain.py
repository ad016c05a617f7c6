"""The chain: every plugin that handles a request, in order; first all that mutate, later all that refuse."""

from __future__ import annotations

from collections.abc import Sequence

from apiserver.admission.certificate_requester import CertificateRequester
from apiserver.admission.certificate_signing import CertificateApproval, CertificateSigning
from apiserver.admission.certificate_subject_restriction import CertificateSubjectRestriction
from apiserver.admission.claim_resize import PersistentVolumeClaimResize
from apiserver.admission.default_storage_class import DefaultStorageClass
from apiserver.admission.default_toleration_seconds import DefaultTolerationSeconds
from apiserver.admission.limit_ranger import LimitRanger
from apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from apiserver.admission.node_restriction import NodeRestriction
from apiserver.admission.plugin import Mutates, Refuses
from apiserver.admission.priority import Priority
from apiserver.admission.rbac_escalation import RBACEscalation
from apiserver.admission.resource_quota import ResourceQuota
from apiserver.admission.runtime_class import RuntimeClass
from apiserver.admission.service_account import ServiceAccount
from apiserver.admission.storage_object_in_use_protection import StorageObjectInUseProtection
from apiserver.admission.taint_nodes_by_condition import TaintNodesByCondition
from apiserver.allocation import ServiceAllocation
from apiserver.allocation.spec import AllocationSettings
from apiserver.authz import ServerAuthorizer
from apiserver.authz import build as build_authorizer
from apiserver.authz.node import NODES_GROUP
from apiserver.types import AdmissionPlugin, AdmissionRequest, Registry

Sort = tuple[str, str, str, str, bool, bool]
"""Group and plural of a resource, operation, subresource, whether in a namespace, whether by a node."""
Chosen = tuple[tuple[AdmissionPlugin, ...], tuple[AdmissionPlugin, ...]]
"""The plugins that mutate, and those that refuse."""


class AdmissionChain:
    """``admit`` before validation of the object, ``validate`` after it.

    Which plugins handle a sort of request is asked once and remembered: most handle few sorts, and asking them all of
    every write costs more than what they do.
    """

    def __init__(self, plugins: Sequence[AdmissionPlugin]) -> None:
        self.plugins = tuple(plugins)
        self._chosen: dict[Sort, Chosen] = {}

    async def admit(self, request: AdmissionRequest) -> None:
        for plugin in self._handling(request)[0]:
            await plugin.admit(request)

    async def validate(self, request: AdmissionRequest) -> None:
        for plugin in self._handling(request)[1]:
            await plugin.validate(request)

    def _handling(self, request: AdmissionRequest) -> Chosen:
        resource = request.resource
        sort = (
            resource.group,
            resource.plural,
            request.operation,
            request.subresource,
            bool(request.namespace),
            NODES_GROUP in request.user.groups,
        )
        chosen = self._chosen.get(sort)
        if chosen is None:
            handling = [plugin for plugin in self.plugins if plugin.handles(request)]
            chosen = self._chosen[sort] = (
                tuple(plugin for plugin in handling if not isinstance(plugin, Refuses)),
                tuple(plugin for plugin in handling if not isinstance(plugin, Mutates)),
            )
        return chosen


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
            NodeRestriction(registry),
            TaintNodesByCondition(),
            Priority(registry),
            DefaultTolerationSeconds(),
            DefaultStorageClass(registry),
            StorageObjectInUseProtection(),
            PersistentVolumeClaimResize(registry),
            RuntimeClass(registry),
            CertificateApproval(authorizer),
            CertificateSigning(authorizer),
            CertificateSubjectRestriction(),
            CertificateRequester(),
            RBACEscalation(authorizer),
            ServiceAllocation(registry, settings),
            ResourceQuota(registry),
        ]
    )
