"""Files that the kubelet writes for a pod: /etc/hosts, /etc/resolv.conf, and a termination log for each container.

https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
https://kubernetes.io/docs/tasks/network/customize-hosts-file-for-pods/
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from lightkube.models.core_v1 import PodSpec
from lightkube.resources.core_v1 import Pod

from kubelet.pods.containers import PodFiles, fully_qualified, hostname
from kubelet.pods.identity import identity_of, spec_of
from kubelet.types import KubeletConfig

MAX_TERMINATION_MESSAGE = 4096
"""Bytes at the end of the file."""
MISSING_DNS = "MissingClusterDNS"
MAX_SERVERS, MAX_SEARCHES, MAX_SEARCH, MAX_SEARCH_LINE = 3, 32, 253, 2048
"""Name servers; search domains, characters of one and of all."""
_STANDARD_HOSTS = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "fe00::0\tip6-mcastprefix",
    "fe00::1\tip6-allnodes",
    "fe00::2\tip6-allrouters",
)


@dataclass(frozen=True, slots=True)
class DNSConfig:
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def render(self) -> str:
        lines = []
        if self.searches:
            lines.append(f"search {' '.join(self.searches)}")
        lines += [f"nameserver {server}" for server in self.servers]
        if self.options:
            lines.append(f"options {' '.join(self.options)}")
        return "".join(f"{line}\n" for line in lines)


def parse_resolv_conf(text: str) -> DNSConfig:
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        keyword, *values = line.split("#")[0].split() or [""]
        if keyword == "nameserver" and values:
            servers.append(values[0])
        elif keyword == "search":
            searches = tuple(each if each == "." else each.removesuffix(".") for each in values)
        elif keyword == "options":
            options = tuple(values)
    return DNSConfig(tuple(servers), searches, options)


def dns_config(spec: PodSpec, namespace: str, config: KubeletConfig, host: DNSConfig) -> DNSConfig:
    """What the pod asks for, before ``fit``."""
    policy = spec.dnsPolicy or "ClusterFirst"
    if policy == "None":
        base = DNSConfig()
    elif wants_cluster_dns(spec) and config.cluster_dns:
        domain = config.cluster_domain
        own = (f"{namespace}.svc.{domain}", f"svc.{domain}", domain) if domain else ()
        base = DNSConfig(config.cluster_dns, tuple(dict.fromkeys((*own, *host.searches))), ("ndots:5",))
    elif not config.resolv_conf:
        base = DNSConfig(tuple("::1" if ":" in ip else "127.0.0.1" for ip in config.node_ips) or ("127.0.0.1",), (".",))
    else:
        base = host
    return _with_overrides(base, spec)


def wants_cluster_dns(spec: PodSpec) -> bool:
    policy = spec.dnsPolicy or "ClusterFirst"
    return policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not spec.hostNetwork)


def _with_overrides(base: DNSConfig, spec: PodSpec) -> DNSConfig:
    own = spec.dnsConfig
    if own is None:
        return base
    options = dict(option.partition(":")[::2] for option in base.options)
    options.update({option.name or "": option.value or "" for option in own.options or ()})
    return DNSConfig(
        tuple(dict.fromkeys((*base.servers, *(own.nameservers or ())))),
        tuple(dict.fromkeys((*base.searches, *(own.searches or ())))),
        tuple(f"{name}:{value}" if value else name for name, value in options.items()),
    )


def fit(wanted: DNSConfig) -> tuple[DNSConfig, list[str]]:
    """What resolvers take of it, and what is said about the rest."""
    problems = []
    servers = wanted.servers[:MAX_SERVERS]
    if len(servers) < len(wanted.servers):
        problems.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, "
            f"the applied nameserver line is: {' '.join(servers)}"
        )
    searches = tuple(each for each in wanted.searches[:MAX_SEARCHES] if len(each) <= MAX_SEARCH)
    while len(" ".join(searches)) > MAX_SEARCH_LINE:
        searches = searches[:-1]
    if len(searches) < len(wanted.searches):
        problems.append(
            "Search Line limits were exceeded, some search paths have been omitted, "
            f"the applied search line is: {' '.join(searches)}"
        )
    return DNSConfig(servers, searches, wanted.options), problems


def missing_dns(pod: Pod, config: KubeletConfig) -> str:
    """What the node says when the pod wants the cluster's DNS and nobody has told where that is; "" else."""
    if config.cluster_dns or not wants_cluster_dns(spec_of(pod)):
        return ""
    return (
        'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. '
        'Falling back to "Default" policy.'
    )


def dns_problems(pod: Pod, config: KubeletConfig) -> list[tuple[str, str]]:
    """Reasons and messages of events. Blocking."""
    spec, result = spec_of(pod), []
    if text := missing_dns(pod, config):
        result.append((MISSING_DNS, f'pod: "{identity_of(pod)}". {text}'))
    _, problems = fit(dns_config(spec, identity_of(pod).namespace, config, host_dns(config)))
    return result + [("DNSConfigForming", text) for text in problems]


def host_dns(config: KubeletConfig) -> DNSConfig:
    return parse_resolv_conf(_read(config.resolv_conf)) if config.resolv_conf else DNSConfig()


def hosts_file(pod: Pod, pod_ips: tuple[str, ...], domain: str, host_file: str) -> str:
    """On the host's network the host's own file, else one with the pod's name; host aliases in both."""
    spec = spec_of(pod)
    if spec.hostNetwork:
        lines = ["# Kubernetes-managed hosts file (host network).", *host_file.splitlines()]
    else:
        name, full = hostname(pod), fully_qualified(pod, domain)
        names = f"{full}\t{name}" if full else name
        lines = ["# Kubernetes-managed hosts file.", *_STANDARD_HOSTS, *(f"{ip}\t{names}" for ip in pod_ips)]
    if spec.hostAliases:
        lines += ["", "# Entries added by HostAliases."]
        lines += ["\t".join([alias.ip, *(alias.hostnames or ())]) for alias in spec.hostAliases]
    return "".join(f"{line}\n" for line in lines)


class PodDirectory:
    """``<root>/pods/<uid>``. Volumes below it belong to volumes/ and are not touched here. Blocking calls."""

    def __init__(self, root: str, uid: str) -> None:
        self.path = Path(root) / "pods" / uid

    def prepare(self, pod: Pod, pod_ips: tuple[str, ...], config: KubeletConfig) -> PodFiles:
        """Writes what all containers of the pod share."""
        self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
        identity = identity_of(pod)
        hosts = hosts_file(pod, pod_ips, config.cluster_domain, _read("/etc/hosts"))
        resolv = fit(dns_config(spec_of(pod), identity.namespace, config, host_dns(config)))[0].render()
        return PodFiles(hosts=self._write("etc-hosts", hosts), resolv_conf=self._write("resolv.conf", resolv))

    def termination_log(self, container: str, attempt: int) -> str:
        """An empty file that any user of the container may write to."""
        path = self._termination_path(container, attempt)
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o666)
        return str(path)

    def termination_message(self, container: str, attempt: int) -> str:
        try:
            with self._termination_path(container, attempt).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - MAX_TERMINATION_MESSAGE))
                return file.read(MAX_TERMINATION_MESSAGE).decode(errors="replace")
        except OSError:
            return ""

    def remove_termination_log(self, container: str, attempt: int) -> None:
        self._termination_path(container, attempt).unlink(missing_ok=True)

    def remove(self) -> None:
        """All but volumes: a directory that still has some is left to the next sweep."""
        for name in ("etc-hosts", "resolv.conf", "allocated_resources"):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / "containers", ignore_errors=True)
        try:
            os.rmdir(self.path)
        except OSError:
            pass

    def _termination_path(self, container: str, attempt: int) -> Path:
        return self.path / "containers" / container / f"termination-{attempt}"

    def _write(self, name: str, text: str) -> str:
        """In place: containers have the file mounted, a new file under the name would not reach them."""
        path = self.path / name
        if _read(str(path)) != text:
            path.write_text(text)
            path.chmod(0o644)
        return str(path)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
