"""Settings, batches, namespace conditions, the published CA."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from common.api.status import Forbidden
from common.client import ResourceInfo
from controller_manager import namespace, root_ca
from controller_manager.metadata import Metadata
from controller_manager.registry import CONTROLLERS, unknown_names
from controller_manager.requests import Batches, is_namespace_terminating
from controller_manager.settings import Settings
from tests.unit.controller_manager.builders import START


@pytest.mark.parametrize("text", ["5x", "s", "5s3", "soon"])
def test_bad_durations_name_the_field(text):
    with pytest.raises(ValidationError, match="node_monitor_period"):
        Settings(node_monitor_period=text)


def test_flags_that_belong_together():
    with pytest.raises(ValidationError, match="needs --cluster-cidr"):
        Settings(allocate_node_cidrs=True)
    with pytest.raises(ValidationError, match="must not be shorter"):
        Settings(allocate_node_cidrs=True, cluster_cidr="10.0.0.0/25")


def test_which_controllers_run():
    assert Settings().enabled("deployment-controller")
    some = Settings(controllers="*,-deployment-controller")
    assert not some.enabled("deployment-controller") and some.enabled("namespace-controller")
    one = Settings(controllers="namespace-controller")
    assert [name for name in CONTROLLERS if one.enabled(name)] == ["namespace-controller"]
    assert unknown_names(Settings(controllers="*,-nonsense")) == ["nonsense"]


async def test_a_batch_that_fails_stops_early():
    calls = []

    async def refuse() -> None:
        calls.append(None)
        if len(calls) > 3:
            raise Forbidden("quota")

    result = await Batches().slow_start(100, refuse)
    assert (result.done, len(calls)) == (3, 7)
    assert isinstance(result.error, Forbidden)


async def test_a_batch_does_all():
    calls = []

    async def do() -> None:
        calls.append(None)

    assert (await Batches(4).slow_start(37, do)).done == len(calls) == 37


async def test_each_ends_all_before_it_fails():
    done = []

    async def do(number: int) -> None:
        if number == 0:
            raise Forbidden("no")
        done.append(number)

    with pytest.raises(Forbidden):
        await Batches(2).each(range(5), do)
    assert done == [1, 2, 3, 4]


def test_a_terminating_namespace_is_told_by_its_cause():
    terminating = Forbidden("being terminated", {"causes": [{"reason": "NamespaceTerminating"}]})
    assert is_namespace_terminating(terminating)
    assert not is_namespace_terminating(Forbidden("quota"))
    assert not is_namespace_terminating(ValueError())


def info(plural: str, group: str = "", verbs: tuple[str, ...] = ("delete", "list"), namespaced: bool = True):
    return ResourceInfo(group, "v1", plural, plural.title(), namespaced, verbs)


def test_pods_are_deleted_first():
    found = namespace.deletable(
        [info("secrets"), info("bindings", verbs=("create",)), info("nodes", namespaced=False), info("pods")]
    )
    assert [each.plural for each in found] == ["pods", "secrets"]


def told(contents: namespace.Contents) -> dict[str, tuple[str, str, str]]:
    return {c.type: (c.status, c.reason, c.message) for c in namespace.conditions(contents)}


def test_namespace_conditions():
    well = told(namespace.Contents())
    assert {status for status, _, _ in well.values()} == {"False"}
    assert well["NamespaceContentRemaining"][1:] == ("ContentRemoved", "All content successfully removed")
    contents = namespace.Contents()
    contents.remaining.update({"pods.": 2, "deployments.apps": 1})
    contents.finalizers.update({"example.com/hold": 1})
    ill = told(contents)
    assert ill["NamespaceContentRemaining"] == (
        "True",
        "SomeResourcesRemain",
        "Some resources are remaining: deployments.apps has 1 resource instances, pods. has 2 resource instances",
    )
    assert ill["NamespaceFinalizersRemaining"][2] == (
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
    )


def test_the_longest_grace_counts():
    items = [
        Metadata(deletionTimestamp="2026-01-01T00:00:30Z"),
        Metadata(),
        Metadata(deletionTimestamp="2025-01-01T00:00:00Z"),
    ]
    assert namespace.grace_left(items, START) == 30


def test_the_published_ca():
    made = root_ca.wanted("default", "PEM", None)
    assert (made.metadata.name, made.data) == ("kube-root-ca.crt", {"ca.crt": "PEM"})
    assert root_ca.wanted("default", "PEM", made) is None
    assert root_ca.wanted("default", "OTHER", made).data == {"ca.crt": "OTHER"}
