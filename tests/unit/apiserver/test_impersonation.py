"""Impersonation: every name is asked for, and nobody gets a group by way of another."""

import pytest

from apiserver.authn.impersonation import asked, impersonate, without
from apiserver.types import Attributes, User
from common.api.status import Forbidden, InternalError

CALLER = User("alice", groups=("system:authenticated",))


class Permits:
    """Allows impersonating what it was told, and remembers what was asked."""

    def __init__(self, *names: str) -> None:
        self.names, self.seen = names, []

    def authorize(self, attributes: Attributes) -> tuple[bool, str]:
        subresource = f"/{attributes.subresource}" if attributes.subresource else ""
        self.seen.append(f"{attributes.resource}{subresource}:{attributes.name}")
        assert attributes.verb == "impersonate"
        assert attributes.user is CALLER
        return attributes.name in self.names, ""


def headers(*pairs: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in pairs]


def test_each_name_is_asked_for() -> None:
    permits = Permits("bob", "devs", "x", "u1")
    wanted = headers(
        ("Impersonate-User", "bob"),
        ("Impersonate-Group", "devs"),
        ("Impersonate-Extra-example.com%2Fscopes", "x"),
        ("Impersonate-Uid", "u1"),
    )
    user = impersonate(CALLER, wanted, permits)
    assert permits.seen == ["users:bob", "groups:devs", "userextras/example.com/scopes:x", "uids:u1"]
    assert user == User("bob", "u1", ("devs", "system:authenticated"), {"example.com/scopes": ("x",)})


@pytest.mark.parametrize("allowed", [(), ("bob",), ("devs",)])
def test_one_name_refused_refuses_all(allowed: tuple[str, ...]) -> None:
    wanted = headers(("Impersonate-User", "bob"), ("Impersonate-Group", "devs"))
    with pytest.raises(Forbidden, match="is forbidden"):
        impersonate(CALLER, wanted, Permits(*allowed))


def test_a_service_account_brings_its_groups() -> None:
    permits = Permits("builder")
    user = impersonate(CALLER, headers(("Impersonate-User", "system:serviceaccount:ci:builder")), permits)
    assert permits.seen == ["serviceaccounts:builder"]
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated")


def test_nobody_is_nobody() -> None:
    user = impersonate(CALLER, headers(("Impersonate-User", "system:anonymous")), Permits("system:anonymous"))
    assert user.groups == ("system:unauthenticated",)


def test_a_group_without_a_user_is_a_mistake() -> None:
    with pytest.raises(InternalError):
        impersonate(CALLER, headers(("Impersonate-Group", "system:masters")), Permits("system:masters"))


def test_what_comes_later_sees_none_of_it() -> None:
    wanted = headers(("Impersonate-User", "bob"), ("Accept", "a"))
    assert asked(wanted)
    assert without(wanted) == headers(("Accept", "a"))
    assert not asked(without(wanted))
