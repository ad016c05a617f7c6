"""Groups of one or two kinds."""

from __future__ import annotations

from apiserver.resources.columns import NAME_AGE
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource

RESOURCES = (
    Resource(
        "scheduling.k8s.io",
        "v1",
        "priorityclasses",
        "PriorityClass",
        "priorityclass",
        False,
        KindStrategy(),
        NAME_AGE,
        ("pc",),
    ),
    Resource("coordination.k8s.io", "v1", "leases", "Lease", "lease", True, KindStrategy(), NAME_AGE),
    Resource(
        "discovery.k8s.io",
        "v1",
        "endpointslices",
        "EndpointSlice",
        "endpointslice",
        True,
        KindStrategy(),
        NAME_AGE,
        has_generation=True,
    ),
    Resource(
        "events.k8s.io",
        "v1",
        "events",
        "Event",
        "event",
        True,
        KindStrategy(),
        NAME_AGE,
        ("ev",),
        stored_as=("", "events"),
    ),
    Resource(
        "certificates.k8s.io",
        "v1",
        "certificatesigningrequests",
        "CertificateSigningRequest",
        "certificatesigningrequest",
        False,
        KindStrategy(status=True),
        NAME_AGE,
        ("csr",),
        status=True,
    ),
    Resource("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", "runtimeclass", False, KindStrategy(), NAME_AGE),
)
