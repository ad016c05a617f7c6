"""Every kind: what minimal, rich and invalid objects answer, field for field and cause for cause.

The tables in ``answers/`` are a file for each group. What they say was compared with a kube-apiserver object by object,
and where v1.32 differs from the older one that was at hand, with v1.32's rules. Texts with the address of a pointer in
them (Go prints those) cannot be equal, and have an invented one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver.resources.table import RESOURCES
from apiserver.types import Resource
from tests.unit.apiserver.answers_support import answer, created

TABLES = sorted((Path(__file__).parent / "answers").glob("*.yaml"))


def cases() -> Iterator[Any]:
    for table in TABLES:
        for i, entry in enumerate(yaml.load(table.read_text(), yaml.CSafeLoader)):
            for j, case in enumerate(entry["cases"]):
                kind = entry["base"]["kind"]
                yield pytest.param(entry["base"], case, id=f"{table.stem}-{i}-{kind}-{j}-{case['op']}")


@pytest.mark.parametrize(("base", "case"), list(cases()))
def test_the_answer_is_upstreams(base: dict[str, Any], case: dict[str, Any]) -> None:
    expected = {key: case[key] for key in ("causes", "makes") if key in case}
    assert answer(base, case.get("set") or {}, case["op"]) == expected


def row(plural: str) -> Resource:
    return next(r for r in RESOURCES if r.plural == plural and not r.stored_as)


LABELS = {"a": "b"}
POD = {"containers": [{"name": "c", "image": "i"}], "nodeSelector": {"beta.kubernetes.io/os": "linux"}}
NOT_A_LABEL = (
    "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "
    "a DNS label is recommended: [must not contain dots]"
)
OLD_LABEL = 'nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'


def test_authors_are_told_what_is_not_wise() -> None:
    template = {"metadata": {"labels": LABELS}, "spec": POD}
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a.b"},
        "spec": {"selector": {"matchLabels": LABELS}, "template": template},
    }
    strategy, old = row("deployments").strategy, created(obj, row("deployments"))
    assert strategy.warnings(old) == [NOT_A_LABEL, f"spec.template.spec.{OLD_LABEL}"]
    new = copy.deepcopy(old)
    assert strategy.update_warnings(new, old, "") == []
    new["metadata"]["generation"] = 2
    assert strategy.update_warnings(new, old, "") == [f"spec.template.spec.{OLD_LABEL}"]
    schedule = {"schedule": "TZ=UTC * * * * *", "jobTemplate": {"spec": {"template": template}}}
    job = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "a"}, "spec": schedule}
    told = row("cronjobs").strategy.warnings(created(job, row("cronjobs")))
    assert told[0] == f"spec.jobTemplate.spec.template.spec.{OLD_LABEL}"
    assert told[1].startswith("CRON_TZ or TZ used in spec.schedule is not officially supported")
    ingress = {"metadata": {"annotations": {"kubernetes.io/ingress.class": "q"}}, "spec": {}}
    (told_of_class,) = row("ingresses").strategy.warnings(ingress)
    assert told_of_class.endswith("is deprecated, please use 'spec.ingressClassName' instead")
    assert row("ingresses").strategy.warnings(ingress | {"spec": {"ingressClassName": "q"}}) == []
    runtime = {"scheduling": {"nodeSelector": POD["nodeSelector"]}}
    assert row("runtimeclasses").strategy.warnings(runtime) == [
        'scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/os" instead'
    ]
