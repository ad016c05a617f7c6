"""What each field number means, and which zeros mean something.

On the wire a field that Go holds by value is always there, though JSON would omit its zero; one held by pointer is
there only when it is set, and then a zero counts (``replicas: 0``). The wire does not tell them apart: the second kind
is named here.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

Field = tuple[str, str, str]

ZERO_COUNTS = frozenset(
    [
        "activeDeadlineSeconds",
        "allocateLoadBalancerNodePorts",
        "allowPrivilegeEscalation",
        "allowVolumeExpansion",
        "attachRequired",
        "automountServiceAccountToken",
        "averageUtilization",
        "backoffLimit",
        "backoffLimitPerIndex",
        "blockOwnerDeletion",
        "completions",
        "controller",
        "currentCPUUtilizationPercentage",
        "defaultMode",
        "deletionGracePeriodSeconds",
        "enableServiceLinks",
        "expirationSeconds",
        "failedJobsHistoryLimit",
        "fsGroup",
        "gracePeriodSeconds",
        "hostUsers",
        "immutable",
        "leaseDurationSeconds",
        "leaseTransitions",
        "maxFailedIndexes",
        "minDomains",
        "minReplicas",
        "optional",
        "orphanDependents",
        "parallelism",
        "partition",
        "podInfoOnMount",
        "priority",
        "privileged",
        "progressDeadlineSeconds",
        "ready",
        "readOnlyRootFilesystem",
        "replicas",
        "requiresRepublish",
        "revisionHistoryLimit",
        "runAsGroup",
        "runAsNonRoot",
        "runAsUser",
        "seLinuxMount",
        "serving",
        "setHostnameAsFQDN",
        "shareProcessNamespace",
        "stabilizationWindowSeconds",
        "startingDeadlineSeconds",
        "storageCapacity",
        "successfulJobsHistoryLimit",
        "suspend",
        "targetCPUUtilizationPercentage",
        "terminating",
        "terminationGracePeriodSeconds",
        "tolerationSeconds",
        "ttlSecondsAfterFinished",
    ]
)
"""Numbers and booleans by pointer."""
EMPTY_COUNTS = frozenset({"storageClassName", "holderIdentity", "ingressClassName"})
"""Strings by pointer whose emptiness says something."""


@cache
def messages() -> dict[str, dict[int, Field]]:
    """Message -> number -> (name, type, how); see :mod:`apiserver.wire.generate`."""
    raw = json.loads((Path(__file__).parent / "fields.json").read_bytes())
    return {
        message: {int(number): (name, type_, how) for number, (name, type_, how) in fields.items()}
        for message, fields in raw.items()
    }


def message_name(api_version: str, kind: str) -> str:
    """``apps/v1``, ``Deployment`` -> ``apps.v1.Deployment``."""
    group, _, version = api_version.rpartition("/")
    return f"{group.partition('.')[0] or 'core'}.{version}.{kind}"
