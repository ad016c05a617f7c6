"""Measures the running cluster (or a node of its own): ``python -m bench api|beside|node|pods|idle|up``.

docs/benchmarks.md keeps the figures.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path

from bench import api, beside, idle, node, pods, yardstick
from bench.cluster import KUBECONFIG, ROOT, alone


def up() -> None:
    """Seconds of ``./cox up`` with its images built and the cluster down, then of one that changes nothing."""
    cox = ROOT / "cox"
    subprocess.run([cox, "down"], check=True, stdout=subprocess.DEVNULL)
    for what in ("warm", "nothing to do"):
        started = time.monotonic()
        subprocess.run([cox, "up"], check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        print(f"./cox up, {what}: {time.monotonic() - started:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    load = what.add_parser("api", help=api.__doc__)
    load.add_argument("--seconds", type=int, default=5, help="for each row")
    load.add_argument("--pods", type=int, default=500, help="how many are there while the rows run")
    load.add_argument("--with-cluster", action="store_true", help="the cluster's own server, everything running")
    both = what.add_parser("beside", help=beside.__doc__)
    both.add_argument("--upstream", type=Path, required=True, help="a static kube-apiserver")
    both.add_argument("--seconds", type=int, default=4, help="for each row")
    both.add_argument("--pods", type=int, default=500)
    both.add_argument("--rounds", type=int, default=3)
    both.add_argument("--only", default="", help="rows, separated by commas")
    start = what.add_parser("pods", help=pods.__doc__)
    start.add_argument("--counts", type=int, nargs="+", default=[1, 10, 50])
    start.add_argument("--image", default="busybox:1.35")
    one = what.add_parser("node", help=node.__doc__)
    one.add_argument("--pods", type=int, default=50)
    one.add_argument("--seconds", type=int, default=30, help="while its pods do nothing")
    rest = what.add_parser("idle", help=idle.__doc__)
    rest.add_argument("--seconds", type=int, default=60)
    what.add_parser("up", help="how long ./cox up takes")
    chosen = parser.parse_args()
    match chosen.what:
        case "api":
            with nullcontext() if chosen.with_cluster else alone():
                measure = api.measure_cluster if chosen.with_cluster else api.measure
                print(api.table(measure(chosen.seconds, chosen.pods), yardstick.measure(chosen.seconds)))
        case "beside":
            with alone():
                print(beside.measure(chosen.upstream, chosen.seconds, chosen.pods, chosen.rounds, chosen.only))
        case "pods":
            for count in chosen.counts:
                kubectl = ["kubectl", "--kubeconfig", str(KUBECONFIG), "-n", "default"]
                print(pods.measure(count, chosen.image, kubectl), flush=True)
        case "node":
            print(node.measure(chosen.pods, chosen.seconds))
        case "idle":
            print(idle.measure(chosen.seconds))
        case "up":
            up()


if __name__ == "__main__":
    main()
