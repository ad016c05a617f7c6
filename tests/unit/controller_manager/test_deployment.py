"""Revisions and the status of Deployments."""

from __future__ import annotations

from lightkube.models.apps_v1 import DeploymentCondition, DeploymentStatus

from controller_manager.deployment import progress, revisions
from controller_manager.deployment.rollout import goal_of, view
from tests.unit.controller_manager.builders import at, deployment, replica_set


def test_the_hash_is_stable_and_follows_template_and_collisions():
    template = deployment().spec.template
    assert revisions.template_hash(template, None) == revisions.template_hash(deployment().spec.template, None)
    assert revisions.template_hash(template, None) != revisions.template_hash(template, 1)
    assert revisions.template_hash(template, 1) != revisions.template_hash(template, 2)
    other = deployment(image="web:2").spec.template
    assert revisions.template_hash(template, None) != revisions.template_hash(other, None)
    assert set(revisions.template_hash(template, None)) <= set("bcdfghjklmnpqrstvwxz2456789")


def test_a_new_replica_set_is_found_again():
    wanted = deployment(annotations={"kubernetes.io/change-cause": "first", revisions.REVISION: "1"})
    made = revisions.new_replica_set(wanted, 2, 3, goal_of(wanted))
    assert revisions.same_template(made.spec.template, wanted.spec.template)
    hashed = made.metadata.labels[revisions.HASH_LABEL]
    assert made.metadata.name == f"web-{hashed}"
    assert made.spec.selector.matchLabels == {"app": "web", revisions.HASH_LABEL: hashed}
    assert made.spec.template.metadata.labels == made.metadata.labels
    assert made.metadata.annotations == {
        "kubernetes.io/change-cause": "first",
        revisions.REVISION: "2",
        revisions.DESIRED_REPLICAS: "3",
        revisions.MAX_REPLICAS: "4",
    }
    assert wanted.spec.template.metadata.labels == {"app": "web"}


def test_the_oldest_of_equal_templates_is_the_new_one():
    young, old, other = replica_set("b", created=2), replica_set("c", created=1), replica_set("a", image="web:0")
    assert revisions.find_new(deployment(), [young, other, old]) is old
    assert revisions.find_old(old, [young, other, old]) == [young, other]
    assert revisions.find_new(deployment(image="web:9"), [young, other, old]) is None


def test_an_undone_revision_gets_the_next_number_and_keeps_its_history():
    back = replica_set("b", annotations={revisions.REVISION: "1", revisions.REVISION_HISTORY: "0"})
    annotations = revisions.new_annotations(deployment(), back, 3)
    assert annotations[revisions.REVISION] == "3"
    assert annotations[revisions.REVISION_HISTORY] == "0,1"
    assert revisions.new_annotations(deployment(), back, 1) == back.metadata.annotations


def test_the_history_is_bounded():
    back = replica_set("b", annotations={revisions.REVISION: "1000", revisions.REVISION_HISTORY: "999," * 499 + "999"})
    history = revisions.new_annotations(deployment(), back, 1001)[revisions.REVISION_HISTORY]
    assert len(history) <= 2000
    assert history.endswith(",1000")


def test_old_replica_sets_beyond_the_limit_go_lowest_revision_first():
    old = [replica_set(f"r{n}", annotations={revisions.REVISION: str(n)}) for n in (10, 2, 9)]
    names = [each.metadata.name for each in revisions.outdated(deployment(revisionHistoryLimit=1), old)]
    assert names == ["r2", "r9"]
    assert revisions.outdated(deployment(), old) == []
    busy = [replica_set("busy", replicas=1), *old]
    kept = {each.metadata.name for each in revisions.outdated(deployment(revisionHistoryLimit=0), busy)}
    assert kept == {"r2", "r9", "r10"}


def test_goal_and_view():
    recreate = goal_of(deployment(strategy={"type": "Recreate"}))
    assert (recreate.rolling, recreate.most, recreate.least_available) == (False, 3, 3)
    seen = view(replica_set("a", replicas=2, annotations={revisions.DESIRED_REPLICAS: "5"}))
    assert (seen.replicas, seen.desired_then, seen.most_then) == (2, 5, None)


def status_after(wanted, new, old=(), seconds=0):
    return progress.rollout_status(wanted, goal_of(wanted), new, [*old, new], at(seconds))


def set_with(available: int, replicas: int = 3):
    counts = {"replicas": replicas, "readyReplicas": available, "availableReplicas": available}
    return replica_set("web-x", replicas=3, status={**counts, "observedGeneration": 1})


def told(status, type_):
    return next(((c.status, c.reason, c.message) for c in status.conditions if c.type == type_), None)


def test_a_rollout_gets_on_completes_and_stays_complete():
    wanted = deployment()
    status = status_after(wanted, set_with(1))
    assert told(status, "Progressing") == ("True", "ReplicaSetUpdated", 'ReplicaSet "web-x" is progressing.')
    assert told(status, "Available") == (
        "False",
        "MinimumReplicasUnavailable",
        "Deployment does not have minimum availability.",
    )
    wanted.status = status
    status = status_after(wanted, set_with(3), seconds=5)
    done = ("True", "NewReplicaSetAvailable", 'ReplicaSet "web-x" has successfully progressed.')
    assert told(status, "Progressing") == done
    assert told(status, "Available")[1] == "MinimumReplicasAvailable"
    assert next(c for c in status.conditions if c.type == "Progressing").lastTransitionTime == at(0)
    wanted.status = status
    assert told(status_after(wanted, set_with(1), seconds=9999), "Progressing") == done


def test_a_rollout_that_stands_still_times_out():
    wanted = deployment(progressDeadlineSeconds=10)
    wanted.status = status_after(wanted, set_with(1))
    assert progress.check_again_in(wanted, wanted.status, at(4)) == 7
    assert told(status_after(wanted, set_with(1), seconds=9), "Progressing")[1] == "ReplicaSetUpdated"
    wanted.status = status_after(wanted, set_with(1), seconds=11)
    assert told(wanted.status, "Progressing") == (
        "False",
        "ProgressDeadlineExceeded",
        'ReplicaSet "web-x" has timed out progressing.',
    )
    assert progress.check_again_in(wanted, wanted.status, at(12)) is None
    assert told(status_after(wanted, set_with(2), seconds=20), "Progressing")[1] == "ReplicaSetUpdated"


def test_pause_and_resume_are_told():
    wanted = deployment(paused=True)
    noted = progress.paused_condition(wanted, at(0))
    assert (noted.status, noted.reason, noted.message) == ("Unknown", "DeploymentPaused", "Deployment is paused")
    wanted.status = DeploymentStatus(conditions=[noted])
    assert progress.paused_condition(wanted, at(1)) is None
    wanted.spec.paused = None
    assert progress.paused_condition(wanted, at(2)).reason == "DeploymentResumed"


def test_a_failure_of_pods_shows_up_and_goes():
    failing = set_with(0)
    failing.status.conditions = [DeploymentCondition(type="ReplicaFailure", status="True", reason="FailedCreate")]
    wanted = deployment()
    wanted.status = status_after(wanted, failing)
    assert told(wanted.status, "ReplicaFailure") == ("True", "FailedCreate", None)
    assert told(status_after(wanted, set_with(0)), "ReplicaFailure") is None


def test_counts():
    wanted = deployment()
    old = replica_set("web-o", image="web:0", replicas=2, status={"replicas": 2, "availableReplicas": 2})
    status = status_after(wanted, set_with(1, replicas=2), old=[old])
    counts = (status.replicas, status.updatedReplicas, status.availableReplicas, status.unavailableReplicas)
    assert counts == (4, 2, 3, 2)
