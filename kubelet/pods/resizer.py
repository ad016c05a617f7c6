"""Changes what a running pod may take: decides whether it fits, remembers what was promised, and makes it so.

A promise is on the disk before it is kept, so that a kubelet that is killed in between goes on where it was. What a pod
wants beyond that waits: ``Infeasible`` when this node never has it, ``Deferred`` while others have it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path

from lightkube.resources.core_v1 import Pod

from kubelet.cri import RuntimeFailure, RuntimeUnavailable
from kubelet.pods import resources
from kubelet.pods.identity import identity_of, spec_of
from kubelet.pods.observed import PodObservation
from kubelet.pods.resources import Allocation, Step
from kubelet.pods.tools import Tools

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
DEFERRED_SECONDS = 10.0
FILE = "allocated_resources"
Fits = Callable[[Pod], str]
""""" when the node has what a pod of its own wants, else "Deferred" or "Infeasible"."""


class Resizer:
    """For one pod."""

    def __init__(self, pod: Pod, tools: Tools, directory: Path, fits: Fits | None) -> None:
        self._tools = tools
        self._fits = fits
        self._file = directory / FILE
        self._wanted = pod
        self._waiting = ""
        self._progress = False
        known = _read(self._file) or resources.reported(pod)
        self._allocated: Allocation = {**resources.allocation_of(spec_of(pod)), **known}

    @property
    def status(self) -> str | None:
        """As in a pod's status."""
        return self._waiting or ("InProgress" if self._progress else None)

    @property
    def retry(self) -> float | None:
        """Seconds until it should be looked at again."""
        return DEFERRED_SECONDS if self._waiting == "Deferred" else RETRY_SECONDS if self._progress else None

    def seen(self, pod: Pod) -> Pod:
        """A newer version from the API server; gives it with what it was promised."""
        self._wanted = pod
        return resources.with_allocation(pod, self._allocated)

    @property
    def pending(self) -> bool:
        """Whether the pod's newest spec asks for something else than it was promised."""
        return not resources.same(resources.allocation_of(spec_of(self._wanted)), self._allocated)

    async def decide(self) -> Pod:
        """The pod with what it is promised from now on. Raises OSError when the promise cannot be written down."""
        pod, wanted = self._wanted, resources.allocation_of(spec_of(self._wanted))
        if resources.same(wanted, self._allocated):
            self._waiting = ""
            return pod
        verdict = self._fits(pod) if self._fits is not None else "Infeasible"
        if verdict != self._waiting:
            log.info("pod %s: resize: %s", identity_of(pod), verdict or "accepted")
        self._waiting = verdict
        if verdict:
            return resources.with_allocation(pod, self._allocated)
        await asyncio.to_thread(_write, self._file, wanted)
        self._allocated = wanted
        return pod

    async def apply(self, pod: Pod, observed: PodObservation) -> tuple[list[Step], bool]:
        """Changes what can be changed while it runs. Gives what has to be restarted, and whether anything was done."""
        todo = resources.steps(pod, observed, self._tools.config)
        self._progress = bool(todo)
        if not todo:
            return [], False
        tools, spec, uid = self._tools, spec_of(pod), identity_of(pod).uid
        try:
            await tools.cgroups.grow(spec, uid)
            for step in todo:
                if not step.restart:
                    await tools.runtime.update_container_resources(step.container.id, step.wanted)
            if not any(step.restart for step in todo):
                await tools.cgroups.ensure(spec, uid)
                self._progress = False
            tools.cgroups.changed()
        except RuntimeUnavailable:
            raise
        except (RuntimeFailure, OSError) as error:
            log.warning("pod %s cannot be resized yet: %s", identity_of(pod), error)
        return [step for step in todo if step.restart], True


def _read(file: Path) -> Allocation:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(file: Path, allocation: Allocation) -> None:
    file.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(allocation))
    new.replace(file)
