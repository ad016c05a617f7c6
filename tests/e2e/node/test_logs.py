"""Containers' logs: the files in CRI's format, and what kubectl shows of them."""

from __future__ import annotations

import gzip
import re
import signal
import subprocess
from pathlib import Path

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, container_status, eventually

LINE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) [FP] ")


def log_file(machine: Machine, kubectl: Kubectl, name: str = "web", container: str = "app", attempt: int = 0) -> Path:
    uid = kubectl.get("pod", name)["metadata"]["uid"]
    return machine.logs / "pods" / f"{kubectl.namespace}_{name}_{uid}" / container / f"{attempt}.log"


def raw(kubectl: Kubectl, *words: str) -> bytes:
    done = subprocess.run(kubectl.words("logs", *words), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def text_of(path: Path) -> bytes:
    """What a container wrote, from its file and those that were rotated."""
    rotated = sorted(path.parent.glob(f"{path.name}.*"))
    data = b"".join(gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() for p in rotated)
    data += path.read_bytes()
    lines = data.split(b"\n")
    assert lines.pop() == b"" and all(LINE.match(line) for line in lines)
    parts = (line.split(b" ", 3) for line in lines)
    return b"".join(text + (b"\n" if tag == b"F" else b"") for _, _, tag, text in parts)


def test_files_and_what_is_shown_of_them(kubectl: Kubectl, machine: Machine) -> None:
    app = (
        "echo one; sleep 0.3; echo two >&2; sleep 1.2; echo three; trap 'exit 0' TERM; while :; do sleep 9 & wait; done"
    )
    kubectl.pod(
        "many",
        initContainers=[{"name": "first", "command": ["echo", "init"]}],
        containers=[
            {"name": "app", "command": ["sh", "-c", app]},
            {"name": "again", "command": ["sh", "-c", "echo run; [ -e /s/x ] || { touch /s/x; exit 1; }; sleep 999"],
             "volumeMounts": [{"name": "s", "mountPath": "/s"}]},
        ],
        volumes=[{"name": "s", "emptyDir": {}}],
    )  # fmt: skip
    kubectl.pod("done", "echo -n 'no end'", restartPolicy="Never")
    kubectl.pod("bad", containers=[{"name": "app", "image": "no.such.registry.invalid/x:1"}])
    eventually(
        "again has restarted", lambda: container_status(kubectl.status("many"), "again").get("restartCount") == 1
    )
    kubectl.running("many")
    eventually("three", lambda: "three" in kubectl("logs", "many", "-c", "app"))
    assert kubectl("logs", "many", "-c", "app") == "one\ntwo\nthree\n"
    assert kubectl("logs", "many", "-c", "first") == "init\n"
    assert kubectl("logs", "many", "-c", "app", "--tail=1") == "three\n"
    assert kubectl("logs", "many", "-c", "app", "--tail=0") == ""
    assert kubectl("logs", "many", "-c", "app", "--limit-bytes=6") == "one\ntw"
    assert kubectl("logs", "many", "-c", "again", "--previous") == kubectl("logs", "many", "-c", "again") == "run\n"
    stamped = kubectl("logs", "many", "-c", "app", "--timestamps").splitlines()
    assert [line.split(" ")[1] for line in stamped] == ["one", "two", "three"]
    assert all(re.fullmatch(r"[-\dT:]{19}\.\d{9}Z", line.split(" ")[0]) for line in stamped)
    assert kubectl("logs", "many", "-c", "app", f"--since-time={stamped[2].split(' ')[0][:19]}Z") == "three\n"
    assert kubectl("logs", "many", "-c", "app", "--since=1h") == "one\ntwo\nthree\n"
    everything = kubectl("logs", "many", "--all-containers", "--prefix").splitlines()
    assert sorted(everything) == sorted(
        [
            "[pod/many/first] init",
            *(f"[pod/many/app] {word}" for word in ("one", "two", "three")),
            "[pod/many/again] run",
        ]
    )
    kubectl("debug", "many", f"--image={machine.image}", "--container=look", "--", "echo", "looked")
    eventually("an ephemeral container's log", lambda: kubectl.attempt("logs", "many", "-c", "look").out == "looked\n")

    kubectl.phase("Succeeded", "done")
    assert kubectl("logs", "done") == "no end" and kubectl("logs", "done", "-f") == "no end"
    assert log_file(machine, kubectl, "done").read_text().split(" ", 1)[1] == "stdout P no end\n"
    path = log_file(machine, kubectl, "many", "again", 1)
    assert text_of(path) == b"run\n" and text_of(path.with_name("0.log")) == b"run\n"
    found = container_status(kubectl.get("pod", "many"), "again")["containerID"].removeprefix("docker://")
    link = machine.logs / "containers" / f"many_{kubectl.namespace}_again-{found}.log"
    assert link.resolve() == path

    refused = {
        ("many", "-c", "app", "--previous"): 'previous terminated container "app" in pod "many" not found',
        ("many", "-c", "nobody"): "container nobody is not valid for pod many",
        ("nobody",): 'pods "nobody" not found',
    }
    for words, text in refused.items():
        answer = kubectl.attempt("logs", *words)
        assert answer.code == 1 and text in answer.err, answer
    eventually(
        "a container that cannot start",
        lambda: (
            'container "app" in pod "bad" is waiting to start: trying and failing to pull image'
            in kubectl.attempt("logs", "bad").err
        ),
    )
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods/many/log"
    answer = kubectl.attempt("get", "--raw", path)
    choice = "choose one of: [app again] or one of the init containers: [first]"
    assert f"a container name must be specified for pod many, {choice}" in answer.err, answer
    for query, text in (
        ("tailLines=-1", "tailLines"),
        ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", "sinceSeconds"),
    ):
        answer = kubectl.attempt("get", "--raw", f"{path}?container=app&{query}")
        assert answer.code == 1 and text in answer.err, answer
    kubectl("delete", "pod", "many", "done", "bad")
    assert not path_of_pod(machine, kubectl) and not link.is_symlink()


def path_of_pod(machine: Machine, kubectl: Kubectl) -> list[Path]:
    return list((machine.logs / "pods").glob(f"{kubectl.namespace}_*"))


def test_lines_of_every_kind(kubectl: Kubectl, machine: Machine) -> None:
    """A line of 1 MiB, bytes that are no text, an empty line, no newline at the end; a line without an end."""
    kubectl.pod("endless", "head -c 30000000 /dev/zero | tr '\\0' z", restartPolicy="Never")
    script = r"head -c 1048576 /dev/zero | tr '\0' a; echo; printf '\377\376\000\r x\n\n'; printf end"
    kubectl.pod("odd", script, restartPolicy="Never")
    kubectl.phase("Succeeded", "odd")
    wanted = b"a" * 1048576 + b"\n\xff\xfe\x00\r x\n\nend"
    assert raw(kubectl, "odd") == wanted
    path = log_file(machine, kubectl, "odd")
    assert text_of(path) == wanted
    longest = max(len(line) for line in path.read_bytes().split(b"\n"))
    assert longest < 16384 + 64
    stamped = raw(kubectl, "odd", "--timestamps").split(b"\n")
    assert len(stamped) == 4 and len(stamped[0]) == 1048576 + 31
    kubectl.phase("Succeeded", "endless")
    assert raw(kubectl, "endless", "--limit-bytes=100000") == b"z" * 100000
    path = log_file(machine, kubectl, "endless")
    eventually("all of it is there", lambda: text_of(path) == b"z" * 30000000)
    assert len(list(path.parent.iterdir())) == 3 and path.read_bytes().count(b" stdout F ") == 0


def test_a_kubelet_that_is_killed_loses_and_repeats_nothing(kubectl: Kubectl, machine: Machine) -> None:
    script = "i=0; until [ -e /tmp/stop ]; do echo line $i; i=$((i+1)); [ $((i%100)) != 0 ] || sleep 0.05; done"
    kubectl.pod("count", script, restartPolicy="Never")
    eventually("it writes", lambda: path_of_pod(machine, kubectl) and log_file(machine, kubectl, "count").exists())
    for _ in range(2):
        size = log_file(machine, kubectl, "count").stat().st_size
        machine.kubelet.restart(signal.SIGKILL)
        eventually("the copy goes on", lambda size=size: log_file(machine, kubectl, "count").stat().st_size > size)
    kubectl("exec", "count", "--", "touch", "/tmp/stop")
    kubectl.phase("Succeeded", "count")
    found = raw(kubectl, "count").decode()
    wanted = "".join(f"line {i}\n" for i in range(found.count("\n")))
    assert found == wanted
    assert text_of(log_file(machine, kubectl, "count")).decode() == wanted


def test_a_log_is_followed_over_its_rotation(kubectl: Kubectl, machine: Machine) -> None:
    text = "echo mark $i; head -c 75000 /dev/zero | tr '\\0' x | fold -w 99; echo"
    script = f"i=0; while [ $i -lt 120 ]; do {text}; i=$((i+1)); sleep 0.02; done; echo the end"
    kubectl.pod("rotates", script, restartPolicy="Never")
    kubectl.running("rotates")
    followed = raw(kubectl, "rotates", "-f")
    path = log_file(machine, kubectl, "rotates")
    assert [each for each in path.parent.iterdir() if each.name.startswith("0.log.")]
    lines = followed.split(b"\n")
    assert lines[-2] == b"the end"
    assert [line for line in lines if line.startswith(b"mark")] == [b"mark %d" % i for i in range(120)]
    assert text_of(path) == followed
    shown = raw(kubectl, "rotates")
    assert shown and followed.endswith(shown) and len(shown) < len(followed)


def memory(machine: Machine) -> int:
    """Of the kubelet, in KiB."""
    assert machine.kubelet.running is not None
    status = Path(f"/proc/{machine.kubelet.running.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]


def test_a_flood_is_bounded_and_a_reader_that_does_not_read_holds_nobody(kubectl: Kubectl, machine: Machine) -> None:
    kubectl.pod("calm", "while true; do echo calm; sleep 0.5; done")
    kubectl.running("calm")
    before = memory(machine)
    text = "0123456789" * 100
    kubectl.pod("flood", f"echo begins; yes {text} | head -c 200000000; echo; echo the end; sleep 999")
    kubectl.running("flood")
    lazy = subprocess.Popen(kubectl.words("logs", "flood", "-f"), stdout=subprocess.PIPE)
    path = log_file(machine, kubectl, "flood")
    greatest = disk = 0

    def over() -> bool:
        nonlocal greatest, disk
        greatest = max(greatest, memory(machine))
        disk = max(disk, sum(each.stat().st_size for each in path.parent.glob("*") if each.exists()))
        assert kubectl("logs", "calm", "--tail=1") == "calm\n"
        return kubectl("logs", "flood", "--tail=1") == "the end\n"

    try:
        eventually("the flood is over", over, 150)
        assert lazy.poll() is None
    finally:
        lazy.kill()
        lazy.wait()
        assert lazy.stdout is not None
        lazy.stdout.close()
    assert greatest - before < 60 * 1024
    assert disk < 6 * (10 << 20)
    assert len(list(path.parent.glob("*"))) <= 5
    assert machine.kubelet_get("/healthz") == "ok"
