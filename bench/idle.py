"""What the cluster costs when nobody uses it: resident memory and CPU of each container's processes."""

from __future__ import annotations

import time

from bench.cluster import CONTROL_PLANE, container_pids, usage


def measure(seconds: int) -> str:
    """A Markdown table. CPU is the mean over ``seconds``."""
    pids = container_pids()
    before = {service: usage(of).cpu for service, of in pids.items()}
    time.sleep(seconds)
    after = {service: usage(of) for service, of in pids.items()}
    lines = ["| container | resident MB | cores |", "|---|---|---|"]
    cores = {service: (used.cpu - before[service]) / seconds for service, used in after.items()}
    for service in sorted(after):
        lines.append(f"| {service} | {after[service].resident / 1e6:.0f} | {cores[service]:.4f} |")
    memory = sum(after[s].resident for s in CONTROL_PLANE) / 1e6
    lines.append(
        f"| **{' + '.join(CONTROL_PLANE)}** | **{memory:.0f}** | **{sum(cores[s] for s in CONTROL_PLANE):.4f}** |"
    )
    return "\n".join(lines)
