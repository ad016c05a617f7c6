"""Acting as somebody else: the Impersonate-* headers, for those whom a role allows it (``kubectl --as``).

Each name taken is authorised on its own, with the verb ``impersonate`` on users, groups, serviceaccounts, uids and
userextras; nothing is taken unless all are allowed.
https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from apiserver.authz.messages import forbidden_error
from apiserver.types import Attributes, Authorizer, User
from common.api.status import InternalError

Headers = Sequence[tuple[bytes, bytes]]
PREFIX = b"impersonate-"
EXTRA = b"impersonate-extra-"
NAMES = frozenset({b"impersonate-user", b"impersonate-group", b"impersonate-uid"})
AUTHENTICATION = "authentication.k8s.io"
ACCOUNT = "system:serviceaccount:"


def asked(headers: Headers) -> bool:
    """Whether a request wants to act as somebody else."""
    for name, _ in headers:  # noqa: SIM110 - asked of every request: a generator costs three times as much
        if name.startswith(PREFIX) and (name in NAMES or name.startswith(EXTRA)):
            return True
    return False


def impersonate(caller: User, headers: Headers, authorizer: Authorizer) -> User:
    """The user whom the headers name. Raises Forbidden for a name that ``caller`` may not take."""
    wanted = _wanted(headers)
    for attributes in _requests(caller, wanted):
        allowed, reason = authorizer.authorize(attributes)
        if not allowed:
            raise forbidden_error(attributes, reason)
    return User(wanted.name, wanted.uid, _all_groups(wanted), wanted.extra)


def without(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that whoever comes later may see: what was granted must not be asked for again."""
    return [(name, value) for name, value in headers if not name.startswith(PREFIX)]


def _wanted(headers: Headers) -> User:
    """As the headers say, nothing added. Of a name that is given twice, the first, as Go's Header.Get."""
    name, uid = "", ""
    groups: list[str] = []
    extra: dict[str, tuple[str, ...]] = {}
    for key, raw in headers:
        value = raw.decode("latin-1")
        if key == b"impersonate-user":
            name = name or value
        elif key == b"impersonate-uid":
            uid = uid or value
        elif key == b"impersonate-group":
            groups.append(value)
        elif key.startswith(EXTRA):
            extra_key = unquote(key[len(EXTRA) :].decode("latin-1").lower())
            extra[extra_key] = (*extra.get(extra_key, ()), value)
    if not name:
        raise InternalError("Internal Server Error: requested impersonation without impersonating a user")
    return User(name, uid, tuple(groups), extra)


def _account(name: str) -> tuple[str, str] | None:
    """Namespace and name of a service account's user name."""
    namespace, colon, account = name.removeprefix(ACCOUNT).partition(":")
    if not name.startswith(ACCOUNT) or not colon or not namespace or not account or ":" in account:
        return None
    return namespace, account


def _requests(caller: User, wanted: User) -> Iterator[Attributes]:
    """What must be allowed, name by name."""
    account = _account(wanted.name)
    if account is not None:
        yield Attributes(caller, "impersonate", "", "v1", "serviceaccounts", "", account[0], account[1])
    else:
        yield Attributes(caller, "impersonate", "", "v1", "users", "", "", wanted.name)
    for group in wanted.groups:
        yield Attributes(caller, "impersonate", "", "v1", "groups", "", "", group)
    for key, values in wanted.extra.items():
        for value in values:
            yield Attributes(caller, "impersonate", AUTHENTICATION, "v1", "userextras", key, "", value)
    if wanted.uid:
        yield Attributes(caller, "impersonate", AUTHENTICATION, "v1", "uids", "", "", wanted.uid)


def _all_groups(wanted: User) -> tuple[str, ...]:
    """With the groups that everybody of that name is in."""
    groups = wanted.groups
    account = _account(wanted.name)
    if account is not None and not groups:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    if wanted.name == "system:anonymous":
        own = "system:unauthenticated"
    elif "system:unauthenticated" in groups:
        return groups
    else:
        own = "system:authenticated"
    return groups if own in groups else (*groups, own)
