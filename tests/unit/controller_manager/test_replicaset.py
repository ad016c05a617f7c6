"""Expectations, the order of deletion, adoption."""

from __future__ import annotations

import random

import pytest

from common.api.selectors import parse_label_selector
from controller_manager.ownership import decide_claims
from controller_manager.replicaset.expectations import TIMEOUT_SECONDS, Expectations
from controller_manager.replicaset.ranking import DELETION_COST, deletion_cost, pods_to_delete
from controller_manager.replicaset.status import Failure, count, next_available, with_failure
from controller_manager.replicaset.workload import new_pod
from tests.unit.controller_manager.builders import at, pod, replica_set

LATER = at(1000)


def order(*pods, related=None):
    shuffled = list(pods)
    random.Random(7).shuffle(shuffled)
    return [p.metadata.name for p in pods_to_delete(shuffled, related or pods, len(pods) - 1, LATER)]


def test_expectations_hold_until_all_is_seen():
    expectations = Expectations()
    assert expectations.satisfied("a")
    expectations.expect_creations("a", 2)
    expectations.creation_observed("a")
    assert not expectations.satisfied("a")
    expectations.creation_observed("a")
    assert expectations.satisfied("a")
    expectations.expect_deletions("a", ["x", "y"])
    expectations.deletion_observed("a", "x")
    expectations.deletion_observed("a", "x")
    assert not expectations.satisfied("a")
    expectations.deletion_observed("a", "y")
    assert expectations.satisfied("a")


def test_expectations_are_given_up_after_a_while():
    time = [0.0]
    expectations = Expectations(clock=lambda: time[0])
    expectations.expect_creations("a", 1)
    assert not expectations.satisfied("a")
    time[0] = TIMEOUT_SECONDS + 1
    assert expectations.satisfied("a")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pod("a", node=None, phase="Pending", ready=False), pod("b", phase="Pending", ready=False)),
        (pod("a", phase="Pending", ready=False), pod("b", ready=False)),
        (pod("a", ready=False), pod("b")),
        (pod("b", annotations={DELETION_COST: "-5"}), pod("a")),
        (pod("b", ready_at=990), pod("a", ready_at=0)),
        (pod("b", restarts=3), pod("a")),
        (pod("b", created=990), pod("a", created=0)),
    ],
)
def test_which_pod_goes_first(first, second):
    assert order(first, second) == [first.metadata.name]
    assert order(second, first) == [first.metadata.name]


def test_pods_of_about_the_same_age_go_by_uid():
    assert order(pod("b", ready_at=1), pod("a", ready_at=2)) == ["a"]


def test_doubled_up_pods_go_first():
    crowded, alone = pod("b", node="n1"), pod("a", node="n2")
    assert order(crowded, alone, related=[crowded, alone, pod("c", node="n1")]) == ["b"]


@pytest.mark.parametrize(("text", "cost"), [("7", 7), ("-7", -7), ("x", 0), ("4294967296", 0)])
def test_deletion_cost(text, cost):
    assert deletion_cost(pod("a", annotations={DELETION_COST: text})) == cost


def test_status_counts():
    pods = [pod("a"), pod("b", ready=False), pod("c", ready_at=995), pod("d", labels={"app": "web", "x": "y"})]
    counts = count(pods, {"app": "web", "x": "y"}, 10, LATER)
    assert (counts.replicas, counts.fully_labeled, counts.ready, counts.available) == (4, 1, 3, 2)
    assert next_available(pods, 10, LATER) == 5
    assert next_available(pods, 0, LATER) is None


def test_a_failure_keeps_its_first_words_until_it_is_over():
    old = Failure("FailedCreate", "quota", at(0))
    counts = count([], {}, 0, LATER)
    assert with_failure(counts, "other", -1, old, LATER).failure == old
    assert with_failure(counts, "new", 1, None, LATER).failure == Failure("FailedDelete", "new", LATER)
    assert with_failure(counts, None, 0, old, LATER).failure is None


def test_claims():
    owner = replica_set("rs")
    mine = {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "uid-rs"}]}
    mine["ownerReferences"][0]["controller"] = True
    other = {"ownerReferences": [{**mine["ownerReferences"][0], "uid": "uid-other"}]}
    pods = [
        pod("kept", **mine),
        pod("lost", labels={"app": "db"}, **mine),
        pod("found"),
        pod("dying", deleting=True),
        pod("foreign", **other),
        pod("stranger", labels={"app": "db"}),
    ]
    claims = decide_claims(owner, pods, parse_label_selector("app=web"))
    names = [[p.metadata.name for p in part] for part in (claims.owned, claims.adopt, claims.release)]
    assert names == [["kept"], ["found"], ["lost"]]


def test_an_owner_on_its_way_out_claims_nothing_new():
    owner = replica_set("rs", deletionTimestamp="2026-01-01T00:00:00Z")
    claims = decide_claims(owner, [pod("found")], parse_label_selector("app=web"))
    assert (claims.owned, claims.adopt, claims.release) == ([], [], [])


def test_a_new_pod_comes_from_the_template():
    made = new_pod(replica_set("rs", image="web:2"))
    assert made.metadata.generateName == "rs-"
    assert made.metadata.labels == {"app": "web"}
    assert made.spec.containers[0].image == "web:2"
    owner = made.metadata.ownerReferences[0]
    assert (owner.kind, owner.uid, owner.controller, owner.blockOwnerDeletion) == ("ReplicaSet", "uid-rs", True, True)
