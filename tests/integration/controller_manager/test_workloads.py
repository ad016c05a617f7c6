"""Deployments, ReplicaSets and ReplicationControllers end to end."""

from __future__ import annotations

from typing import Any

from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.core_v1 import Endpoints, Event, Pod, ReplicationController, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from common.client import Client, PatchType
from tests.integration.controller_manager.conftest import Kubelets, Manager, eventually

REVISION = "deployment.kubernetes.io/revision"


def web(namespace: str, replicas: int = 3, image: str = "web:1", **spec: Any) -> Deployment:
    return Deployment.from_dict(
        {
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": image}]},
                },
                **spec,
            },
        }
    )


async def patch(client: Client, namespace: str, spec: dict[str, Any]) -> Deployment:
    return await client.patch(Deployment, "web", {"spec": spec}, namespace, patch_type=PatchType.STRATEGIC)


def image(name: str) -> dict[str, Any]:
    return {"template": {"spec": {"containers": [{"name": "web", "image": name}]}}}


async def done(client: Client, namespace: str) -> Deployment | None:
    """The Deployment when `kubectl rollout status` would say that it is done."""
    found = await client.get(Deployment, "web", namespace)
    assert found.spec is not None and found.metadata is not None
    if found.status is None:
        return None
    status, want = found.status, found.spec.replicas or 0
    counts = (status.replicas or 0, status.updatedReplicas or 0, status.availableReplicas or 0)
    complete = counts == (want, want, want) and status.observedGeneration == found.metadata.generation
    return found if complete else None


def reasons(found: Deployment) -> dict[str, tuple[str, str | None]]:
    """Status and reason of each condition."""
    conditions = (found.status and found.status.conditions) or ()
    return {c.type: (c.status, c.reason) for c in conditions}


async def replica_sets(client: Client, namespace: str) -> dict[str, ReplicaSet]:
    """ReplicaSets by image."""
    sets = await client.list(ReplicaSet, namespace)
    return {each.spec.template.spec.containers[0].image: each for each in sets.items}


async def pods(client: Client, namespace: str) -> list[Pod]:
    return (await client.list(Pod, namespace)).items


async def test_rollout_undo_scale(client: Client, namespace: str, kubelets: Kubelets) -> None:
    await client.create(web(namespace))
    made = await eventually(lambda: done(client, namespace))
    assert made.metadata.annotations[REVISION] == "1"
    assert reasons(made) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }

    await patch(client, namespace, image("web:2"))

    async def rolled() -> bool:
        sets = await replica_sets(client, namespace)
        return "web:2" in sets and sets["web:1"].spec.replicas == 0 and await done(client, namespace) is not None

    await eventually(rolled)
    sets = await replica_sets(client, namespace)
    revisions = {name: each.metadata.annotations[REVISION] for name, each in sets.items()}
    assert revisions == {"web:1": "1", "web:2": "2"}

    await patch(client, namespace, image("web:1"))  # what `kubectl rollout undo` does

    async def undone() -> bool:
        sets = await replica_sets(client, namespace)
        return sets["web:2"].spec.replicas == 0 and await done(client, namespace) is not None

    await eventually(undone)
    back = (await replica_sets(client, namespace))["web:1"].metadata.annotations
    assert (back[REVISION], back["deployment.kubernetes.io/revision-history"]) == ("3", "1")

    await patch(client, namespace, {"replicas": 6})
    await eventually(lambda: done(client, namespace))
    assert len(await pods(client, namespace)) == 6
    text = f"Scaled up replica set {(await replica_sets(client, namespace))['web:1'].metadata.name} from 0 to 3"

    async def told() -> bool:
        return any(event.message == text for event in (await client.list(Event, namespace)).items)

    await eventually(told)


async def test_a_rollout_keeps_its_bounds(client: Client, namespace: str, kubelets: Kubelets) -> None:
    await client.create(web(namespace, 4, strategy={"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}))
    await eventually(lambda: done(client, namespace))
    least, most = 99, 0

    def count(*_: Any) -> None:
        nonlocal least, most
        mine = [p for p in kubelets.pods.store.by_index("namespace", namespace) if not p.metadata.deletionTimestamp]
        ready = [p for p in mine for c in (p.status.conditions or ()) if c.type == "Ready" and c.status == "True"]
        least, most = min(least, len(ready)), max(most, len(mine))

    kubelets.pods.add_handler(on_update=count, on_delete=count)
    await patch(client, namespace, image("web:2"))

    async def rolled() -> bool:
        return len(await replica_sets(client, namespace)) == 2 and await done(client, namespace) is not None

    await eventually(rolled)
    assert least >= 4
    assert most <= 5


async def test_recreate(client: Client, namespace: str, kubelets: Kubelets) -> None:
    await client.create(web(namespace, 2, strategy={"type": "Recreate"}))
    await eventually(lambda: done(client, namespace))
    together = False

    def look(*_: Any) -> None:
        nonlocal together
        images = {p.spec.containers[0].image for p in kubelets.pods.store.by_index("namespace", namespace)}
        together = together or len(images) > 1

    kubelets.pods.add_handler(on_add=look)
    await patch(client, namespace, image("web:2"))

    async def rolled() -> bool:
        found = await pods(client, namespace)
        return len(found) == 2 and all(p.spec.containers[0].image == "web:2" for p in found)

    await eventually(rolled)
    assert not together


async def test_pause_and_resume(client: Client, namespace: str, kubelets: Kubelets) -> None:
    await client.create(web(namespace))
    await eventually(lambda: done(client, namespace))
    await patch(client, namespace, {"paused": True, **image("web:2")})

    async def paused() -> bool:
        found = await client.get(Deployment, "web", namespace)
        seen = found.status is not None and found.status.observedGeneration == found.metadata.generation
        return seen and reasons(found)["Progressing"] == ("Unknown", "DeploymentPaused")

    await eventually(paused)
    assert set(await replica_sets(client, namespace)) == {"web:1"}
    await patch(client, namespace, {"paused": None})

    async def rolled() -> bool:
        return "web:2" in await replica_sets(client, namespace) and await done(client, namespace) is not None

    await eventually(rolled)


async def test_history_is_limited(client: Client, namespace: str, kubelets: Kubelets) -> None:
    await client.create(web(namespace, 1, revisionHistoryLimit=1))
    await eventually(lambda: done(client, namespace))
    for name in ("web:2", "web:3"):
        await patch(client, namespace, image(name))

        async def rolled(name: str = name) -> bool:
            return name in await replica_sets(client, namespace) and await done(client, namespace) is not None

        await eventually(rolled)

    async def cleaned() -> bool:
        return set(await replica_sets(client, namespace)) == {"web:2", "web:3"}

    await eventually(cleaned)


async def test_a_rollout_without_progress_times_out(client: Client, namespace: str, kubelets: Kubelets) -> None:
    kubelets.may_be_ready = lambda pod: False
    await client.create(web(namespace, 1, progressDeadlineSeconds=1))

    async def timed_out() -> bool:
        found = await client.get(Deployment, "web", namespace)
        return reasons(found).get("Progressing") == ("False", "ProgressDeadlineExceeded")

    await eventually(timed_out)


async def test_a_deleted_pod_comes_back_and_a_relabelled_one_is_released(
    client: Client, namespace: str, kubelets: Kubelets
) -> None:
    await client.create(web(namespace, 2))
    await eventually(lambda: done(client, namespace))
    first, second = await pods(client, namespace)
    await client.delete(Pod, first.metadata.name, namespace)
    await client.patch(Pod, second.metadata.name, {"metadata": {"labels": {"app": "other"}}}, namespace)

    async def replaced() -> bool:
        found = await pods(client, namespace)
        active = [p for p in found if p.metadata.labels["app"] == "web" and not p.metadata.deletionTimestamp]
        freed = [p for p in found if p.metadata.name == second.metadata.name and not p.metadata.ownerReferences]
        return len(active) == 2 and len(freed) == 1

    await eventually(replaced)


async def test_replication_controller(client: Client, namespace: str, kubelets: Kubelets) -> None:
    spec = web(namespace).spec.template.to_dict()
    body = {"metadata": {"name": "rc", "namespace": namespace}, "spec": {"replicas": 2, "template": spec}}
    body["spec"]["selector"] = {"app": "web"}
    await client.create(ReplicationController.from_dict(body))

    async def ready() -> bool:
        found = await client.get(ReplicationController, "rc", namespace)
        return found.status is not None and (found.status.replicas, found.status.readyReplicas) == (2, 2)

    await eventually(ready)


async def test_endpoints_follow_pods(client: Client, namespace: str, kubelets: Kubelets) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    service = {
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"app": "web"}, "ports": ports},
    }
    await client.create(Service.from_dict(service))
    await client.create(web(namespace, 3))

    async def addresses() -> tuple[set[str], set[str]]:
        slices = await client.list(EndpointSlice, namespace, label_selector="kubernetes.io/service-name=web")
        legacy = await client.get(Endpoints, "web", namespace)
        new = {e.addresses[0] for s in slices.items for e in s.endpoints if e.conditions.ready}
        return new, {a.ip for s in legacy.subsets or () for a in s.addresses or ()}

    async def follow() -> bool:
        alive = [p for p in await pods(client, namespace) if not p.metadata.deletionTimestamp]
        ips = {p.status.podIP for p in alive if p.status and p.status.podIP}
        return await addresses() == (ips, ips) and len(ips) == 3

    await eventually(follow)
    victim = (await pods(client, namespace))[0]
    await client.delete(Pod, victim.metadata.name, namespace)
    await eventually(follow)
    await client.delete(Service, "web", namespace)

    async def gone() -> bool:
        slices = await client.list(EndpointSlice, namespace, label_selector="kubernetes.io/service-name=web")
        return not slices.items and not (await client.list(Endpoints, namespace)).items

    await eventually(gone)


async def test_a_killed_manager_goes_on_where_it_was(
    client: Client, namespace: str, kubelets: Kubelets, manager: Manager
) -> None:
    """Killed again and again in the middle of rollouts, it ends them all the same."""
    await client.create(web(namespace, 5))
    await eventually(lambda: done(client, namespace))
    for number in range(2, 5):
        await patch(client, namespace, image(f"web:{number}"))

        async def begun(number: int = number) -> bool:
            return f"web:{number}" in await replica_sets(client, namespace)

        await eventually(begun)
        manager.kill()
        manager.start()

    async def ended() -> bool:
        return await done(client, namespace) is not None

    await eventually(ended)
    found = [p for p in await pods(client, namespace) if not p.metadata.deletionTimestamp]
    assert [p.spec.containers[0].image for p in found] == ["web:4"] * 5
