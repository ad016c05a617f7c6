"""What the server fills into a CertificateSigningRequest and keeps of it.

Upstream: pkg/registry/certificates/certificates/strategy.go. Who asks is written by the admission chain.
"""

from __future__ import annotations

from apiserver.resources.validation.certificates import APPROVAL, conditions_of
from apiserver.types import Object
from common.api.time import now, to_rfc3339


def keep_request(obj: Object, old: Object, subresource: str) -> None:
    """The spec of a request never changes. A write to /status leaves Approved and Denied as they were, one to
    /approval everything but the conditions."""
    if "spec" in old:
        obj["spec"] = old["spec"]
    if subresource == "approval":
        kept = {k: v for k, v in (old.get("status") or {}).items() if k != "conditions"}
        conditions = conditions_of(obj)
        obj["status"] = {**kept, "conditions": conditions} if conditions else kept
    if subresource == "status":
        keep_conditions(obj, old, APPROVAL)
    if subresource:
        stamp_conditions(obj, old, to_rfc3339(now()))


def keep_conditions(obj: Object, old: Object, kinds: tuple[str, ...]) -> None:
    new, before = conditions_of(obj), conditions_of(old)
    for kind in kinds:
        at = [i for i, c in enumerate(new) if c.get("type") == kind]
        kept = [c for c in before if c.get("type") == kind]
        if len(at) == len(kept):
            for i, condition in zip(at, kept, strict=True):
                new[i] = condition


def stamp_conditions(obj: Object, old: Object, time: str) -> None:
    """Fills in the times that a condition lacks."""
    before = {(c.get("type"), c.get("status")): c for c in conditions_of(old)}
    for condition in conditions_of(obj):
        if not condition.get("lastUpdateTime"):
            condition["lastUpdateTime"] = time
        if not condition.get("lastTransitionTime"):
            was = before.get((condition.get("type"), condition.get("status"))) or {}
            condition["lastTransitionTime"] = was.get("lastTransitionTime") or time
