"""The review kinds of authentication.k8s.io and authorization.k8s.io: asked, answered and never stored."""

from __future__ import annotations

from apiserver.resources.strategy import KindStrategy
from apiserver.types import Resource

RESOURCES = (
    Resource(
        "authentication.k8s.io",
        "v1",
        "selfsubjectreviews",
        "SelfSubjectReview",
        "selfsubjectreview",
        False,
        KindStrategy(),
        verbs=("create",),
    ),
    Resource(
        "authentication.k8s.io",
        "v1",
        "tokenreviews",
        "TokenReview",
        "tokenreview",
        False,
        KindStrategy(),
        verbs=("create",),
    ),
    Resource(
        "authorization.k8s.io",
        "v1",
        "localsubjectaccessreviews",
        "LocalSubjectAccessReview",
        "localsubjectaccessreview",
        True,
        KindStrategy(),
        verbs=("create",),
    ),
    Resource(
        "authorization.k8s.io",
        "v1",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreview",
        False,
        KindStrategy(),
        verbs=("create",),
    ),
    Resource(
        "authorization.k8s.io",
        "v1",
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
        "selfsubjectrulesreview",
        False,
        KindStrategy(),
        verbs=("create",),
    ),
    Resource(
        "authorization.k8s.io",
        "v1",
        "subjectaccessreviews",
        "SubjectAccessReview",
        "subjectaccessreview",
        False,
        KindStrategy(),
        verbs=("create",),
    ),
)
