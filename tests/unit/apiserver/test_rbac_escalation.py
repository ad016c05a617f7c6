"""Nobody hands out more than they hold."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.admission.rbac_escalation import RBACEscalation
from apiserver.authz import build
from apiserver.types import User
from common.api.status import Forbidden, NotFound
from tests.unit.apiserver.fakes import MemoryRegistry, review

GROUP = "rbac.authorization.k8s.io"
PODS: Any = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}
SECRETS: Any = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
JANE = User("jane", groups=("system:authenticated",))


def role(*rules: Any, name: str = "r", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **more.pop("metadata", {})}, "rules": list(rules), **more}


def binding(name: str, *subjects: str, kind: str = "ClusterRole") -> dict[str, Any]:
    who = [{"kind": "User", "name": subject} for subject in subjects or ("eve",)]
    return {"metadata": {"name": "b"}, "roleRef": {"kind": kind, "name": name}, "subjects": who}


def holding(*rules: Any) -> MemoryRegistry:
    """A registry in which Jane holds these rules, and there are two roles to give away."""
    registry = MemoryRegistry()
    for obj in (role(*rules, name="hers"), role(PODS, name="weak"), role(SECRETS, name="strong")):
        registry.store(GROUP, "clusterroles").put(obj)
    registry.store(GROUP, "clusterrolebindings").put(binding("hers", "jane"))
    return registry


async def refusal(registry: MemoryRegistry, plural: str, new: Any, old: Any = None, user: User = JANE) -> str:
    """What Jane is told, "" if she may."""
    request = review("UPDATE" if old else "CREATE", GROUP, plural, new, old=old, user=user, namespace="")
    try:
        await RBACEscalation(build(registry)).validate(request)
    except Forbidden as error:
        return error.message
    return ""


MORE = "is attempting to grant RBAC permissions not currently held"


@pytest.mark.parametrize(
    ("new", "old", "refused"),
    [
        (role(PODS), None, ""),
        (role({**PODS, "resourceNames": ["p"]}), None, ""),
        (role({**PODS, "verbs": ["get", "delete"]}), None, MORE),
        (role({**PODS, "resources": ["pods/exec"]}), None, MORE),
        (role({**PODS, "resources": ["*"]}), None, MORE),
        (role(SECRETS), None, MORE),
        (role({"nonResourceURLs": ["/metrics"], "verbs": ["get"]}), None, MORE),
        (role(SECRETS), role(PODS), MORE),
        (role(PODS), role(PODS, SECRETS), ""),
        (role(SECRETS, metadata={"labels": {"aggregate-to": "x"}}), role(SECRETS), MORE),
        (role(SECRETS, metadata={"finalizers": ["a.b/c"]}), role(SECRETS), ""),
        (role(SECRETS), role(SECRETS, metadata={"ownerReferences": [{}]}), ""),
        (role(aggregationRule={}), None, ""),
        (role(aggregationRule={"clusterRoleSelectors": [{}]}), None, "cluster-admin privileges to use an aggregation"),
        (
            role(),
            role(aggregationRule={"clusterRoleSelectors": [{}]}),
            "cluster-admin privileges to use an aggregation",
        ),
    ],
)
async def test_roles(new: Any, old: Any, refused: str) -> None:
    told = await refusal(holding(PODS), "clusterroles", new, old)
    assert (refused in told) if refused else not told


@pytest.mark.parametrize(
    ("new", "old", "refused"),
    [
        (binding("weak"), None, ""),
        (binding("strong"), None, MORE),
        (binding("strong", "eve", "adam"), binding("strong"), MORE),
        ({**binding("strong"), "metadata": {"name": "b", "labels": {"a": "b"}}}, binding("strong"), MORE),
        ({**binding("strong"), "metadata": {"name": "b", "finalizers": ["a.b/c"]}}, binding("strong"), ""),
    ],
)
async def test_bindings(new: Any, old: Any, refused: str) -> None:
    told = await refusal(holding(PODS), "clusterrolebindings", new, old)
    assert (refused in told) if refused else not told


async def test_a_binding_to_a_role_that_is_not_there_grants_what_it_may_become() -> None:
    with pytest.raises(NotFound):
        await refusal(holding(PODS), "clusterrolebindings", binding("none"))
    bind = {"apiGroups": [GROUP], "resources": ["clusterroles"], "verbs": ["bind"]}
    assert await refusal(holding(bind), "clusterrolebindings", binding("none")) == ""


async def test_verbs_that_lift_it() -> None:
    def verb(name: str, *names: str) -> Any:
        rule = {"apiGroups": [GROUP], "resources": ["clusterroles"], "verbs": [name]}
        return rule | ({"resourceNames": list(names)} if names else {})

    assert await refusal(holding(verb("escalate")), "clusterroles", role(SECRETS)) == ""
    assert await refusal(holding(verb("bind", "strong")), "clusterrolebindings", binding("strong")) == ""
    assert MORE in await refusal(holding(verb("bind", "strong")), "clusterrolebindings", binding("weak"))
    root = User("root", groups=("system:masters",))
    assert await refusal(holding(), "clusterroles", role(SECRETS), user=root) == ""
