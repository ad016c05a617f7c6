"""The arithmetic of rollouts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller_manager.deployment import rolling
from tests.unit.controller_manager.builders import at

sizes = st.integers(0, 30)


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (3, "25%", "25%", (1, 0)),
        (1, "25%", "25%", (1, 0)),
        (4, 0, 0, (0, 1)),
        (2, 0, "25%", (0, 1)),
        (2, 1, 5, (1, 2)),
        (0, "25%", "25%", (0, 0)),
    ],
)
def test_bounds_are_resolved_as_upstream_does(replicas, surge, unavailable, expected):
    goal = rolling.goal(replicas, surge, unavailable)
    assert (goal.max_surge, goal.max_unavailable) == expected


def test_a_percentage_without_a_sign_is_refused():
    with pytest.raises(ValueError, match="neither an integer nor a percentage"):
        rolling.goal(3, "25", 1)


@st.composite
def rollouts(draw):
    replicas = draw(st.integers(1, 20))
    goal = rolling.goal(replicas, draw(st.integers(0, replicas)), draw(st.integers(0, replicas)))
    available = draw(st.lists(st.booleans(), min_size=replicas, max_size=replicas))
    old = rolling.View("old", at(0), replicas, actual=replicas, available=sum(available))
    new = rolling.View("new", at(1), 0)
    return goal, new, old, draw(st.randoms(use_true_random=False))


@given(rollouts())
def test_a_rollout_keeps_both_bounds_at_every_step_and_ends(rollout):
    """Plays a rollout to its end: pods become available and go in any order."""
    goal, new, old, random = rollout
    started_below = old.available < goal.least_available
    for _ in range(200):
        size = rolling.new_size(goal, new, [old])
        if size != new.replicas:
            new = replace(new, replicas=size)
        elif wanted := rolling.shrink_old(goal, new, [old]):
            # The ReplicaSet deletes pods that are not available first.
            shrunk = wanted["old"]
            old = replace(old, replicas=shrunk, available=min(old.available, shrunk))
        assert new.replicas + old.replicas <= goal.most
        if not started_below:
            assert new.available + old.available >= goal.least_available
        if new.available < new.replicas and random.random() < 0.7:
            new = replace(new, available=new.available + 1)
        if new.available == goal.replicas and old.replicas == 0:
            break
    assert (new.replicas, new.available, old.replicas) == (goal.replicas, goal.replicas, 0)


def test_old_pods_that_are_not_available_go_first():
    goal = rolling.goal(10, 3, 2)
    new = rolling.View("new", at(2), 3, available=0)
    old = [rolling.View("broken", at(1), 4, available=0), rolling.View("good", at(0), 6, available=6)]
    # 13 pods, 8 must be available, 3 new ones are not: 2 may go, and the broken ones are free.
    assert rolling.shrink_old(goal, new, old) == {"broken": 2}


def test_available_pods_go_only_as_far_as_the_bound_allows():
    goal = rolling.goal(10, 3, 2)
    new = rolling.View("new", at(1), 3, available=3)
    old = [rolling.View("old", at(0), 10, available=10)]
    assert rolling.shrink_old(goal, new, old) == {"old": 5}


def test_recreate_wants_all_at_once():
    assert rolling.new_size(rolling.Goal(5, rolling=False), rolling.View("new", at(0), 0), []) == 5


def test_scaling_one_replica_set():
    goal = rolling.goal(5, 1, 1)
    assert rolling.scale(goal, rolling.View("new", at(0), 3), []) == {"new": 5}
    assert rolling.scale(goal, rolling.View("new", at(0), 5), []) == {}


def test_a_saturated_rollout_empties_the_old_ones():
    goal = rolling.goal(3, 1, 1)
    new = rolling.View("new", at(1), 3, available=3, desired_then=3)
    assert rolling.scale(goal, new, [rolling.View("old", at(0), 2)]) == {"old": 0}


def test_proportional_scaling_as_in_the_documentation():
    """https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#proportional-scaling"""
    goal = rolling.goal(15, 3, 2)
    old = rolling.View("old", at(0), 8, actual=8, available=8, desired_then=10, most_then=13)
    new = rolling.View("new", at(1), 5, actual=5, available=0, desired_then=10, most_then=13)
    assert rolling.scale(goal, new, [old]) == {"old": 11, "new": 7}


@given(st.integers(0, 30), st.integers(0, 5), st.lists(sizes, min_size=2, max_size=4), st.integers(1, 30))
def test_proportional_scaling_deals_out_all_of_the_difference(replicas, surge, old_sizes, before):
    goal = rolling.goal(replicas, surge, 1)
    sets = [
        rolling.View(str(i), at(i), size, actual=size, desired_then=before, most_then=before + surge)
        for i, size in enumerate(old_sizes, start=1)
    ]
    if len(rolling.active(sets)) < 2:
        return
    result = rolling.scale(goal, sets[-1], sets[:-1])
    assert all(size >= 0 for size in result.values())
    if result and set(result) == {each.name for each in rolling.active(sets)} and replicas > 0:
        assert sum(result.values()) >= min(goal.most, sum(old_sizes))


def test_scaling_is_noticed_by_the_annotation():
    goal = rolling.goal(5, 1, 1)
    assert rolling.is_scaling(goal, [rolling.View("a", at(0), 3, desired_then=3)])
    assert not rolling.is_scaling(goal, [rolling.View("a", at(0), 3, desired_then=5)])
    assert not rolling.is_scaling(goal, [rolling.View("a", at(0), 0, desired_then=3)])
    assert not rolling.is_scaling(goal, [rolling.View("a", at(0), 3)])
