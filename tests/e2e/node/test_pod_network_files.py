"""Names, hosts and DNS of pods, and the namespaces that they share with their node or among their containers."""

from __future__ import annotations

import os
from pathlib import Path

from tests.e2e.node.machine import ADDRESS, Machine
from tests.e2e.node.support import Kubectl, eventually

HOSTS = """\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def test_names_and_hosts(kubectl: Kubectl) -> None:
    aliases = [{"ip": "192.0.2.7", "hostnames": ["one.test", "two.test"]}, {"ip": "192.0.2.8", "hostnames": ["three"]}]
    kubectl.pod("plain")
    kubectl.pod("named", hostname="me", subdomain="sub", hostAliases=aliases)
    kubectl.pod("full", hostname="me", subdomain="sub", setHostnameAsFQDN=True)
    kubectl.pod("x" * 70)
    kubectl.pod("long", hostname="h" * 60, subdomain="s" * 60, setHostnameAsFQDN=True)
    kubectl.pod("host", hostNetwork=True, hostAliases=aliases[:1])
    full = f"me.sub.{kubectl.namespace}.svc.cluster.local"
    ips = {name: kubectl.running(name)["status"]["podIP"] for name in ("plain", "named", "full", "host")}
    assert kubectl("exec", "plain", "--", "cat", "/etc/hosts") == f"{HOSTS}{ips['plain']}\tplain\n"
    added = "\n# Entries added by HostAliases.\n192.0.2.7\tone.test\ttwo.test\n192.0.2.8\tthree\n"
    assert kubectl("exec", "named", "--", "cat", "/etc/hosts") == f"{HOSTS}{ips['named']}\t{full}\tme\n{added}"
    assert kubectl.sh("hostname", "named") == "me"
    assert kubectl.sh("hostname; cat /etc/hosts | grep -c sub", "full").split() == [full, "1"]
    kubectl.running("x" * 70)
    assert kubectl.sh("hostname", "x" * 70) == "x" * 63
    kubectl.event("FailedCreatePodSandBox", "long", "is too long (64 characters is the max, ")
    assert kubectl.status("long")["phase"] == "Pending"
    own = kubectl("exec", "host", "--", "cat", "/etc/hosts")
    assert own.startswith("# Kubernetes-managed hosts file (host network).\n" + Path("/etc/hosts").read_text())
    assert own.endswith("\n# Entries added by HostAliases.\n192.0.2.7\tone.test\ttwo.test\n")
    assert ips["host"] == ADDRESS
    assert kubectl.status("host")["podIPs"] == kubectl.status("host")["hostIPs"] == [{"ip": ADDRESS}]


def test_dns(kubectl: Kubectl) -> None:
    own = {"nameservers": ["192.0.2.53"], "searches": ["my.test"], "options": [{"name": "ndots", "value": "2"}]}
    many = {"nameservers": [f"192.0.2.{n}" for n in range(1, 4)], "searches": [f"s{n}.test" for n in range(32)]}
    kubectl.pod("first")
    kubectl.pod("merged", dnsConfig={**own, "options": [*own["options"], {"name": "edns0"}]})
    kubectl.pod("default", dnsPolicy="Default")
    kubectl.pod("none", dnsPolicy="None", dnsConfig=own)
    kubectl.pod("host", hostNetwork=True)
    kubectl.pod("hostfirst", hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet")
    kubectl.pod("many", dnsConfig=many)
    found = {}
    for name in ("first", "merged", "default", "none", "host", "hostfirst", "many"):
        kubectl.running(name)
        lines = kubectl.sh("cat /etc/resolv.conf", name).splitlines()
        found[name] = [(line.split()[0], line.split()[1:]) for line in lines]
    space = kubectl.namespace
    cluster = [f"{space}.svc.cluster.local", "svc.cluster.local", "cluster.local"]
    node = [line.split() for line in Path("/etc/resolv.conf").read_text().splitlines() if line and line[0] != "#"]
    theirs = [each for line in node if line[0] == "search" for each in line[1:]]
    servers = [line[1] for line in node if line[0] == "nameserver"]
    assert found["first"] == [
        ("search", [*cluster, *theirs]), ("nameserver", ["10.250.0.10"]), ("options", ["ndots:5"])
    ]  # fmt: skip
    assert found["hostfirst"] == found["first"]
    assert found["merged"] == [
        ("search", [*cluster, *theirs, "my.test"]),
        ("nameserver", ["10.250.0.10"]),
        ("nameserver", ["192.0.2.53"]),
        ("options", ["ndots:2", "edns0"]),
    ]
    assert found["none"] == [("search", ["my.test"]), ("nameserver", ["192.0.2.53"]), ("options", ["ndots:2"])]
    for name in ("default", "host"):
        assert [words[0] for kind, words in found[name] if kind == "nameserver"] == servers[:3]
    assert [words[0] for kind, words in found["many"] if kind == "nameserver"] == [
        "10.250.0.10", "192.0.2.1", "192.0.2.2"
    ]  # fmt: skip
    assert len(dict(found["many"])["search"]) == 32
    kubectl.event("DNSConfigForming", "many", "the applied nameserver line is: 10.250.0.10 192.0.2.1 192.0.2.2")
    kubectl.event("DNSConfigForming", "many", "Search Line limits were exceeded, some search paths have been omitted")
    assert [e for e in kubectl.events("merged") if e["reason"] == "DNSConfigForming"] == []


def test_namespaces(kubectl: Kubectl, machine: Machine) -> None:
    def two(name: str, **spec: object) -> None:
        sleeps = {"name": "other", "command": ["sleep", "598"]}
        containers = [{"name": "app", "command": ["sh", "-c", "echo hi > /dev/shm/x; exec sleep 599"]}, sleeps]
        kubectl.pod(name, containers=containers, **spec)

    two("alone")
    two("shared", shareProcessNamespace=True)
    two("host", hostPID=True, hostIPC=True, hostNetwork=True)
    for name in ("alone", "shared", "host"):
        kubectl.running(name)
    assert "sleep 598" not in kubectl.sh("ps", "alone")
    assert "sleep 598" in kubectl.sh("ps", "shared")
    assert kubectl.sh("cat /proc/1/comm", "shared") != "sleep"
    assert kubectl.sh("cat /dev/shm/x", "alone", "other") == "hi"
    for kind in ("pid", "ipc"):
        mine = os.readlink(f"/proc/self/ns/{kind}")
        assert kubectl.sh(f"readlink /proc/self/ns/{kind}", "host") == mine
        assert kubectl.sh(f"readlink /proc/self/ns/{kind}", "alone") != mine
    nets = {kubectl.sh("readlink /proc/self/ns/net", "alone", each) for each in ("app", "other")}
    assert len(nets) == 1
    assert kubectl.sh("readlink /proc/self/ns/net", "host") not in nets
    (Path("/dev/shm") / "x").unlink(missing_ok=True)


def test_a_pod_is_debugged(kubectl: Kubectl, machine: Machine) -> None:
    kubectl.pod("web", "exec sleep 599")
    kubectl.running()
    debug = ["debug", "web", f"--image={machine.image}", "--target=app", "-c", "look", "--profile=general"]
    kubectl(*debug, "--", "sh", "-c", "ps; exit 3")

    def look() -> dict[str, object]:
        groups = kubectl.status().get("ephemeralContainerStatuses", [])
        return dict(groups[0].get("state", {}).get("terminated", {})) if groups else {}

    ended = eventually("it has ended", look)
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert "sleep 599" in kubectl("logs", "web", "-c", "look")
    typed = kubectl(
        "debug", "web", "-i", "-q", f"--image={machine.image}", "-c", "typed", "--profile=general", "--", "sh",
        stdin="hostname\nexit\n",
    )  # fmt: skip
    assert "web" in typed.split()
    assert kubectl.running()["status"]["phase"] == "Running"
    wrong = ["debug", "web", f"--image={machine.image}", "--target=none", "-c", "wrong", "--profile=general"]
    result = kubectl.attempt(*wrong, "--", "true")
    if result.code == 0:
        kubectl.event("Failed", "web", "unable to find target container none")
