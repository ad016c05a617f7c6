"""Whether this node can hold a pod to the AppArmor profiles that it asks for.

https://kubernetes.io/docs/tutorials/security/apparmor/; upstream refuses such a pod on a node that cannot.
"""

from __future__ import annotations

from pathlib import Path

from lightkube.resources.core_v1 import Pod

from kubelet.pods.identity import all_containers, as_container, spec_of
from kubelet.pods.security import apparmor_profile, wants_apparmor

REASON = "AppArmor"


def refusal(pod: Pod, root: Path = Path("/")) -> str | None:
    """Why the node cannot enforce what the pod asks for. Reads files of the kernel's, briefly."""
    spec = spec_of(pod)
    containers = [*all_containers(spec), *(as_container(each) for each in spec.ephemeralContainers or ())]
    wanted = [container for container in containers if wants_apparmor(pod, container)]
    if not wanted:
        return None
    if _text(root / "sys/module/apparmor/parameters/enabled")[:1] != "Y":
        return "Cannot enforce AppArmor: AppArmor is not enabled on the host"
    loaded = _text(root / "sys/kernel/security/apparmor/profiles")
    known = {line.rpartition(" (")[0].strip() for line in loaded.splitlines()}
    for container in wanted:
        profile = apparmor_profile(pod, container)
        if profile not in ("", "unconfined") and loaded and profile not in known:
            return f'Cannot enforce AppArmor: profile "{profile}" is not loaded'
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
