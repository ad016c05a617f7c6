"""The networking.k8s.io group."""

from __future__ import annotations

from apiserver.resources import group_columns as columns
from apiserver.resources import group_defaults as defaults
from apiserver.resources import warnings
from apiserver.resources.strategy import KindStrategy
from apiserver.resources.validation import ingress as ingresses
from apiserver.resources.validation import networking as validation
from apiserver.types import Resource

RESOURCES = (
    Resource(
        "networking.k8s.io",
        "v1",
        "ingressclasses",
        "IngressClass",
        "ingressclass",
        False,
        KindStrategy(
            defaults=defaults.default_ingress_class,
            checks=validation.check_ingress_class,
            update=validation.check_ingress_class_update,
        ),
        columns.INGRESS_CLASS,
        has_generation=True,
    ),
    Resource(
        "networking.k8s.io",
        "v1",
        "ingresses",
        "Ingress",
        "ingress",
        True,
        KindStrategy(
            status=True,
            defaults=defaults.default_ingress,
            on_create=defaults.prepare_ingress,
            checks=ingresses.check_ingress,
            update=ingresses.check_ingress_update,
            status_update=ingresses.check_ingress_status,
            warn=warnings.warn_ingress,
            warn_update=warnings.no_warnings,
        ),
        columns.INGRESS,
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
        KindStrategy(defaults=defaults.default_network_policy, checks=validation.check_network_policy),
        columns.NETWORK_POLICY,
        ("netpol",),
        has_generation=True,
    ),
)
