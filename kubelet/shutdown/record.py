"""When the node last shut down, and when its pods had ended: for its figures, kept over restarts of the kubelet.

https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#graceful-node-shutdown: upstream's
``graceful_node_shutdown_state`` in the kubelet's root folder.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kubelet import metrics

log = logging.getLogger("kubelet.shutdown")

FILE = "graceful_node_shutdown_state"


@dataclass(frozen=True, slots=True)
class Record:
    """``end`` is None while pods are being ended, and when the kubelet was killed meanwhile."""

    start: datetime
    end: datetime | None = None

    def show(self) -> None:
        """As ``kubelet_graceful_shutdown_…_time_seconds``."""
        metrics.SHUTDOWN_START.set(int(self.start.timestamp()))
        metrics.SHUTDOWN_END.set(int(self.end.timestamp()) if self.end is not None else 0)

    def write(self, root: Path) -> None:
        """Blocking. A disk that takes nothing more holds no shutdown up."""
        times = {"startTime": self.start.isoformat(), "endTime": self.end.isoformat() if self.end else None}
        try:
            new = root / f"{FILE}.new"
            new.write_text(json.dumps(times))
            new.replace(root / FILE)
        except OSError as error:
            log.warning("the times of the shutdown cannot be written down: %s", error)


def read(root: Path) -> Record | None:
    """None when there was no shutdown, or nobody can tell of it. Blocking."""
    try:
        times = json.loads((root / FILE).read_bytes())
        end = times["endTime"]
        return Record(datetime.fromisoformat(times["startTime"]), datetime.fromisoformat(end) if end else None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("the times of the last shutdown cannot be read: %s", error)
        return None
