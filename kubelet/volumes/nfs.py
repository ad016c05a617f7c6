"""nfs: mounted by mount(8), which needs the machine's nfs-common.

https://kubernetes.io/docs/concepts/storage/volumes/#nfs. A mount waits for its server as long as mount(8) does, but no
longer than a pod waits for its volumes; the command ends together with the wish for it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
from collections.abc import Iterable, Sequence
from contextlib import suppress

from kubelet.types import VolumeError

SECONDS = 123.0
"""Upstream's 2m3s."""
_OUTPUT_LIMIT = 4096


def source(server: str, path: str) -> str:
    """``server:path``, an IPv6 address in brackets."""
    with suppress(ValueError):
        if ipaddress.ip_address(server).version == 6:
            server = f"[{server}]"
    return f"{server}:{path}"


def arguments(what: str, target: str, mount_options: Iterable[str], *, read_only: bool) -> list[str]:
    """Of mount(8). Options are each there once, sorted, as upstream joins them."""
    options = sorted({*mount_options, *(["ro"] if read_only else [])})
    return ["-t", "nfs", *(["-o", ",".join(options)] if options else []), what, target]


async def mount(words: Sequence[str], seconds: float = SECONDS) -> None:
    """Raises VolumeError with the command and what it said."""
    # A file, not a pipe: a daemon that mount leaves behind would keep that open.
    with os.fdopen(os.memfd_create("mount"), "w+b") as output:
        process = await asyncio.create_subprocess_exec(
            "mount",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(seconds):
                code = await process.wait()
        except TimeoutError:
            raise VolumeError(_failure(f"no answer within {seconds:.0f} s", words, "")) from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # mount.nfs is a child of it
                await asyncio.shield(process.wait())
        if code != 0:
            said = os.pread(output.fileno(), _OUTPUT_LIMIT, 0).decode(errors="replace")
            raise VolumeError(_failure(f"exit status {code}", words, said))


def _failure(how: str, words: Sequence[str], output: str) -> str:
    """Upstream's four lines."""
    command = f"Mounting command: mount\nMounting arguments: {' '.join(words)}"
    return f"mount failed: {how}\n{command}\nOutput: {output}"
