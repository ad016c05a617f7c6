"""ResourceQuota: a namespace takes no more than its quotas allow.

What is used is counted from the watch cache, plus what was admitted here and the cache has not shown yet; the result
is written to the quota's status by compare-and-swap, so that two requests for the last place are decided one after the
other. Deletions free their share at once; the status shows them with the next admission, or when the controller
manager's quota loop counts again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from decimal import Decimal

from apiserver.admission.plugin import new_object, refuse
from apiserver.admission.quota_usage import Usage, in_scope, missing, total, usage_of
from apiserver.types import AdmissionRequest, Object, Registry
from common.api.quantity import parse_quantity
from common.api.status import NotFound

PENDING_SECONDS = 30.0
"""How long an admitted object counts that never appears: its request was refused later on."""

Key = tuple[str, str, str, str]
"""(group, plural, namespace, name)."""


class ResourceQuota:
    name = "ResourceQuota"

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._quotas = registry.store("", "resourcequotas")
        self._pending: OrderedDict[Key, tuple[float, Object]] = OrderedDict()

    def handles(self, request: AdmissionRequest) -> bool:
        if request.subresource or not request.namespace or request.operation not in ("CREATE", "UPDATE"):
            return False
        # Of updates, only those that may grow: a service's type, a claim's size.
        return request.operation == "CREATE" or request.resource.plural in ("services", "persistentvolumeclaims")

    async def admit(self, request: AdmissionRequest) -> None:
        return None

    async def validate(self, request: AdmissionRequest) -> None:
        quotas = list(self._quotas.cached_list(request.namespace))
        if not quotas:
            return
        group, plural, obj = request.resource.group, request.resource.plural, new_object(request)
        before = usage_of(group, plural, request.old_object)
        delta = {n: a - before.get(n, Decimal(0)) for n, a in usage_of(group, plural, obj).items()}
        concerned = [q for q in quotas if (group, plural) in _kinds(_hard(q)) and in_scope(q, plural, obj)]
        for quota in concerned:
            self._check_stated(request, quota)
        for quota in concerned:
            await self._charge(request, quota, delta)
        if concerned and not request.dry_run:
            self._remember(request, obj)

    def _check_stated(self, request: AdmissionRequest, quota: Object) -> None:
        if request.resource.plural != "pods" or request.resource.group:
            return
        if silent := missing(_hard(quota), new_object(request).get("spec") or {}):
            name = quota["metadata"]["name"]
            raise refuse(request, f"failed quota: {name}: must specify {'; '.join(silent)}")

    async def _charge(self, request: AdmissionRequest, quota: Object, delta: Usage) -> None:
        """Writes the new usage into the quota's status, or refuses."""

        def change(current: Object) -> Object | None:
            hard = _hard(current)
            used = self._used(current, request)
            over = [n for n in sorted(hard) if delta.get(n, Decimal(0)) > 0 and used[n] + delta[n] > hard[n]]
            if over:
                name = current["metadata"]["name"]
                asked, taken, limit = (_list(over, values) for values in (delta, used, hard))
                raise refuse(request, f"exceeded quota: {name}, requested: {asked}, used: {taken}, limited: {limit}")
            if request.dry_run:
                return None
            status = current.setdefault("status", {})
            status["hard"] = dict((current.get("spec") or {}).get("hard") or {})
            status["used"] = {n: _text(n, used[n] + delta.get(n, Decimal(0))) for n in hard}
            return current

        try:
            await self._quotas.update(request.namespace, quota["metadata"]["name"], change)
        except NotFound as gone:
            if (gone.details or {}).get("kind") != "resourcequotas":
                raise

    def _used(self, quota: Object, request: AdmissionRequest) -> Usage:
        """What a quota's namespace uses now, for each resource that the quota limits."""
        usages = [
            usage_of(group, plural, obj)
            for group, plural in _kinds(_hard(quota))
            for obj in self._objects(group, plural, request.namespace)
            if in_scope(quota, plural, obj)
        ]
        summed = total(usages)
        return {name: summed.get(name, Decimal(0)) for name in _hard(quota)}

    def _objects(self, group: str, plural: str, namespace: str) -> Iterable[Object]:
        try:
            store = self._registry.store(group, plural)
        except NotFound:  # a quota may count kinds that are not served
            return
        yield from store.cached_list(namespace)
        now = time.monotonic()
        for key, (deadline, obj) in list(self._pending.items()):
            if deadline < now or store_has(self._registry, key):
                del self._pending[key]
            elif key[:3] == (group, plural, namespace):
                yield obj

    def _remember(self, request: AdmissionRequest, obj: Object) -> None:
        if request.operation == "CREATE":
            name = obj["metadata"].get("name", "")
            key = request.resource.group, request.resource.plural, request.namespace, name
            self._pending[key] = (time.monotonic() + PENDING_SECONDS, obj)


def store_has(registry: Registry, key: Key) -> bool:
    group, plural, namespace, name = key
    return registry.store(group, plural).cached(namespace, name) is not None


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
