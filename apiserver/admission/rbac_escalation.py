"""Nobody hands out more than they hold: roles and bindings are refused when they grant what their author lacks.

The verbs ``escalate`` (on roles) and ``bind`` (on the role referred to) lift this, as upstream.
https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
"""

from __future__ import annotations

from collections.abc import Sequence

from apiserver.admission.plugin import Refuses, new_object, refuse
from apiserver.authz import ServerAuthorizer
from apiserver.authz.rbac import GROUP
from apiserver.authz.rules import Rule, compact, compact_string, covers
from apiserver.types import AdmissionRequest, Attributes, Object, User
from common.api.status import not_found

FULL_AUTHORITY: tuple[Rule, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)


_OF_GARBAGE_COLLECTION = frozenset({"ownerReferences", "finalizers", "managedFields", "resourceVersion"})


class RBACEscalation(Refuses):
    name = "RBACEscalation"

    def __init__(self, authorizer: ServerAuthorizer) -> None:
        self._authorizer = authorizer

    def handles(self, request: AdmissionRequest) -> bool:
        return request.resource.group == GROUP and request.operation in ("CREATE", "UPDATE") and not request.subresource

    async def validate(self, request: AdmissionRequest) -> None:
        if "system:masters" in request.user.groups:
            return
        new, old = new_object(request), request.old_object
        if old is not None and _matter(new) == _matter(old):
            return
        if request.resource.plural in ("roles", "clusterroles"):
            self._check_role(request, new, old)
        else:
            self._check_binding(request, new)

    def _check_role(self, request: AdmissionRequest, new: Object, old: Object | None) -> None:
        if self._may(request, "escalate", request.resource.plural, new["metadata"].get("name", "")):
            return
        if missing := self._missing(request, new.get("rules") or ()):
            raise refuse(request, _attempt(request.user, missing))
        aggregated = new.get("aggregationRule") or (old or {}).get("aggregationRule")
        if aggregated and self._missing(request, FULL_AUTHORITY):
            raise refuse(request, "must have cluster-admin privileges to use an aggregationRule")

    def _check_binding(self, request: AdmissionRequest, new: Object) -> None:
        ref = new["roleRef"]
        plural = "roles" if ref["kind"] == "Role" else "clusterroles"
        if self._may(request, "bind", plural, ref["name"]):
            return
        rules = self._authorizer.rbac.role_rules(ref["kind"], ref["name"], request.namespace)
        if rules is None:
            raise not_found(plural, ref["name"], GROUP)
        if missing := self._missing(request, rules):
            raise refuse(request, _attempt(request.user, missing))

    def _may(self, request: AdmissionRequest, verb: str, plural: str, name: str) -> bool:
        attributes = Attributes(
            request.user, verb, group=GROUP, version="*", resource=plural, namespace=request.namespace, name=name
        )
        return self._authorizer.authorize(attributes)[0]

    def _missing(self, request: AdmissionRequest, rules: Sequence[Rule]) -> list[Rule]:
        return covers(self._authorizer.rules_for(request.user, request.namespace), rules)


def _matter(obj: Object) -> Object:
    """An object without what the garbage collector writes to be rid of it. All else may grant something: by its labels
    a role becomes part of an aggregated one."""
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k not in _OF_GARBAGE_COLLECTION}}


def _attempt(user: User, missing: list[Rule]) -> str:
    groups = " ".join(f'"{group}"' for group in user.groups)
    descriptions = "\n".join(sorted({compact_string(rule) for rule in compact(missing)}))
    return (
        f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
        f"{descriptions}"
    )
