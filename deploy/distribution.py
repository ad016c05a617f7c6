"""Who gets which secret: each process finds its own under /etc/kubernetes, and nothing of anybody else's.

The PKI folder holds everything, the authorities' keys included, and is mounted by this one-shot service alone
(`python -m deploy.distribution`). It fills one volume for each process, and each process mounts only that one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy import pki

ETCD = {
    "ca.crt": "etcd/ca.crt",
    "server.crt": "etcd/server.crt",
    "server.key": "etcd/server.key",
    "healthcheck-client.crt": "etcd/healthcheck-client.crt",
    "healthcheck-client.key": "etcd/healthcheck-client.key",
}
REGISTRY = {
    "ca.crt": "registry/ca.crt",
    "server.crt": "registry/server.crt",
    "server.key": "registry/server.key",
    "client.crt": "registry/client.crt",
    "client.key": "registry/client.key",
}
APISERVER = {
    name: name
    for name in (
        "ca.crt",
        "apiserver.crt",
        "apiserver.key",
        "apiserver-etcd-client.crt",
        "apiserver-etcd-client.key",
        "apiserver-kubelet-client.crt",
        "apiserver-kubelet-client.key",
        "etcd/ca.crt",
        "front-proxy-ca.crt",
        "front-proxy-client.crt",
        "front-proxy-client.key",
        "sa.key",
        "sa.pub",
    )
}
CONTROLLER_MANAGER = {
    name: name
    for name in (
        "ca.crt",
        "ca.key",
        "controller-manager.conf",
        "controller-manager.crt",
        "controller-manager.key",
    )
}
SCHEDULER = {name: name for name in ("ca.crt", "scheduler.conf", "scheduler.crt", "scheduler.key")}


def node_secrets(name: str) -> dict[str, str]:
    """A node's own identity, and the client certificate with which its Docker pulls from the registry."""
    return {
        "ca.crt": "ca.crt",
        "kubelet.conf": f"kubelet-{name}.conf",
        "kubelet.crt": f"kubelet-{name}.crt",
        "kubelet.key": f"kubelet-{name}.key",
        "proxy.conf": "proxy.conf",
        "proxy.crt": f"proxy-{name}.crt",
        "proxy.key": f"proxy-{name}.key",
        "registry/ca.crt": "registry/ca.crt",
        "registry/client.crt": "registry/client.crt",
        "registry/client.key": "registry/client.key",
    }


def shares(nodes: Sequence[str]) -> dict[str, dict[str, str]]:
    """For each process (the name of its volume): file in the volume -> file of the PKI."""
    return {
        "etcd": ETCD,
        "registry": REGISTRY,
        "apiserver": APISERVER,
        "controller-manager": CONTROLLER_MANAGER,
        "scheduler": SCHEDULER,
        **{name: node_secrets(name) for name in nodes},
    }


def distribute(source: Path, target: Path, files: Mapping[str, str]) -> list[str]:
    """Make `target` hold exactly these files; those that changed are returned."""
    changed = []
    for name, origin in files.items():
        content = (source / origin).read_bytes()
        path = target / name
        if path.is_file() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        temporary = path.with_name(f".{path.name}.new")
        temporary.unlink(missing_ok=True)
        mode = (source / origin).stat().st_mode & 0o777
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        temporary.replace(path)
        changed.append(name)
    for stray in sorted(set(_files(target)) - set(files)):
        (target / stray).unlink()
        changed.append(stray)
    return changed


def _files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.distribution", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pki", type=Path, default=Path("/pki"), help="folder with everything (see deploy.pki)")
    parser.add_argument(
        "--secrets", type=Path, default=Path("/secrets"), help="folder with one volume for each process"
    )
    parser.add_argument("--nodes", default="", help="nodes as NAME=ADDRESS, separated by blanks")
    parser.add_argument("--sans", default="", help="further names and addresses of the control plane, with blanks")
    parser.add_argument("--server", required=True, help="API server's address for the admin")
    parser.add_argument("--internal-server", required=True, help="API server's address for the components")
    options = parser.parse_args(argv)
    nodes = options.nodes.split()
    written = pki.create(
        options.pki,
        nodes=nodes,
        sans=options.sans.split(),
        server=options.server,
        internal_server=options.internal_server,
    )
    print(f"{len(written)} certificates and keys made or renewed")
    for name, files in shares([pki.Node.parse(node).name for node in nodes]).items():
        changed = distribute(options.pki, options.secrets / name, files)
        print(f"{name}: {len(changed)} of {len(files)} files changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
