"""The networking.k8s.io group."""

from __future__ import annotations

from apiserver.resources.columns import NAME_AGE
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource

RESOURCES = (
    Resource(
        "networking.k8s.io",
        "v1",
        "ingressclasses",
        "IngressClass",
        "ingressclass",
        False,
        KindStrategy(),
        NAME_AGE,
        has_generation=True,
    ),
    Resource(
        "networking.k8s.io",
        "v1",
        "ingresses",
        "Ingress",
        "ingress",
        True,
        KindStrategy(status=True),
        NAME_AGE,
        ("ing",),
        status=True,
        has_generation=True,
    ),
    Resource(
        "networking.k8s.io",
        "v1",
        "networkpolicies",
        "NetworkPolicy",
        "networkpolicy",
        True,
        KindStrategy(),
        NAME_AGE,
        ("netpol",),
        has_generation=True,
    ),
)
