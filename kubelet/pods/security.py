"""The security context of a container: its own settings, its pod's where it has none. Pure functions.

https://kubernetes.io/docs/tasks/configure-pod-container/security-context/ and, for the old annotations of AppArmor,
https://kubernetes.io/docs/tutorials/security/apparmor/
"""

from __future__ import annotations

from typing import Any

from lightkube.models.core_v1 import Container, PodSpec
from lightkube.resources.core_v1 import Pod

from common.api.meta import annotations_of
from kubelet.cri import ImageStatus, SecurityContext, SELinuxLabel
from kubelet.pods.environment import ConfigError
from kubelet.pods.identity import identity_of, spec_of

APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
_LOCALHOST = "localhost/"


def security_context(pod: Pod, container: Container, image_user: str = "", seccomp_default: bool = False) -> Any:
    """``image_user`` is the image's USER: who the container runs as when only a group is given."""
    spec = spec_of(pod)
    shared, own = spec.securityContext, container.securityContext
    capabilities = own.capabilities if own else None
    group = _effective(spec, container, "runAsGroup")
    return SecurityContext(
        run_as_user=_effective(spec, container, "runAsUser"),
        run_as_group=group,
        run_as_username=image_user.partition(":")[0] if group is not None else "",
        supplemental_groups=supplemental_groups(spec),
        privileged=bool(own and own.privileged),
        read_only_root_filesystem=bool(own and own.readOnlyRootFilesystem),
        add_capabilities=tuple(capabilities.add or ()) if capabilities else (),
        drop_capabilities=tuple(capabilities.drop or ()) if capabilities else (),
        no_new_privileges=bool(own and own.allowPrivilegeEscalation is False),
        seccomp=_seccomp(_effective(spec, container, "seccompProfile"), seccomp_default),
        apparmor=apparmor_profile(pod, container),
        selinux=_selinux((own.seLinuxOptions if own else None) or (shared.seLinuxOptions if shared else None)),
        unmasked_proc=bool(own and own.procMount == "Unmasked"),
    )


def sandbox_security(spec: PodSpec) -> SecurityContext:
    """What a pod's sandbox takes from its pod, as upstream: users and groups, and SELinux's label."""
    shared = spec.securityContext
    return SecurityContext(
        run_as_user=shared.runAsUser if shared else None,
        run_as_group=shared.runAsGroup if shared and shared.runAsUser is not None else None,
        supplemental_groups=supplemental_groups(spec),
        no_new_privileges=True,
        seccomp="runtime/default",
        selinux=_selinux(shared.seLinuxOptions if shared else None),
    )


def supplemental_groups(spec: PodSpec) -> tuple[int, ...]:
    shared = spec.securityContext
    if shared is None:
        return ()
    groups = [shared.fsGroup] if shared.fsGroup is not None else []
    return tuple(dict.fromkeys([*groups, *(shared.supplementalGroups or ())]))


def apparmor_profile(pod: Pod, container: Container) -> str:
    """ "" (the runtime's default), "unconfined", or a profile's name."""
    shared = spec_of(pod).securityContext
    own = container.securityContext.appArmorProfile if container.securityContext else None
    annotated = annotations_of(pod).get(APPARMOR_ANNOTATION + container.name, "")
    if own is None and annotated:
        return annotated.removeprefix(_LOCALHOST) if annotated != "runtime/default" else ""
    profile = own or (shared.appArmorProfile if shared else None)
    if profile is None or profile.type == "RuntimeDefault":
        return ""
    return "unconfined" if profile.type == "Unconfined" else profile.localhostProfile or ""


def wants_apparmor(pod: Pod, container: Container) -> bool:
    """Whether the container asks for a profile, be it the default one: a host without AppArmor cannot give it."""
    shared = spec_of(pod).securityContext
    own = container.securityContext.appArmorProfile if container.securityContext else None
    annotated = annotations_of(pod).get(APPARMOR_ANNOTATION + container.name)
    profile = own or (shared.appArmorProfile if shared else None)
    if own is None and annotated is not None:
        return annotated != "unconfined"
    return profile is not None and profile.type != "Unconfined"


def must_run_as_non_root(spec: PodSpec, container: Container) -> bool:
    return bool(_effective(spec, container, "runAsNonRoot"))


def verify_non_root(pod: Pod, container: Container, security: SecurityContext, image: ImageStatus) -> None:
    """Raises ConfigError with upstream's texts."""
    where = f'(pod: "{identity_of(pod)}", container: {container.name})'
    if security.run_as_user is not None:
        if security.run_as_user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        return
    user = image.user.partition(":")[0]
    if user in ("", "0"):
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
    if not user.isdigit():
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({user}), "
            f"cannot verify user is non-root {where}"
        )


def _effective(spec: PodSpec, container: Container, field: str) -> Any:
    for context in (container.securityContext, spec.securityContext):
        value = getattr(context, field, None)
        if value is not None:
            return value
    return None


def _seccomp(profile: Any, default: bool) -> str:
    """Without a profile a container is unconfined, unless the kubelet was told otherwise (``--seccomp-default``)."""
    if profile is None:
        return "runtime/default" if default else "unconfined"
    if profile.type == "Localhost":
        return _LOCALHOST + (profile.localhostProfile or "")
    return "unconfined" if profile.type == "Unconfined" else "runtime/default"


def _selinux(options: Any) -> SELinuxLabel | None:
    if options is None:
        return None
    return SELinuxLabel(options.user or "", options.role or "", options.type or "", options.level or "")
