"""Container and sandbox configurations, Docker's JSON, back-off, images: pure functions."""

from __future__ import annotations

import base64
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lightkube.models.core_v1 import PodSpec
from lightkube.resources.core_v1 import Pod

from kubelet.cri import ContainerState, Device, ImageStatus
from kubelet.images import ImageError, Reference, format_duration, parse_reference
from kubelet.keyring import credentials
from kubelet.pods.backoff import Backoff
from kubelet.pods.containers import Inputs, PodFiles, container_config, oom_score, port_mappings, sandbox_config
from kubelet.pods.environment import ConfigError
from kubelet.pods.files import DNSConfig, dns_config, hosts_file, parse_resolv_conf
from kubelet.runtime import inspect
from kubelet.runtime.spec import container_body, sandbox_body
from kubelet.types import KubeletConfig, MountedVolume, SubPath

CONFIG = KubeletConfig("n1", ("192.0.2.1",), cluster_dns=("10.96.0.10",), capacity={"cpu": 2000, "memory": 4 << 30})
IMAGE = ImageStatus("sha256:1", ("i:1",), (), 1)


def pod(container: dict[str, Any] | None = None, **spec: Any) -> Pod:
    meta = {"name": "web", "namespace": "ns", "uid": "u"}
    body = {"containers": [{"name": "c", "image": "i:1", **(container or {})}], **spec}
    return Pod.from_dict({"metadata": meta, "spec": body})


def config(container: dict[str, Any], image: ImageStatus = IMAGE, **inputs: Any) -> Any:
    spec = inputs.pop("spec", {})
    made = pod(container, **spec)
    assert made.spec is not None
    return container_config(made, made.spec.containers[0], CONFIG, Inputs(image, 0, **inputs))


def test_command_and_args_are_expanded() -> None:
    made = config({"command": ["run", "$(A)"], "args": ["$$(A)"]}, env={"A": "1"})
    assert (made.command, made.args) == (("run", "1"), ("$(A)",))


def test_resources_in_the_kernels_terms() -> None:
    made = config({"resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"memory": "1Gi"}}})
    found = made.resources
    assert (found.cpu_shares, found.cpu_period, found.cpu_quota) == (1536, 100_000, 150_000)
    assert found.memory_bytes == 1 << 30
    none = config({}).resources
    assert (none.cpu_shares, none.cpu_quota, none.memory_bytes, none.oom_score_adj) == (2, 0, 0, 1000)


@pytest.mark.parametrize(("request_bytes", "score"), [(0, 999), (1 << 30, 750), (4 << 30, 3)])
def test_oom_scores_of_burstable_pods(request_bytes: int, score: int) -> None:
    spec = PodSpec.from_dict({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1m"}}}]})
    assert oom_score(spec, request_bytes, 4 << 30) == score


def test_a_containers_security_context_wins_over_its_pods() -> None:
    own = {"runAsUser": 5, "readOnlyRootFilesystem": True, "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}
    of_pod = {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4]}
    made = config({"securityContext": own}, spec={"securityContext": of_pod}).security
    assert (made.run_as_user, made.run_as_group, made.supplemental_groups) == (5, 2, (3, 4))
    assert made.read_only_root_filesystem and made.add_capabilities == ("NET_ADMIN",)


@pytest.mark.parametrize(
    ("user", "run_as", "error"),
    [
        ("", None, "image will run as root"),
        ("0", None, "image will run as root"),
        ("www", None, "non-numeric user"),
        ("5", 0, "runAsUser breaks non-root policy"),
        ("5", None, ""),
        ("", 7, ""),
    ],
)
def test_run_as_non_root(user: str, run_as: int | None, error: str) -> None:
    context: dict[str, Any] = {"runAsNonRoot": True, **({} if run_as is None else {"runAsUser": run_as})}
    image = ImageStatus("sha256:1", (), (), 1, user)
    if error:
        with pytest.raises(ConfigError, match=error):
            config({"securityContext": context}, image)
    else:
        assert config({"securityContext": context}, image).name == "c"


def test_mounts_leave_the_kubelets_files_to_volumes_that_want_their_place() -> None:
    mounts = [
        {"name": "v", "mountPath": "/etc/hosts", "subPath": "h"},
        {"name": "v", "mountPath": "data", "readOnly": True, "mountPropagation": "HostToContainer"},
    ]
    files = PodFiles("/p/etc-hosts", "/p/resolv.conf", "/p/log")
    made = config({"volumeMounts": mounts}, volumes={"v": MountedVolume("/vol")}, files=files)
    assert [(m.host_path, m.container_path, m.read_only, m.propagation) for m in made.mounts] == [
        ("/vol/h", "/etc/hosts", False, ""),
        ("/vol", "/data", True, "rslave"),
        ("/p/resolv.conf", "/etc/resolv.conf", False, ""),
        ("/p/log", "/dev/termination-log", False, ""),
    ]


def test_a_volume_that_is_read_only_makes_its_mounts_so_and_devices_have_their_rights() -> None:
    volumes = {"v": MountedVolume("/vol", read_only=True), "b": MountedVolume("/dev/loop7")}
    devices = [{"name": "b", "devicePath": "/dev/x"}, {"name": "v", "devicePath": "/dev/y"}]
    made = config({"volumeMounts": [{"name": "v", "mountPath": "/d"}], "volumeDevices": devices}, volumes=volumes)
    assert made.mounts[0].read_only
    assert made.devices == (Device("/dev/loop7", "/dev/x"), Device("/vol", "/dev/y", "r"))


@pytest.mark.parametrize(
    ("mount", "problem"),
    [
        ({"subPathExpr": "$(NONE)"}, 'missing value for "NONE"'),
        ({"subPathExpr": "a/$(UP)"}, "unable to provision SubPath `a/..`: must not contain '..'"),
        ({"subPathExpr": "$(ROOT)"}, "error SubPath `/` must not be an absolute path"),
        ({"readOnly": True, "recursiveReadOnly": "Enabled"}, "is not supported by the runtime"),
        ({"recursiveReadOnly": "IfPossible"}, "is not read-only"),
        ({"recursiveReadOnly": "Enabled", "readOnly": True, "mountPropagation": "HostToContainer"}, "not compatible"),
    ],
)
def test_mounts_that_are_refused(mount: dict[str, Any], problem: str) -> None:
    wanted = {"volumeMounts": [{"name": "v", "mountPath": "/d", **mount}]}
    with pytest.raises(ConfigError, match=problem):
        config(wanted, volumes={"v": MountedVolume("/vol")}, env={"UP": "..", "ROOT": "/"})
    del wanted["volumeMounts"][0][next(iter(mount))]
    wanted["volumeMounts"][0].pop("recursiveReadOnly", None)
    assert config(wanted, volumes={"v": MountedVolume("/vol")}).mounts


@pytest.mark.parametrize(("mode", "recursive"), [("Enabled", True), ("IfPossible", True), ("Disabled", False)])
def test_read_only_with_all_that_is_mounted_within_where_the_kernel_can(mode: str, recursive: bool) -> None:
    asked: list[SubPath] = []

    def bind(wanted: SubPath) -> str:
        asked.append(wanted)
        return "/bound"

    made = pod({"volumeMounts": [{"name": "v", "mountPath": "/d", "readOnly": True, "recursiveReadOnly": mode}]})
    assert made.spec is not None
    inputs = Inputs(IMAGE, 0, volumes={"v": MountedVolume("/vol")}, bind_sub_path=bind)
    able = dataclasses.replace(CONFIG, recursive_read_only=True)
    (mount,) = container_config(made, made.spec.containers[0], able, inputs).mounts
    assert (mount.host_path, mount.read_only) == ("/bound" if recursive else "/vol", True)
    assert asked == ([SubPath("u", "v", "c", 0, "/vol", "", True)] if recursive else [])


def test_docker_is_told_the_same() -> None:
    made = config({"command": ["a"], "args": ["b"], "securityContext": {"runAsUser": 1, "runAsGroup": 2}})
    body = container_body("sandbox", made, {"node": "n1"})
    assert (body["Entrypoint"], body["Cmd"], body["User"], body["Image"]) == (["a"], ["b"], "1:2", "sha256:1")
    assert body["HostConfig"]["NetworkMode"] == body["HostConfig"]["IpcMode"] == "container:sandbox"
    assert body["Labels"]["io.kubernetes.pod.uid"] == "u" and body["Labels"]["node"] == "n1"
    assert "Cmd" not in container_body("sandbox", config({}), {})


def test_sandboxes_on_their_own_and_on_the_hosts_network() -> None:
    own = sandbox_body(sandbox_config(pod(), CONFIG, 0), {})
    assert (own["HostConfig"]["NetworkMode"], own["NetworkDisabled"], own["Hostname"]) == ("none", True, "web")
    host = sandbox_body(sandbox_config(pod(hostNetwork=True), CONFIG, 0), {})
    assert (host["HostConfig"]["NetworkMode"], host["NetworkDisabled"], host["Hostname"]) == ("host", False, "")


def test_what_docker_says_of_a_container() -> None:
    raw = {
        "Id": "x",
        "Created": "2026-01-01T00:00:00.123456789Z",
        "Image": "sha256:1",
        "Config": {"Image": "i:1", "Labels": {"io.kubernetes.container.restartCount": "4"}},
        "State": {"Status": "exited", "ExitCode": 3, "FinishedAt": "2026-01-01T00:00:02Z", "StartedAt": None},
    }
    found = inspect.container(raw)
    assert (found.state, found.exit_code, found.attempt) == (ContainerState.EXITED, 3, 4)
    assert found.created == datetime(2026, 1, 1, microsecond=123456, tzinfo=UTC)
    raw["State"] = {"Status": "created", "ExitCode": 127, "Error": "no such file", "FinishedAt": "0001-01-01T00:00:00Z"}
    failed = inspect.container(raw)
    assert failed.state is ContainerState.EXITED and failed.started is None and failed.finished is not None


# -- back-off --------------------------------------------------------------------------------------------------------


def test_back_off_doubles_to_its_limit_and_is_forgotten() -> None:
    clock = [datetime(2026, 1, 1, tzinfo=UTC)]
    backoff = Backoff(clock=lambda: clock[0])
    delays = []
    assert not backoff.remaining_since("k", clock[0])
    for _ in range(7):
        backoff.next("k", clock[0])
        delays.append(backoff.delay("k").total_seconds())
        assert backoff.remaining_since("k", clock[0]) == backoff.delay("k")
        clock[0] += backoff.delay("k")
        assert not backoff.remaining_since("k", clock[0] - backoff.delay("k"))
    assert delays == [10, 20, 40, 80, 160, 300, 300]
    clock[0] += timedelta(minutes=11)
    assert not backoff.remaining_since("k", clock[0])
    backoff.next("k", clock[0])
    assert backoff.delay("k") == timedelta(seconds=10)


# -- images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nginx", Reference("docker.io", "nginx", "latest", "")),
        ("nginx:1.2", Reference("docker.io", "nginx", "1.2", "")),
        ("team/app", Reference("docker.io", "team/app", "latest", "")),
        ("localhost/app:v1", Reference("localhost", "app", "v1", "")),
        ("reg.example:5000/a/b:v1", Reference("reg.example:5000", "a/b", "v1", "")),
        (f"a@sha256:{'0' * 64}", Reference("docker.io", "a", "", f"sha256:{'0' * 64}")),
    ],
)
def test_references(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    ("text", "why"), [("BAD", "repository name must be lowercase"), ("a b", "invalid"), ("", "invalid")]
)
def test_references_that_are_none(text: str, why: str) -> None:
    with pytest.raises(ImageError, match=why) as caught:
        parse_reference(text)
    assert caught.value.reason == "InvalidImageName"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0424, "42ms"), (1, "1s"), (1.234, "1.234s"), (62.5, "1m2.5s"), (120, "2m0s"), (3600, "1h0m0s")],
)
def test_durations_are_gos(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_credentials_match_hosts_ports_and_paths() -> None:
    def config(**entries: str) -> bytes:
        words = {server: base64.b64encode(f"{user}:pass:word".encode()).decode() for server, user in entries.items()}
        return json.dumps({"auths": {server: {"auth": each} for server, each in words.items()}}).encode()

    hosts = {
        "*.example:5000": "star",
        "reg.example:5000/team": "team",
        "reg.example:5000": "host",
        "reg.example": "port",
    }
    docker_hub = json.dumps({"https://index.docker.io/v1/": {"username": "u", "password": "p"}}).encode()

    def users(registry: str, path: str, *configs: bytes) -> list[str]:
        return [each.username for each in credentials(registry, path, configs)]

    assert users("reg.example:5000", "team/a", b"broken", config(**hosts)) == ["team", "host", "star"]
    assert users("reg.example:5000", "other/a", config(**hosts), config(**hosts)) == ["host", "star"]
    assert users("reg.example", "a", config(**hosts)) == ["port"]
    assert users("a.reg.example:5000", "a", config(**hosts)) == []
    assert users("docker.io", "library/busybox", docker_hub) == ["u"]
    found = credentials("reg.example", "a", [config(**hosts)])[0]
    assert found.password == "pass:word"
    assert "pass" not in repr(found)
    assert users("quay.example", "a", docker_hub, b"[]", b'{"auths": 3}') == []


# -- files and admission ---------------------------------------------------------------------------------------------

HOST = parse_resolv_conf("# x\nnameserver 192.0.2.53\nsearch lab.example\noptions edns0\n")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, "search ns.svc.cluster.local svc.cluster.local cluster.local lab.example\nnameserver 10.96.0.10\n"
             "options ndots:5\n"),
        ({"hostNetwork": True}, "search lab.example\nnameserver 192.0.2.53\noptions edns0\n"),
        ({"dnsPolicy": "Default"}, "search lab.example\nnameserver 192.0.2.53\noptions edns0\n"),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.9"]}}, "nameserver 192.0.2.9\n"),
    ],
)  # fmt: skip
def test_resolv_conf(spec: dict[str, Any], expected: str) -> None:
    made = pod(**spec)
    assert made.spec is not None
    assert dns_config(made.spec, "ns", CONFIG, HOST).render() == expected
    assert dns_config(made.spec, "ns", CONFIG, DNSConfig()).render().startswith(("search ns", "nameserver", ""))


def test_hosts() -> None:
    text = hosts_file(pod(hostAliases=[{"ip": "192.0.2.7", "hostnames": ["a", "b"]}]), ("10.0.0.1",), "x", "")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.0.0.1\tweb\n" in text and text.endswith("# Entries added by HostAliases.\n192.0.2.7\ta\tb\n")
    of_host = hosts_file(pod(hostNetwork=True), (), "x", "127.0.0.1 me\n")
    assert of_host == "# Kubernetes-managed hosts file (host network).\n127.0.0.1 me\n"


def test_host_ports_of_what_runs_side_by_side() -> None:
    def container(name: str, port: int, **more: Any) -> dict[str, Any]:
        ports = [{"containerPort": 80, "hostPort": port, "hostIP": "192.0.2.1"}, {"containerPort": 81}]
        return {"name": name, "image": "i", "ports": ports, **more}

    spec = {
        "containers": [container("app", 8080)],
        "initContainers": [container("once", 1), container("side", 8081, restartPolicy="Always")],
    }
    made = Pod.from_dict({"metadata": {"name": "web", "namespace": "ns", "uid": "u"}, "spec": spec})
    found = [
        (each.pod, each.protocol, each.host_ip, each.host_port, each.container_port) for each in port_mappings(made)
    ]
    assert found == [("web_ns", "TCP", "192.0.2.1", 8081, 80), ("web_ns", "TCP", "192.0.2.1", 8080, 80)]
