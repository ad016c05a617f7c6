"""Which kernel parameters a pod may set: those that the kernel keeps apart for each pod and that harm nobody else.

https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/#safe-and-unsafe-sysctls
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lightkube.models.core_v1 import PodSpec

REASON = "SysctlForbidden"
SAFE = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)
_IPC, _NET = "ipc", "net"
_PREFIXES = {"kernel.shm": _IPC, "kernel.msg": _IPC, "fs.mqueue.": _IPC, "net.": _NET}
_PART = r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_PATTERN = re.compile(rf"({_PART}[./])*({_PART}|\*|{_PART}\*)")


def dotted(name: str) -> str:
    """``net/ipv4/conf/eth0.1/rp_filter`` -> ``net.ipv4.conf.eth0/1.rp_filter``: what comes first separates."""
    first = re.search(r"[./]", name)
    if first is None or first.group() == ".":
        return name
    return name.translate(str.maketrans("./", "/."))


def check_patterns(patterns: Iterable[str]) -> None:
    """What ``--allowed-unsafe-sysctls`` may name. Raises ValueError."""
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            raise ValueError(f'sysctl "{pattern}" must match regex {_PATTERN.pattern}')
        if not _namespace(dotted(pattern).removesuffix("*")):
            raise ValueError(f'the sysctl "{pattern}" are not known to be namespaced')


def forbidden(spec: PodSpec, allowed: Iterable[str]) -> str | None:
    """Why the pod may not set what it wants. ``allowed``: names, and prefixes with a star, beside the safe ones."""
    patterns = [*SAFE, *(dotted(each) for each in allowed)]
    for sysctl in (spec.securityContext.sysctls if spec.securityContext else None) or ():
        name = dotted(sysctl.name)
        if not any(name == each or (each.endswith("*") and name.startswith(each[:-1])) for each in patterns):
            return f'forbidden sysctl: "{name}" not allowlisted'
        namespace = _namespace(name)
        if (namespace == _IPC and spec.hostIPC) or (namespace == _NET and spec.hostNetwork):
            return f'forbidden sysctl: "{name}" not allowed with host {namespace} enabled'
    return None


def _namespace(name: str) -> str:
    if name == "kernel.sem":
        return _IPC
    return next((space for prefix, space in _PREFIXES.items() if name.startswith(prefix)), "")
