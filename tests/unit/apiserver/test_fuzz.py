"""No object, however wrong, makes the decoder, the defaults, the checks or the columns fail: see tests/fuzz."""

from __future__ import annotations

import copy
import json
import os
import random
import time
from typing import Any

import orjson
import pytest

from apiserver.admission.limit_ranger import pod_total
from apiserver.admission.quota_usage import usage_of
from apiserver.allocation.spec import claims_of
from apiserver.endpoints import metadata
from apiserver.endpoints.api import to_served, to_stored
from apiserver.endpoints.delete import grace_period
from apiserver.patch import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, apply_patch
from apiserver.schema import conform, decode
from apiserver.storage.cache import ResourceCache
from apiserver.storage.encoding import encode
from apiserver.types import Object, Resource
from common.api.status import StatusError, invalid
from tests.fuzz.objects import Maker, smaller

SECONDS = float(os.environ.get("COX_FUZZ_SECONDS", "0"))
COUNT = 3000
SEED = int(os.environ.get("COX_FUZZ_SEED", "0")) or random.randrange(1 << 40)


def seeds() -> Any:
    """So many, or for so long."""
    end, number = time.monotonic() + SECONDS, 0
    while number < COUNT or time.monotonic() < end:
        yield SEED + number
        number += 1


def sent(obj: Any) -> bytes:
    """As JSON, numbers of any size included."""
    return json.dumps(obj).encode()


def created(obj: Any, resource: Resource) -> Object | None:
    """What a create makes of it; None when it is refused. Everything else is a failure of the server."""
    try:
        decoded = decode(sent(obj), "application/json", resource).object
    except StatusError as error:
        assert error.code < 500, error
        return None
    made = to_stored(resource, decoded)
    strategy = resource.strategy
    try:
        metadata.check_namespace(made, resource, "default" if resource.namespaced else "")
        metadata.fill_for_create(made, resource)
    except StatusError as error:
        assert error.code < 500, error
        return None
    strategy.default(made)
    strategy.prepare_for_create(made)
    errors = metadata.validate(made, resource) + strategy.validate(made)
    if errors:
        orjson.dumps(invalid(resource.kind, "x", resource.group, errors).to_status())
    strategy.warnings(made)
    return None if errors else made


def updated(new: Any, old: Object, resource: Resource, subresource: str) -> None:
    new = copy.deepcopy(new)
    metadata.carry_over(new, old, resource, subresource)
    strategy = resource.strategy
    strategy.prepare_for_update(new, old, subresource)
    strategy.default(new)
    metadata.raise_generation(new, old, resource)
    errors = metadata.validate_update(new, old) + strategy.validate_update(new, old, subresource)
    if errors:
        orjson.dumps(invalid(resource.kind, "x", resource.group, errors).to_status())
    strategy.warnings(new)


def looked_at(obj: Object, resource: Resource) -> None:
    """What is done with a stored object when it is read, listed and counted."""
    cache = ResourceCache(resource)
    name, namespace = str(obj["metadata"].get("name")), "default" if resource.namespaced else ""
    entry = cache.put(cache.entry_of(namespace, name, 5, encode(obj))).entry
    for column in resource.columns:
        orjson.dumps(column.cell(entry.parse()))
    orjson.dumps(to_served(resource, entry.parse()))
    usage_of(resource.group, resource.plural, obj)
    grace_period(resource, obj, None)
    if resource.qualified == "services":
        claims_of(obj)
    if resource.qualified == "pods":
        pod_total(obj.get("spec") or {}, "requests")


def everything(obj: Any, other: Any, resource: Resource) -> None:
    made = created(obj, resource)
    if made is None:
        return
    looked_at(made, resource)
    try:
        new = to_stored(resource, decode(sent(other), "application/json", resource).object)
    except StatusError:
        return
    for subresource in ("", "status") if resource.status else ("",):
        updated(new, made, resource, subresource)


def failure_of(act: Any) -> str:
    try:
        act()
    except StatusError as error:
        return "" if error.code < 500 else repr(error)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_any_object_is_taken_or_refused() -> None:
    failures: dict[str, str] = {}
    taken = 0
    for seed in seeds():
        maker = Maker(seed)
        resource = maker.resource()
        obj, other = maker.object(resource), maker.object(resource)
        if text := failure_of(lambda r=resource, o=obj, p=other: everything(o, p, r)):
            small = smaller(obj, lambda o, r=resource, p=other, t=text: failure_of(lambda: everything(o, p, r)) == t)
            failures.setdefault(f"{resource.qualified}: {text}", f"seed {seed}: {small}")
        else:
            taken += 1
    assert not failures, "\n".join(f"{what}\n    {how}" for what, how in failures.items())
    assert taken


def test_most_kinds_are_sometimes_taken() -> None:
    """Or what follows a create would not be tried at all."""
    kinds = set()
    for seed in range(2000):
        maker = Maker(seed)
        maker.wrong = 0.0
        maker.fill = 0.05
        resource = maker.resource()
        if created(maker.object(resource), resource) is not None:
            kinds.add(resource.qualified)
    assert kinds > {"pods", "services", "deployments.apps", "jobs.batch", "configmaps"}, kinds


@pytest.mark.parametrize("content_type", [JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH])
def test_any_patch_is_done_or_refused(content_type: str) -> None:
    """Parts of another object of the kind, with directives and values of the wrong type."""
    failures: dict[str, str] = {}
    for seed in seeds():
        maker = Maker(seed)
        resource = maker.resource(verb="patch")
        current, patch = orjson.loads(sent(maker.object(resource))), patch_of(maker, resource, content_type)

        def act(o: Any, r: Resource = resource, c: Any = current) -> None:
            conform(apply_patch(content_type, c, sent(o), r), r, "Warn", "")

        if text := failure_of(lambda p=patch, a=act: a(p)):
            small = smaller(patch, lambda p, a=act, t=text: failure_of(lambda: a(p)) == t)
            failures.setdefault(text, f"seed {seed} {resource.qualified}: {small}")
        if seed - SEED > COUNT // 3 and not SECONDS:
            break
    assert not failures, "\n".join(f"{what}\n    {how}" for what, how in failures.items())


def patch_of(maker: Maker, resource: Resource, content_type: str) -> Any:
    patch = maker.object(resource)
    if content_type == JSON_PATCH:
        paths = [
            "",
            "/metadata",
            "/metadata/labels/a",
            "/spec",
            "/spec/containers/0",
            "/spec/ports/-",
            "/status",
            "/kind",
            "/~2",
        ]
        kinds = ["add", "remove", "replace", "move", "copy", "test", "x"]
        pick = maker.random.choice
        return [
            {
                "op": pick(kinds),
                "path": pick(paths),
                "from": pick(paths),
                "value": pick([patch, patch.get("spec"), 1, None]),
            }
            for _ in range(pick([0, 1, 2, 3]))
        ]
    if content_type == STRATEGIC_MERGE_PATCH:
        _directives(patch, maker)
    return patch


def _directives(value: Any, maker: Maker) -> None:
    if isinstance(value, dict):
        for inner in list(value.values()):
            _directives(inner, maker)
        if maker.random.random() < 0.15:
            fields = [*value, "containers"]
            directive = maker.random.choice(["$patch", "$retainKeys", "$setElementOrder/", "$deleteFromPrimitiveList/"])
            name = directive + maker.random.choice(fields) if directive.endswith("/") else directive
            value[name] = maker.random.choice(["delete", "replace", "merge", [], fields, [{"name": "a"}], 1, None, {}])
    elif isinstance(value, list):
        for inner in value:
            _directives(inner, maker)
