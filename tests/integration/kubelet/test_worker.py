"""Pods' lives on a real Docker: what starts, restarts, ends and is said about it."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import docker
import pytest
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret, Service

from kubelet.cri import RuntimeUnavailable
from kubelet.pods.worker import PodWorker
from kubelet.types import MountedVolume
from kubelet.volumes.subpath import clean_up
from tests.integration.kubelet.conftest import Node, app, eventually


def deleting(pod: Pod, grace: int) -> Pod:
    body = pod.to_dict()
    body["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}
    return Pod.from_dict(body)


async def running(worker: PodWorker) -> None:
    await eventually(lambda: worker.status is not None and worker.status.phase == "Running" and app(worker).ready)


async def logs(node: Node, worker: PodWorker, name: str = "app") -> str:
    latest = worker.observed.latest(name)
    assert latest is not None
    return "".join([data.decode() async for _, data in node.runtime.logs(latest.id)])


def names(node: Node) -> set[str]:
    found = docker.APIClient().containers(filters={"label": f"coxswain.io/node={node.name}"})
    return {each["Names"][0] for each in found}


async def test_a_pod_runs_and_says_so(node: Node) -> None:
    pod = node.pod()
    worker = node.run(pod)
    await running(worker)
    uid = worker.identity.uid
    assert names(node) == {f"/k8s_POD_web_default_{uid}_0", f"/k8s_app_web_default_{uid}_0"}
    status = worker.status
    assert status is not None
    assert {c.type: c.status for c in status.conditions or ()} == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
        "PodScheduled": "True",
    }
    assert (status.podIP, status.hostIP, status.qosClass) == ("10.99.0.2", "192.0.2.1", "BestEffort")
    assert app(worker).restartCount == 0
    assert node.recorder.reasons() == ["Pulled", "Created", "Started"]
    await eventually(lambda: node.client.patches and node.client.patches[-1]["status"].get("phase") == "Running")


async def test_a_killed_container_restarts_at_once_and_then_backs_off(node: Node) -> None:
    worker = node.run(node.pod())
    await running(worker)
    first = worker.observed.latest("app")
    assert first is not None
    docker.APIClient().kill(first.id)
    await eventually(lambda: app(worker).restartCount == 1 and app(worker).ready, 5)
    last = app(worker).lastState
    assert last is not None and last.terminated is not None and last.terminated.exitCode == 137
    second = worker.observed.latest("app")
    assert second is not None
    docker.APIClient().kill(second.id)
    await eventually(lambda: app(worker).state.waiting is not None)
    waiting = app(worker).state.waiting
    assert waiting.reason == "CrashLoopBackOff"
    assert waiting.message == f"back-off 10s restarting failed container=app pod={worker.identity}"
    assert worker.status is not None and worker.status.phase == "Running"
    message = f"Back-off restarting failed container app in pod {worker.identity}"
    assert ("Warning", "BackOff", message) in node.recorder.events


async def test_a_dead_sandbox_is_replaced(node: Node) -> None:
    worker = node.run(node.pod())
    await running(worker)
    sandbox = worker.observed.sandbox
    assert sandbox is not None
    docker.APIClient().kill(sandbox.id)
    uid = worker.identity.uid
    await eventually(
        lambda: names(node) == {f"/k8s_POD_web_default_{uid}_1", f"/k8s_app_web_default_{uid}_1"} and app(worker).ready
    )
    message = "Pod sandbox changed, it will be killed and re-created."
    assert ("Normal", "SandboxChanged", message) in node.recorder.events


async def test_deletion_is_graceful_and_leaves_nothing(node: Node) -> None:
    pod = node.pod()
    worker = node.run(pod)
    await running(worker)
    worker.update(deleting(pod, 5))
    await asyncio.wait_for(node.tasks[worker.identity.uid], 10)
    assert worker.status is not None and worker.status.phase == "Succeeded"
    assert app(worker).state.terminated.exitCode == 0
    assert node.client.deleted == [worker.identity.uid]
    assert ("Normal", "Killing", "Stopping container app") in node.recorder.events
    assert await node.runtime.list_containers() == []
    assert node.volumes.unmounted == [worker.identity.uid] and node.network.pods == {}
    assert not (Path(node.config.root_dir) / "pods" / worker.identity.uid).exists()


async def test_a_container_that_ignores_sigterm_is_killed_and_the_grace_period_can_be_shortened(node: Node) -> None:
    pod = node.pod(command="trap '' TERM; while true; do sleep 1; done", terminationGracePeriodSeconds=600)
    worker = node.run(pod)
    await running(worker)
    worker.update(deleting(pod, 600))
    await eventually(lambda: "Killing" in node.recorder.reasons())
    worker.update(deleting(pod, 1))
    await asyncio.wait_for(node.tasks[worker.identity.uid], 15)
    assert app(worker).state.terminated.exitCode == 137
    assert worker.status is not None and worker.status.phase == "Failed"


async def test_a_pod_removed_from_the_api_server_ends_without_it(node: Node) -> None:
    pod = node.pod()
    worker = node.run(pod)
    await running(worker)
    node.client.away = True
    worker.removed(deleting(pod, 0))
    await asyncio.wait_for(node.tasks[worker.identity.uid], 10)
    assert await node.runtime.list_containers() == []
    assert node.client.deleted == []


async def test_a_restarted_kubelet_adopts_what_runs(node: Node) -> None:
    pod = node.pod()
    worker = node.run(pod)
    await running(worker)
    before = {each.id for each in await node.runtime.list_containers()}
    pod.status = worker.status
    await node.crash()
    adopted = node.run(pod)
    await running(adopted)
    assert {each.id for each in await node.runtime.list_containers()} == before
    assert app(adopted).restartCount == 0


async def test_the_api_server_may_be_away_while_a_pod_ends(node: Node) -> None:
    pod = node.pod()
    worker = node.run(pod)
    await running(worker)
    node.client.away = True
    worker.update(deleting(pod, 1))
    await eventually(lambda: not names(node))
    assert node.client.deleted == []
    node.client.away = False
    await asyncio.wait_for(node.tasks[worker.identity.uid], 20)
    assert node.client.deleted == [worker.identity.uid]


async def test_init_containers_run_in_order_before_the_rest(node: Node) -> None:
    pod = node.pod(
        command="echo app; sleep 1000",
        initContainers=[
            {"name": "one", "command": ["sh", "-c", "exit 0"]},
            {"name": "two", "command": ["sh", "-c", "exit 0"]},
        ],
    )
    worker = node.run(pod)
    await running(worker)
    ended = [worker.observed.latest(name) for name in ("one", "two")]
    began = worker.observed.latest("app")
    assert ended[0] is not None and ended[1] is not None and began is not None
    assert ended[0].finished <= ended[1].started and ended[1].finished <= began.started  # type: ignore[operator]
    assert app(worker, "one").ready and app(worker, "two").state.terminated.reason == "Completed"


async def test_a_sidecar_starts_first_and_runs_on(node: Node) -> None:
    pod = node.pod(
        command="sleep 1000",
        initContainers=[{"name": "side", "restartPolicy": "Always", "command": ["sleep", "1000"]}],
    )
    worker = node.run(pod)
    await running(worker)
    assert app(worker, "side").ready and app(worker, "side").started


@pytest.mark.parametrize(
    ("policy", "code", "phase"), [("Never", 0, "Succeeded"), ("Never", 3, "Failed"), ("OnFailure", 0, "Succeeded")]
)
async def test_a_pod_that_is_done(node: Node, policy: str, code: int, phase: str) -> None:
    command = f"echo done > /dev/termination-log; exit {code}"
    worker = node.run(node.pod(command=command, restartPolicy=policy))
    await eventually(lambda: worker.status is not None and worker.status.phase == phase and not names(node))
    terminated = app(worker).state.terminated
    assert (terminated.exitCode, terminated.message) == (code, "done\n")
    assert app(worker).restartCount == 0


async def test_a_failing_container_of_policy_on_failure_restarts(node: Node) -> None:
    worker = node.run(node.pod(command="exit 1", restartPolicy="OnFailure"))
    await eventually(lambda: app(worker).restartCount == 1)


async def test_environment_and_expansion_reach_the_process(node: Node) -> None:
    node.objects.config_maps["conf"] = ConfigMap(data={"colour": "blue"})
    node.objects.secrets["key"] = Secret(data={"token": base64.b64encode(b"s3cret").decode()})
    container = {
        "name": "app",
        "command": ["sh", "-c", "env; echo args=$(COLOUR) $$(COLOUR); sleep 1000"],
        "env": [
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "colour"}}},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "BOTH", "value": "$(COLOUR)-$(POD_IP)-$(NONE)"},
        ],
    }
    worker = node.run(node.pod(containers=[container]))
    await running(worker)
    text = await eventually(lambda: _complete(node, worker))
    for line in ("COLOUR=blue", "TOKEN=s3cret", "POD_IP=10.99.0.2", "BOTH=blue-10.99.0.2-$(NONE)", "HOSTNAME=web"):
        assert line in text.splitlines()
    assert "args=blue" in text


async def _complete(node: Node, worker: PodWorker) -> str:
    text = await logs(node, worker)
    return text if "args=" in text else ""


async def test_a_missing_config_map_is_a_config_error_until_it_is_there(node: Node) -> None:
    reference = {"configMapKeyRef": {"name": "later", "key": "k"}}
    worker = node.run(node.pod(containers=[{"name": "app", "env": [{"name": "A", "valueFrom": reference}]}]))
    await eventually(lambda: app(worker).state and app(worker).state.waiting.reason == "CreateContainerConfigError")
    assert app(worker).state.waiting.message == 'configmap "later" not found'
    assert ("Warning", "Failed", 'Error: configmap "later" not found') in node.recorder.events
    node.objects.config_maps["later"] = ConfigMap(data={"k": "v"})
    worker.wake()
    await running(worker)


async def test_an_image_that_is_never_pulled(node: Node) -> None:
    container = {"name": "app", "image": "cox-test-nowhere:v0", "imagePullPolicy": "Never"}
    worker = node.run(node.pod(containers=[container]))
    await eventually(lambda: app(worker).state and app(worker).state.waiting.reason == "ErrImageNeverPull")
    message = 'Container image "cox-test-nowhere:v0" is not present with pull policy of Never'
    assert app(worker).state.waiting.message == message


async def test_an_image_that_cannot_be_pulled(node: Node) -> None:
    container = {"name": "app", "image": "127.0.0.1:1/nothing:v0"}
    worker = node.run(node.pod(containers=[container]))
    await eventually(lambda: app(worker).state and app(worker).state.waiting.reason == "ErrImagePull")
    worker.wake()
    await eventually(lambda: app(worker).state.waiting.reason == "ImagePullBackOff")
    assert app(worker).state.waiting.message.startswith('Back-off pulling image "127.0.0.1:1/nothing:v0": ErrImagePull')
    for reason, text in (
        ("Pulling", 'Pulling image "127.0.0.1:1/nothing:v0"'),
        ("Failed", "Error: ErrImagePull"),
        ("BackOff", 'Back-off pulling image "127.0.0.1:1/nothing:v0"'),
        ("Failed", "Error: ImagePullBackOff"),
    ):
        assert any(event[1:] == (reason, text) for event in node.recorder.events)
    assert worker.status is not None and worker.status.phase == "Pending"


async def test_a_command_that_does_not_exist(node: Node) -> None:
    worker = node.run(node.pod(containers=[{"name": "app", "command": ["/no/such"]}]))
    await eventually(lambda: app(worker).state and app(worker).state.waiting.reason == "RunContainerError")
    assert app(worker).lastState.terminated.reason == "StartError"


async def test_a_failed_liveness_probe_restarts_the_container(node: Node) -> None:
    probe = {"exec": {"command": ["sh", "-c", "exit 1"]}, "periodSeconds": 1, "failureThreshold": 1}
    worker = node.run(node.pod(containers=[{"name": "app", "livenessProbe": probe}]))
    await eventually(lambda: app(worker).restartCount == 1)
    message = "Container app failed liveness probe, will be restarted"
    assert ("Normal", "Killing", message) in node.recorder.events
    assert "Unhealthy" in node.recorder.reasons()


async def test_readiness_follows_its_probe(node: Node) -> None:
    probe = {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    worker = node.run(node.pod(containers=[{"name": "app", "readinessProbe": probe}]))
    await eventually(lambda: app(worker).started)
    assert not app(worker).ready
    latest = worker.observed.latest("app")
    assert latest is not None
    assert (await node.runtime.exec_sync(latest.id, ["touch", "/tmp/ready"], 5)).exit_code == 0
    await eventually(lambda: app(worker).ready)


async def test_hooks_run_around_a_containers_life(node: Node, tmp_path: Path) -> None:
    node.volumes.paths["shared"] = MountedVolume(str(tmp_path))
    lifecycle = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo up > /shared/log"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo down >> /shared/log"]}},
    }
    container = {"name": "app", "lifecycle": lifecycle, "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    pod = node.pod(containers=[container])
    worker = node.run(pod)
    await running(worker)
    assert (tmp_path / "log").read_text() == "up\n"
    worker.update(deleting(pod, 5))
    await asyncio.wait_for(node.tasks[worker.identity.uid], 15)
    assert (tmp_path / "log").read_text() == "up\ndown\n"


async def test_limits_are_dockers(node: Node) -> None:
    resources = {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}
    worker = node.run(node.pod(containers=[{"name": "app", "resources": resources}]))
    await running(worker)
    latest = worker.observed.latest("app")
    assert latest is not None
    host = docker.APIClient().inspect_container(latest.id)["HostConfig"]
    assert (host["CpuShares"], host["CpuQuota"], host["CpuPeriod"], host["Memory"]) == (256, 50000, 100000, 64 << 20)
    assert worker.status is not None and worker.status.qosClass == "Burstable"


async def test_a_deadline_ends_the_pod(node: Node) -> None:
    worker = node.run(node.pod(activeDeadlineSeconds=2, terminationGracePeriodSeconds=1))
    await eventually(lambda: worker.status is not None and worker.status.phase == "Failed" and not names(node))
    assert worker.status is not None and worker.status.reason == "DeadlineExceeded"


async def test_a_sandbox_without_network_gets_it_before_a_container_starts(node: Node) -> None:
    """Docker was away, or the kubelet was killed, between the start of the sandbox and its network."""
    connect, failures = node.runtime.container_pid, [RuntimeUnavailable("cannot connect to the Docker daemon")]

    async def away_once(container_id: str) -> int:
        if failures:
            raise failures.pop()
        return await connect(container_id)

    node.runtime.container_pid = away_once  # type: ignore[method-assign]
    worker = node.run(node.pod())
    await running(worker)
    assert worker.status is not None and worker.status.podIP == "10.99.0.2"
    assert worker.observed.sandbox is not None and worker.observed.sandbox.attempt == 0, "the sandbox is the same"


async def test_no_container_starts_before_the_services_are_known(node: Node) -> None:
    """A kubelet that has just started would leave the API server's address out of the environment."""
    ports = [{"name": "https", "port": 443}]
    metadata = {"name": "kubernetes", "namespace": "default"}
    node.services.append(Service.from_dict({"metadata": metadata, "spec": {"clusterIP": "10.96.0.1", "ports": ports}}))
    node.services_read.clear()
    worker = node.run(node.pod(command="echo $KUBERNETES_SERVICE_HOST; sleep 60"))
    await eventually(lambda: worker.observed.sandbox is not None or worker.status is not None)
    asyncio.get_running_loop().call_later(1, node.services_read.set)
    await running(worker)

    async def printed() -> bool:
        return await logs(node, worker) == "10.96.0.1\n"

    await eventually(printed, 5)


async def test_a_sub_path_that_leads_out_keeps_its_container_from_starting(node: Node, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "out").symlink_to("/etc")
    node.volumes.paths["data"] = MountedVolume(str(volume))
    mounts = [{"name": "data", "mountPath": "/data", "subPath": "out"}]
    pod = node.pod(containers=[{"name": "app", "volumeMounts": mounts}], volumes=[{"name": "data", "emptyDir": {}}])
    worker = node.run(pod)
    await eventually(lambda: app(worker).state is not None and app(worker).state.waiting.reason != "ContainerCreating")
    waiting = app(worker).state.waiting
    text = 'failed to prepare subPath for volumeMount "data" of container "app"'
    assert (waiting.reason, waiting.message) == ("CreateContainerConfigError", text)
    assert ("Warning", "Failed", f"Error: {text}") in node.recorder.events


async def test_a_container_sees_its_sub_path(node: Node, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    (volume / "part").mkdir(parents=True)
    (volume / "part" / "file").write_text("inside")
    node.volumes.paths["data"] = MountedVolume(str(volume))
    mounts = [{"name": "data", "mountPath": "/data", "subPath": "part"}]
    pod = node.pod(containers=[{"name": "app", "volumeMounts": mounts}], volumes=[{"name": "data", "emptyDir": {}}])
    worker = node.run(pod)
    await running(worker)
    latest = worker.observed.latest("app")
    assert latest is not None
    result = await node.runtime.exec_sync(latest.id, ["cat", "/data/file"], 10)
    assert result.stdout == b"inside"
    await asyncio.to_thread(clean_up, Path(node.config.root_dir) / "pods" / worker.identity.uid)
