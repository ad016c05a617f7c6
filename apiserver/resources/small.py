"""Groups of one kind."""

from __future__ import annotations

from apiserver.resources import core_columns, core_events, signing_requests, warnings
from apiserver.resources import group_columns as columns
from apiserver.resources import group_defaults as defaults
from apiserver.resources.core import EVENT_FIELDS, field
from apiserver.resources.strategy import KindStrategy
from apiserver.resources.validation import certificates, discovery, small
from apiserver.resources.validation.formats import path_segment
from apiserver.types import Resource

_STORED_AS = {
    name.replace("involvedObject.", "regarding.").replace("reportingComponent", "reportingController"): name
    for name in EVENT_FIELDS
    if name != "source"
}
"""Selectable fields of an event by the names of its older form, in which it is stored."""

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
            on_create=defaults.prepare_priority_class,
            checks=small.check_priority_class,
            update=small.check_priority_class_update,
        ),
        columns.PRIORITY_CLASS,
        ("pc",),
    ),
    Resource(
        "coordination.k8s.io",
        "v1",
        "leases",
        "Lease",
        "lease",
        True,
        KindStrategy(
            defaults=defaults.default_lease,
            on_create=defaults.drop_lease_strategy,
            on_update=defaults.drop_lease_strategy,
            checks=small.check_lease,
        ),
        columns.LEASE,
        create_on_update=True,
        unconditional_update=False,
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
            on_update=defaults.raise_slice_generation,
            checks=discovery.check_endpoint_slice,
            update_checks=discovery.check_endpoint_slice_update,
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
        KindStrategy(
            defaults=core_events.default_event,
            checks=core_events.check_event_v1,
            update=core_events.check_event_update_v1,
        ),
        core_columns.EVENT,
        ("ev",),
        stored_as=("", "events"),
        create_on_update=True,
        selectable_fields={name: EVENT_FIELDS[stored] for name, stored in _STORED_AS.items()},
        renamed_fields=_STORED_AS,
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
            on_update=signing_requests.keep_request,
            checks=certificates.check_signing_request,
            update=certificates.check_signing_request_update,
            status_update=certificates.check_signing_request_status,
            parts={"approval": certificates.check_signing_request_approval},
        ),
        columns.SIGNING_REQUEST,
        ("csr",),
        status=True,
        selectable_fields={"spec.signerName": field("spec", "signerName")},
        name_validation=path_segment,
    ),
    Resource(
        "node.k8s.io",
        "v1",
        "runtimeclasses",
        "RuntimeClass",
        "runtimeclass",
        False,
        KindStrategy(
            checks=small.check_runtime_class,
            update=small.check_runtime_class_update,
            warn=warnings.warn_runtime_class,
        ),
        columns.RUNTIME_CLASS,
        create_on_update=True,
        unconditional_update=False,
    ),
)
