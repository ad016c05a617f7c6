"""Arguments of `cox`, and what each command does in which order."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from deploy.cli import addons, cluster, images, machine, registry, testing
from deploy.cli.console import STATE, CoxError, say, step, try_run


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    try:
        code: int = options.action(options)
    except CoxError as error:
        print(f"cox: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cox", description="A Kubernetes cluster on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="bring the cluster up; install and build what is missing")
    up.add_argument("--nodes", type=int, metavar="N", help="number of node containers (2, or as many as last time)")
    up.add_argument(
        "--host-node",
        action=argparse.BooleanOptionalAction,
        help="make this machine itself a node, with its own Docker and network",
    )
    up.add_argument("--merge-kubeconfig", action="store_true", help="make it the current context of ~/.kube/config")
    up.set_defaults(action=_up)

    down = commands.add_parser("down", help="take the cluster down, and remove all that `up` made")
    down.add_argument("--data", action="store_true", help="remove its data too: etcd's, the registry's, the nodes'")
    down.set_defaults(action=_down)

    status = commands.add_parser("status", help="show each process, node, address and version")
    status.set_defaults(action=_status)

    nodes = commands.add_parser("nodes", help="set the number of nodes on this machine")
    nodes.add_argument("number", type=int, metavar="N")
    nodes.set_defaults(action=_nodes)

    build = commands.add_parser("images", help="build the images, as far as they are not up to date")
    build.set_defaults(action=_images)

    load = commands.add_parser("load", help="give a local image to every node, under its plain name")
    load.add_argument("image", nargs="+", metavar="IMAGE")
    load.set_defaults(action=_load_images)

    test = commands.add_parser("test", help="install what the tests need and run them")
    test.add_argument("layer", nargs="?", choices=[*testing.LAYERS, "all"], default="all")
    test.add_argument("pytest", nargs=argparse.REMAINDER, help="passed to pytest")
    test.set_defaults(action=lambda options: testing.test(options.layer, options.pytest))
    return parser


def _up(options: argparse.Namespace) -> int:
    settings = cluster.change_settings(nodes=options.nodes, host_node=options.host_node)
    machine.ensure()
    images.ensure()
    changed = cluster.up(settings)
    _load()
    if options.merge_kubeconfig or _wants_merge():
        say(f"  The cluster is the current context of {cluster.merge_kubeconfig()}")
    say("The cluster is ready." if changed else "The cluster is up already; nothing was changed.")
    _print_hints()
    return 0


def _load() -> None:
    """Add-ons and samples at the same time: pushing is mostly compressing, with one core each."""
    with step("Installing add-ons, loading sample images"), ThreadPoolExecutor(1) as pool:
        registry.trust_registry()
        installing = pool.submit(addons.install)
        for image in images.SAMPLES:
            registry.load(image.tag)
        installing.result()


def _wants_merge() -> bool:
    """Ask once, and only a person at a terminal."""
    asked = STATE / "asked-to-merge"
    if asked.exists() or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    asked.touch()
    return input("  Make this cluster the current context of ~/.kube/config? [y/N] ").strip().lower() in ("y", "yes")


def _print_hints() -> None:
    server = json.loads(cluster.KUBECONFIG.read_text())["clusters"][0]["cluster"]["server"]
    credentials = f"--cacert {STATE}/ca.crt --cert {STATE}/admin.crt --key {STATE}/admin.key"
    say("\nTry next:")
    say(f"  export KUBECONFIG={cluster.KUBECONFIG} && kubectl get nodes -o wide")
    say("  kubectl create deployment httpd --image=httpd:v1 --replicas=3 && kubectl get pods -o wide")
    say(f"  curl {credentials} {server}/api/v1/namespaces/default/pods")


def _down(options: argparse.Namespace) -> int:
    if not machine.docker_answers():
        say("Docker does not run, and so nothing of the cluster does.")
        return 0
    with step("Taking the cluster down"):
        cluster.down(data=options.data)
        registry.distrust_registry()
        for name in ("kubeconfig", "ca.crt", "admin.crt", "admin.key"):
            (STATE / name).unlink(missing_ok=True)
        if options.data:
            registry.forget_loaded()
    return 0


def _status(_: argparse.Namespace) -> int:
    settings = cluster.load_settings()
    rows: list[tuple[str, ...]] = [("PROCESS", "STATE", "ADDRESS", "VERSION")]
    for one in cluster.containers(settings) if machine.docker_answers() else []:
        if one.service != "pki":
            rows.append((one.service, one.health or one.state, _address(one.name), _image_version(one.name)))
    if len(rows) == 1:
        say("The cluster is down. `./cox up` brings it up.")
        return 1
    _table(rows)
    result = try_run(["kubectl", "--kubeconfig", cluster.KUBECONFIG, "get", "nodes", "-o", "wide"])
    say("\n" + (result.stdout or result.stderr).decode().rstrip())
    version = try_run(["kubectl", "--kubeconfig", cluster.KUBECONFIG, "version"])
    say("\n" + version.stdout.decode().rstrip())
    return 0 if result.returncode == 0 else 1


def _address(container: str) -> str:
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return try_run(["docker", "inspect", "-f", template, container]).stdout.decode().strip() or "-"


def _image_version(container: str) -> str:
    """The content hash of the image that a container was made from."""
    template = f'{{{{.Config.Image}}}} {{{{index .Config.Labels "{images.HASH_LABEL}"}}}}'
    return try_run(["docker", "inspect", "-f", template, container]).stdout.decode().strip()


def _table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        say("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _nodes(options: argparse.Namespace) -> int:
    settings = cluster.change_settings(nodes=options.number)
    cluster.up(settings)
    say(cluster.kubectl("get", "nodes").rstrip())
    return 0


def _images(_: argparse.Namespace) -> int:
    machine.ensure_docker()
    machine.ensure_buildx()
    say("Images are built." if images.ensure() else "Images are up to date.")
    return 0


def _load_images(options: argparse.Namespace) -> int:
    registry.trust_registry()
    for image in options.image:
        with step(f"Loading {image}") as current:
            if not registry.load(image):
                current.done_as = "is there already"
    return 0
