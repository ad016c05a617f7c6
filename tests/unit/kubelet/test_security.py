"""Security contexts, kernel parameters and AppArmor: what a pod's fields come to, and what a node refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightkube.models.core_v1 import PodSpec
from lightkube.resources.core_v1 import Pod

from kubelet.cri import ContainerConfig, PodSandboxConfig, SecurityContext, SELinuxLabel
from kubelet.pods import apparmor, sysctls
from kubelet.pods.security import APPARMOR_ANNOTATION, sandbox_security, security_context
from kubelet.runtime.spec import container_body, sandbox_body


def pod(own: dict[str, Any], shared: dict[str, Any] | None = None, **annotations: str) -> Pod:
    meta = {"name": "web", "namespace": "ns", "uid": "u", "annotations": annotations}
    containers = [{"name": "c", "image": "i", "securityContext": own}]
    return Pod.from_dict({"metadata": meta, "spec": {"containers": containers, "securityContext": shared or {}}})


def context(made: Pod, user: str = "", *, seccomp_default: bool = False) -> SecurityContext:
    assert made.spec is not None
    found = security_context(made, made.spec.containers[0], user, seccomp_default)
    assert isinstance(found, SecurityContext)
    return found


def options(security: SecurityContext, seccomp_text: str = "") -> Any:
    body = container_body(
        "s", ContainerConfig("p", "ns", "u", "c", 0, "i", security=security), {}, seccomp_text=seccomp_text
    )
    return body["HostConfig"]


def test_seccomp() -> None:
    default = {"seccompProfile": {"type": "RuntimeDefault"}}
    assert options(context(pod({})))["SecurityOpt"] == ["seccomp=unconfined"]
    assert options(context(pod({}), seccomp_default=True))["SecurityOpt"] == []
    assert options(context(pod({}, default)))["SecurityOpt"] == []
    assert options(context(pod({"seccompProfile": {"type": "Unconfined"}}, default)))["SecurityOpt"] == [
        "seccomp=unconfined"
    ]
    local = context(pod({"seccompProfile": {"type": "Localhost", "localhostProfile": "a/b.json"}}))
    assert local.seccomp == "localhost/a/b.json"
    assert options(local, "{}")["SecurityOpt"] == ["seccomp={}"]


@pytest.mark.parametrize(
    ("own", "shared", "annotation", "option"),
    [
        ({}, {}, "", None),
        ({"type": "RuntimeDefault"}, {"type": "Unconfined"}, "", None),
        ({}, {"type": "Localhost", "localhostProfile": "mine"}, "", "apparmor=mine"),
        ({}, {}, "localhost/old", "apparmor=old"),
        ({}, {}, "runtime/default", None),
        ({"type": "Unconfined"}, {}, "localhost/old", "apparmor=unconfined"),
    ],
)
def test_apparmor_profiles(own: dict[str, str], shared: dict[str, str], annotation: str, option: str | None) -> None:
    notes = {APPARMOR_ANNOTATION + "c": annotation} if annotation else {}
    fields = [{"appArmorProfile": each} if each else {} for each in (own, shared)]
    found = options(context(pod(fields[0], fields[1], **notes)))["SecurityOpt"]
    assert [each for each in found if each.startswith("apparmor")] == ([option] if option else [])


def test_a_host_without_apparmor_refuses_who_asks_for_it(tmp_path: Path) -> None:
    wanted = pod({"appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"}})
    assert apparmor.refusal(pod({}), tmp_path) is None
    assert apparmor.refusal(pod({"appArmorProfile": {"type": "Unconfined"}}), tmp_path) is None
    assert apparmor.refusal(wanted, tmp_path) == "Cannot enforce AppArmor: AppArmor is not enabled on the host"
    for name, text in (
        ("sys/module/apparmor/parameters/enabled", "Y\n"),
        ("sys/kernel/security/apparmor/profiles", "docker-default (enforce)\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert apparmor.refusal(wanted, tmp_path) == 'Cannot enforce AppArmor: profile "mine" is not loaded'
    (tmp_path / "sys/kernel/security/apparmor/profiles").write_text("docker-default (enforce)\nmine (complain)\n")
    assert apparmor.refusal(wanted, tmp_path) is None


def test_selinux_proc_and_groups() -> None:
    shared = {"seLinuxOptions": {"level": "s0:c1,c2"}, "fsGroup": 7, "supplementalGroups": [8, 7], "runAsUser": 5}
    found = context(pod({"procMount": "Unmasked", "seLinuxOptions": {"user": "u", "type": "t"}}, shared))
    assert found.selinux == SELinuxLabel(user="u", type="t")
    host = options(found)
    assert [each for each in host["SecurityOpt"] if each.startswith("label")] == ["label=user:u", "label=type:t"]
    assert (host["MaskedPaths"], host["ReadonlyPaths"], host["GroupAdd"]) == ([], [], ["7", "8"])
    assert "MaskedPaths" not in options(context(pod({})))
    spec = pod({}, {**shared, "runAsGroup": 6}).spec
    assert spec is not None
    sandbox = sandbox_body(PodSandboxConfig("p", "ns", "u", 0, "pause", "h", security=sandbox_security(spec)), {})
    assert sandbox["User"] == "5:6"
    assert sandbox["HostConfig"]["SecurityOpt"] == ["no-new-privileges", "label=level:s0:c1,c2"]


def test_a_group_goes_with_the_images_user() -> None:
    def user(own: dict[str, Any], image_user: str) -> Any:
        config = ContainerConfig("p", "ns", "u", "c", 0, "i", security=context(pod(own), image_user))
        return container_body("s", config, {})["User"]

    assert user({}, "app:staff") == ""
    assert user({"runAsGroup": 9}, "app:staff") == "app:9"
    assert user({"runAsGroup": 9}, "") == "0:9"
    assert user({"runAsUser": 3}, "app") == "3"


def spec(*names: str, **fields: Any) -> PodSpec:
    wanted = [{"name": name, "value": "1"} for name in names]
    return PodSpec.from_dict({"containers": [], "securityContext": {"sysctls": wanted}, **fields})


def test_kernel_parameters() -> None:
    somaxconn = "net.core.somaxconn"
    assert sysctls.forbidden(spec("net.ipv4.tcp_syncookies", "kernel/shm_rmid_forced"), ()) is None
    assert sysctls.forbidden(spec(somaxconn), ()) == f'forbidden sysctl: "{somaxconn}" not allowlisted'
    assert sysctls.forbidden(spec(somaxconn, "kernel.msgmax"), (somaxconn, "kernel.msg*")) is None
    refused = sysctls.forbidden(spec("net.ipv4.tcp_syncookies", hostNetwork=True), ())
    assert refused == 'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled'
    refused = sysctls.forbidden(spec("kernel.msgmax", hostIPC=True), ("kernel.msg*",))
    assert refused == 'forbidden sysctl: "kernel.msgmax" not allowed with host ipc enabled'
    assert sysctls.dotted("net/ipv4/conf/eth0.1/rp_filter") == "net.ipv4.conf.eth0/1.rp_filter"


@pytest.mark.parametrize("pattern", ["vm.swappiness", "kernel.*", "net..a", "Net.core"])
def test_what_is_not_the_pods_own_is_not_allowed(pattern: str) -> None:
    sysctls.check_patterns(["net.*", "kernel.shm*", "fs.mqueue.msg_max", "kernel.sem"])
    with pytest.raises(ValueError, match="sysctl"):
        sysctls.check_patterns([pattern])
