"""What the machine must have: Docker's engine, compose and buildx, kubectl; installed from the distribution if absent.

Where the distribution's own version is too old (Debian 12's compose and kubectl, Ubuntu's lack of kubectl), the program
alone is taken out of Debian 13's package: fetched and verified by apt with a configuration of its own, so that the
machine's package sources stay as they are.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from deploy.cli.console import CoxError, Step, run, step, try_run

SECOND_SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PLUGINS = Path("/usr/local/lib/docker/cli-plugins")
PROGRAMS = Path("/usr/local/bin")
DOCKERD_PID = Path("/run/coxswain-dockerd.pid")
DOCKERD_LOG = Path("/var/log/coxswain-dockerd.log")
_APT = {"DEBIAN_FRONTEND": "noninteractive"}


def ensure() -> None:
    """Install and start whatever a cluster needs and this machine lacks."""
    ensure_docker()
    ensure_compose()
    ensure_buildx()
    ensure_kubectl()


def ensure_docker() -> None:
    if shutil.which("dockerd") is None and not docker_answers():
        with step("Installing Docker's engine") as current:
            install("docker.io", "iptables", *optional("docker-cli"), current=current)
    if not docker_answers():
        with step("Starting Docker's engine"):
            start_docker()


def ensure_compose() -> None:
    if _works(["docker", "compose", "version"]):
        return
    with step("Installing docker compose") as current:
        for package in ("docker-compose-v2", "docker-compose"):
            if candidate(package) >= (2,):
                install(package, current=current)
                return
        borrow("docker-compose", "usr/libexec/docker/cli-plugins/docker-compose", PLUGINS)


def ensure_buildx() -> None:
    """Docker 23 and newer build with buildx; older ones build without it."""
    version = try_run(["docker", "version", "--format", "{{.Client.Version}}"]).stdout.decode()
    if _works(["docker", "buildx", "version"]) or version_numbers(version) < (23,):
        return
    with step("Installing docker buildx") as current:
        if candidate("docker-buildx") > (0,):
            install("docker-buildx", current=current)
        else:
            borrow("docker-buildx", "usr/libexec/docker/cli-plugins/docker-buildx", PLUGINS)


def ensure_kubectl() -> None:
    if shutil.which("kubectl"):
        return
    with step("Installing kubectl") as current:
        if candidate("kubectl") >= (1, 27):
            install("kubectl", current=current)
        else:
            borrow("kubectl", "usr/bin/kubectl", PROGRAMS)


def docker_answers() -> bool:
    """Whether an engine runs. `docker info` is not asked: newer clients call it a success when none does."""
    return _works(["docker", "version", "--format", "{{.Server.Version}}"])


def start_docker() -> None:
    """Through the service manager where there is one; else as a process of its own, which `stop_docker` ends."""
    if Path("/run/systemd/system").is_dir():
        run(["systemctl", "enable", "--now", "docker"])
    else:
        with DOCKERD_LOG.open("ab") as log:
            process = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        DOCKERD_PID.write_text(f"{process.pid}\n")
    deadline = time.monotonic() + 60
    while not docker_answers():
        if time.monotonic() > deadline:
            raise CoxError(f"Docker's engine did not start within 60 s; see {DOCKERD_LOG} or `journalctl -u docker`")
        time.sleep(0.3)


def stop_docker() -> None:
    """End the engine that `start_docker` started itself; one that was there before is left alone."""
    try:
        pid = int(DOCKERD_PID.read_text())
        if b"dockerd" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return
        os.kill(pid, 15)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return
    finally:
        DOCKERD_PID.unlink(missing_ok=True)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.2)


def install(*packages: str, current: Step | None = None) -> None:
    if os.geteuid() != 0:
        raise CoxError(
            f"{', '.join(packages)} must be installed first: run `apt-get install {' '.join(packages)}` as root"
        )
    if shutil.which("apt-get") is None:
        raise CoxError(f"please install {', '.join(packages)}: cox knows how to only where there is apt")
    if current:
        current.detail = " ".join(packages)
    _update()
    run(["apt-get", "install", "-qy", "--no-install-recommends", *packages], env=_APT)


def missing(*packages: str) -> list[str]:
    """Those packages that dpkg does not know as installed."""
    return [name for name in packages if b"install ok installed" not in _dpkg_status(name)]


def optional(*packages: str) -> list[str]:
    """Those packages that the distribution has: Debian 13 has docker's client in a package of its own."""
    _update()
    return [name for name in packages if candidate(name) > (0,)]


def candidate(package: str) -> tuple[int, ...]:
    """The version that apt would install, as numbers; (0,) when there is none."""
    output = try_run(["apt-cache", "policy", package], env={"LC_ALL": "C"}).stdout.decode()
    match = re.search(r"Candidate: (?:\d+:)?(\d\S*)", output)
    return version_numbers(match.group(1)) if match else (0,)


def mirror() -> str:
    """A Debian mirror: the one that COX_DEBIAN_MIRROR names, this machine's own, or debootstrap's default."""
    if named := os.environ.get("COX_DEBIAN_MIRROR"):
        return named
    release = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
    if re.search(r"^ID=debian$", release, re.MULTILINE) and (own := _own_mirror(Path("/etc/apt"))):
        return own
    if shutil.which("debootstrap") is None:
        install("debootstrap")
    programs = (
        Path("/usr/share/debootstrap/scripts/sid"),
        Path(shutil.which("debootstrap") or "/usr/sbin/debootstrap"),
    )
    for program in programs:
        if match := _DEFAULT_MIRROR.search(program.read_text(errors="replace")):
            return match.group(1)
    raise CoxError("no Debian mirror is known here: set COX_DEBIAN_MIRROR to one")


_DEFAULT_MIRROR = re.compile(
    r"""^\s*(?:default_mirror |DEF_MIRROR=)"?(https?://[^\s"]+/debian)/?"?\s*$""", re.MULTILINE
)


def _own_mirror(configuration: Path) -> str | None:
    """The mirror in apt's source lists."""
    folder = configuration / "sources.list.d"
    for path in [configuration / "sources.list", *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]:
        text = path.read_text(errors="replace") if path.exists() else ""
        if match := re.search(r"^(?:deb\b.*?|URIs:)\s*(https?://\S+/debian)/?(?=\s|$)", text, re.MULTILINE):
            return match.group(1)
    return None


def borrow(package: str, path: str, into: Path) -> None:
    """Take one program out of a package of Debian's newer suite, verified by Debian's archive key."""
    if not KEYRING.exists():
        install("debian-archive-keyring")
    with tempfile.TemporaryDirectory(prefix="cox-apt-") as name:
        folder = Path(name)
        options = _private_apt(folder)
        run(["apt-get", *options, "update", "-q"], env=_APT)
        run(["apt-get", *options, "download", package], env=_APT, cwd=folder)
        archive = next(folder.glob("*.deb"))
        run(["dpkg-deb", "-x", archive, folder / "files"])
        into.mkdir(parents=True, exist_ok=True)
        target = into / Path(path).name
        shutil.copy2(folder / "files" / path, target.with_suffix(".new"))
        target.with_suffix(".new").replace(target)


def _private_apt(folder: Path) -> list[str]:
    """Options that give apt a configuration, lists and cache of its own."""
    for part in ("lists/partial", "cache/archives/partial", "parts"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {SECOND_SUITE} main\n")
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": folder / "parts",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": folder / "parts",
        "Dir::State": folder,
        "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


_updated = False


def _update() -> None:
    """Fetch the package lists, once in a run of cox."""
    global _updated
    if not _updated:
        run(["apt-get", "update", "-q"], env=_APT)
        _updated = True


def _dpkg_status(package: str) -> bytes:
    return try_run(["dpkg-query", "-W", "-f", "${Status}", package]).stdout


def _works(command: list[str]) -> bool:
    return try_run(command).returncode == 0


def version_numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version.strip())
    return tuple(int(part) for part in match.group().split(".")) if match else (0,)
