"""ResourceQuota: a namespace takes no more than its quotas allow, whatever several API servers admit at once.

The new usage is written into the quota's status by the very transaction that stores the object, which compares the
quota's revision. So an object is charged exactly when it is stored, two servers cannot give away the last place twice,
and a request that is refused later on leaves nothing behind.

``status.used`` is trusted while it was written by such a charge: beside it a mark is put, a key of etcd that must be at
the same revision. After that it can only be too high, since deletions give their share back without writing anything.
When it seems exceeded, or when somebody else wrote the quota, what is there is counted from the watch cache, which is
asked to be up to date first. (Upstream charges before it writes the object, and a controller counts again later.)
https://kubernetes.io/docs/concepts/policy/resource-quotas/
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any
from weakref import WeakValueDictionary

from apiserver.admission.plugin import new_object, refuse
from apiserver.admission.quota_usage import Usage, in_scope, missing, total, usage_of
from apiserver.storage import transactions
from apiserver.types import AdmissionRequest, Object, Registry, Terms
from common.api.quantity import parse_quantity
from common.api.status import NotFound

NOTHING = Decimal(0)
MARKS = b"/registry/ranges/quotacharges/"


class ResourceQuota:
    name = "ResourceQuota"

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._quotas = registry.store("", "resourcequotas")
        self._quotas.claim(lambda quota: {_mark(quota): b""})
        self._namespaces: WeakValueDictionary[str, Turn] = WeakValueDictionary()

    def handles(self, request: AdmissionRequest) -> bool:
        if not request.namespace:
            return False
        plural = request.resource.plural
        if request.subresource:
            return request.operation == "UPDATE" and plural == "pods" and request.subresource == "resize"
        # Of updates, only those that may grow: a service's type, a claim's size.
        return request.operation == "CREATE" or (
            request.operation == "UPDATE" and plural in ("services", "persistentvolumeclaims")
        )

    async def admit(self, request: AdmissionRequest) -> None:
        return None

    async def validate(self, request: AdmissionRequest) -> None:
        quotas = list(self._quotas.cached_list(request.namespace))
        if not quotas:
            return
        group, plural, obj = request.resource.group, request.resource.plural, new_object(request)
        before = usage_of(group, plural, request.old_object)
        delta = {n: a - before.get(n, NOTHING) for n, a in usage_of(group, plural, obj).items()}
        names = []
        for quota in quotas:
            hard = _hard(quota)
            if (group, plural) in _kinds(hard) and in_scope(quota, plural, obj):
                _check_stated(request, quota, hard)
                if any(delta.get(name) for name in hard):
                    names.append(quota["metadata"]["name"])
        if not names:
            return
        turn = self._namespaces.get(request.namespace)
        if turn is None:
            turn = self._namespaces[request.namespace] = Turn()
        charge = Charge(self._registry, request, names, delta, turn)
        if request.dry_run:
            await charge.check()
        else:
            request.guards.append(charge)


class Turn:
    """Charges of one namespace in this process come one after the other: each needs the quota that the last one wrote.

    Between processes, the compared revision decides.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.revision = 0
        """Of the last charge."""
        self.count = False
        """Whether the last charge failed: then the next one does not trust what the quota says."""


class Charge:
    """The Guard of one request: the quotas with what it takes."""

    def __init__(
        self, registry: Registry, request: AdmissionRequest, names: Sequence[str], delta: Usage, turn: Turn
    ) -> None:
        self._registry = registry
        self._quotas = registry.store("", "resourcequotas")
        self._request = request
        self._names = names
        self._delta = delta
        self._turn = turn

    async def check(self) -> None:
        """Raises Forbidden when a quota would be exceeded."""
        for name in self._names:
            await self._charged(name)

    async def enter(self) -> Terms:
        await self._turn.lock.acquire()
        try:
            await self._quotas.reached(self._turn.revision)
            terms = [terms for name in self._names if (terms := await self._charged(name)) is not None]
        except BaseException:
            self._turn.lock.release()
            raise
        return Terms(tuple(c for t in terms for c in t.compare), tuple(o for t in terms for o in t.then))

    def leave(self, revision: int) -> None:
        self._turn.count = not revision
        self._turn.revision = max(revision, self._turn.revision)
        self._turn.lock.release()

    async def _charged(self, name: str) -> Terms | None:
        """What to write, None for a quota that is gone. Raises Forbidden."""
        namespace = self._request.namespace
        quota = self._quotas.cached(namespace, name)
        if quota is None:
            return None
        hard, used = _hard(quota), _stated(quota)
        trusted: tuple[Any, ...] = (transactions.at(_mark(quota), int(quota["metadata"]["resourceVersion"])),)
        if used is None or self._turn.count or _exceeded(hard, used, self._delta):
            await self._quotas.fresh()
            quota = self._quotas.cached(namespace, name)
            if quota is None:
                return None
            hard, used, trusted = _hard(quota), self._counted(quota), ()
            self._must_fit(name, hard, used)
        status = {
            **(quota.get("status") or {}),
            "hard": dict((quota.get("spec") or {}).get("hard") or {}),
            "used": {n: _text(n, used[n] + self._delta.get(n, NOTHING)) for n in hard},
        }
        terms = self._quotas.replaced({**quota, "status": status})
        return Terms((*terms.compare, *trusted), (*terms.then, transactions.put(_mark(quota), b"")))

    def _must_fit(self, name: str, hard: Usage, used: Usage) -> None:
        if over := _exceeded(hard, used, self._delta):
            asked, taken, limit = (_list(over, values) for values in (self._delta, used, hard))
            text = f"exceeded quota: {name}, requested: {asked}, used: {taken}, limited: {limit}"
            raise refuse(self._request, text)

    def _counted(self, quota: Object) -> Usage:
        """What a quota's namespace uses now, for each resource that the quota limits."""
        hard = _hard(quota)
        summed = total(
            usage_of(group, plural, obj)
            for group, plural in _kinds(hard)
            for obj in self._objects(group, plural)
            if in_scope(quota, plural, obj)
        )
        return {name: summed.get(name, NOTHING) for name in hard}

    def _objects(self, group: str, plural: str) -> Iterable[Object]:
        try:
            return self._registry.store(group, plural).cached_list(self._request.namespace)
        except NotFound:  # a quota may count kinds that are not served
            return ()


def _check_stated(request: AdmissionRequest, quota: Object, hard: Usage) -> None:
    if request.resource.plural != "pods" or request.resource.group:
        return
    if silent := missing(hard, new_object(request).get("spec") or {}):
        raise refuse(request, f"failed quota: {quota['metadata']['name']}: must specify {'; '.join(silent)}")


def _exceeded(hard: Usage, used: Usage, delta: Usage) -> list[str]:
    return [n for n in sorted(hard) if delta.get(n, NOTHING) > 0 and used[n] + delta[n] > hard[n]]


def _mark(quota: Object) -> bytes:
    """The key that a charge puts: at the quota's revision while nobody else has written the quota."""
    return MARKS + str(quota["metadata"].get("uid", "")).encode()


def _stated(quota: Object) -> Usage | None:
    """What the quota says is used, if it says it of all that it limits."""
    status, hard = quota.get("status") or {}, (quota.get("spec") or {}).get("hard") or {}
    used = status.get("used") or {}
    if status.get("hard") != hard or not used.keys() >= hard.keys():
        return None
    try:
        return {name: parse_quantity(used[name]).amount for name in hard}
    except ValueError:
        return None


def _hard(quota: Object) -> Usage:
    return {n: parse_quantity(v).amount for n, v in ((quota.get("spec") or {}).get("hard") or {}).items()}


def _kinds(names: Iterable[str]) -> set[tuple[str, str]]:
    """The resources that a quota's names are about."""
    kinds = set()
    for name in names:
        if name.startswith("count/"):
            plural, _, group = name.removeprefix("count/").partition(".")
            kinds.add((group, plural))
        elif name.startswith("services"):
            kinds.add(("", "services"))
        elif name.endswith(("requests.storage", "persistentvolumeclaims")):
            kinds.add(("", "persistentvolumeclaims"))
        elif name in ("secrets", "configmaps", "replicationcontrollers", "resourcequotas"):
            kinds.add(("", name))
        else:
            kinds.add(("", "pods"))
    return kinds


def _list(names: list[str], values: Usage) -> str:
    return ",".join(f"{n}={_text(n, values[n])}" for n in names)


def _text(name: str, amount: Decimal) -> str:
    """An amount as a quantity: bytes by the largest binary unit that fits, fractions in thousandths."""
    if amount != amount.to_integral_value():
        return f"{int((amount * 1000).to_integral_value(rounding='ROUND_CEILING'))}m"
    whole = int(amount)
    if name.endswith(("memory", "storage")) and whole:
        for suffix, unit in (("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
            if whole % unit == 0:
                return f"{whole // unit}{suffix}"
    return str(whole)
