"""A D-Bus daemon of the test's own that stands for the system's."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy>
</busconfig>"""


@contextmanager
def system_bus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    socket = folder / "bus"
    (folder / "bus.conf").write_text(CONFIG.format(socket=socket))
    daemon = subprocess.Popen(["dbus-daemon", f"--config-file={folder / 'bus.conf'}", "--nofork"])
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={socket}")
    try:
        while not socket.exists():
            assert daemon.poll() is None
            time.sleep(0.02)
        yield
    finally:
        daemon.terminate()
        daemon.wait()
