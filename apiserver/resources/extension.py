"""The groups that extend the API server."""

from __future__ import annotations

from apiserver.resources import group_columns as columns
from apiserver.resources import group_defaults as defaults
from apiserver.resources.strategy import KindStrategy, keep_metadata
from apiserver.resources.validation import admission_policies, api_services, definitions, webhooks
from apiserver.resources.validation.formats import path_segment
from apiserver.types import Resource

_EXTENSIONS = ("api-extensions",)

RESOURCES = (
    Resource(
        "admissionregistration.k8s.io",
        "v1",
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfiguration",
        False,
        KindStrategy(
            defaults=defaults.default_webhooks,
            checks=webhooks.check_webhooks,
            update=webhooks.check_webhooks_update,
        ),
        columns.WEBHOOKS,
        categories=_EXTENSIONS,
        has_generation=True,
        unconditional_update=False,
    ),
    Resource(
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicy",
        False,
        KindStrategy(
            status=True,
            defaults=defaults.default_admission_policy,
            on_update=keep_metadata,
            checks=admission_policies.check_policy,
            status_update=admission_policies.check_policy_status,
        ),
        columns.ADMISSION_POLICY,
        categories=_EXTENSIONS,
        status=True,
        has_generation=True,
        unconditional_update=False,
    ),
    Resource(
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybinding",
        False,
        KindStrategy(
            defaults=defaults.default_admission_policy_binding, checks=admission_policies.check_policy_binding
        ),
        columns.ADMISSION_POLICY_BINDING,
        categories=_EXTENSIONS,
        has_generation=True,
        unconditional_update=False,
    ),
    Resource(
        "admissionregistration.k8s.io",
        "v1",
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfiguration",
        False,
        KindStrategy(
            defaults=defaults.default_webhooks,
            checks=webhooks.check_webhooks,
            update=webhooks.check_webhooks_update,
        ),
        columns.WEBHOOKS,
        categories=_EXTENSIONS,
        has_generation=True,
        unconditional_update=False,
    ),
    Resource(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "customresourcedefinition",
        False,
        KindStrategy(
            status=True,
            defaults=defaults.default_definition,
            on_create=defaults.prepare_definition,
            on_update=defaults.keep_stored_version,
            checks=definitions.check_definition,
            update=definitions.check_definition_update,
            status_update=definitions.check_definition_status,
        ),
        columns.DEFINITION,
        ("crd", "crds"),
        _EXTENSIONS,
        status=True,
        has_generation=True,
        unconditional_update=False,
    ),
    Resource(
        "apiregistration.k8s.io",
        "v1",
        "apiservices",
        "APIService",
        "apiservice",
        False,
        KindStrategy(
            status=True,
            defaults=defaults.default_api_service,
            on_create=defaults.prepare_api_service,
            on_update=keep_metadata,
            checks=api_services.check_api_service,
            status_update=api_services.check_api_service_status,
        ),
        columns.API_SERVICE,
        name_validation=path_segment,
        categories=_EXTENSIONS,
        status=True,
        unconditional_update=False,
    ),
)
