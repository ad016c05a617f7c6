"""Groups of one kind."""

from __future__ import annotations

from apiserver.resources import core_columns, core_defaults, core_validation
from apiserver.resources import group_columns as columns
from apiserver.resources import group_defaults as defaults
from apiserver.resources import group_validation as validation
from apiserver.resources.core import EVENT_FIELDS, field
from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource

_REGARDING = {name.replace("involvedObject.", "regarding."): get for name, get in EVENT_FIELDS.items()}

RESOURCES = (
    Resource(
        "scheduling.k8s.io",
        "v1",
        "priorityclasses",
        "PriorityClass",
        "priorityclass",
        False,
        KindStrategy(
            defaults=defaults.default_priority_class,
            checks=validation.check_priority_class,
            update_checks=validation.check_priority_class_update,
        ),
        columns.PRIORITY_CLASS,
        ("pc",),
        has_generation=True,
    ),
    Resource(
        "coordination.k8s.io",
        "v1",
        "leases",
        "Lease",
        "lease",
        True,
        KindStrategy(checks=validation.check_lease),
        columns.LEASE,
    ),
    Resource(
        "discovery.k8s.io",
        "v1",
        "endpointslices",
        "EndpointSlice",
        "endpointslice",
        True,
        KindStrategy(
            defaults=defaults.default_endpoint_slice,
            checks=validation.check_endpoint_slice,
            update_checks=validation.check_endpoint_slice_update,
        ),
        columns.ENDPOINT_SLICE,
        has_generation=True,
    ),
    Resource(
        "events.k8s.io",
        "v1",
        "events",
        "Event",
        "event",
        True,
        KindStrategy(defaults=core_defaults.default_event, checks=core_validation.check_event),
        core_columns.EVENT,
        ("ev",),
        stored_as=("", "events"),
        selectable_fields=_REGARDING,
    ),
    Resource(
        "certificates.k8s.io",
        "v1",
        "certificatesigningrequests",
        "CertificateSigningRequest",
        "certificatesigningrequest",
        False,
        KindStrategy(
            status=True,
            defaults=defaults.default_signing_request,
            on_update=defaults.keep_signing_request,
            checks=validation.check_signing_request,
            update_checks=validation.check_signing_request_update,
        ),
        columns.SIGNING_REQUEST,
        ("csr",),
        status=True,
        selectable_fields={"spec.signerName": field("spec", "signerName")},
    ),
    Resource(
        "node.k8s.io",
        "v1",
        "runtimeclasses",
        "RuntimeClass",
        "runtimeclass",
        False,
        KindStrategy(checks=validation.check_runtime_class),
        columns.RUNTIME_CLASS,
    ),
)
