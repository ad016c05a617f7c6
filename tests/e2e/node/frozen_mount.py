"""Mounts a file system at a directory whose server never answers, as one of NFS does whose server is gone: the kernel
holds whoever looks at it. ``python frozen_mount.py DIRECTORY`` comes back; a process of its own stays and says nothing
until the file system is unmounted (its pid is written to standard output).
"""

from __future__ import annotations

import ctypes
import os
import select
import sys


def main(directory: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"frozen", os.fsencode(directory), b"fuse", ctypes.c_ulong(0), options) != 0:
        sys.exit(f"mount at {directory}: {os.strerror(ctypes.get_errno())}")
    child = os.fork()
    if child:
        print(child)
        return
    os.setsid()
    for standard in (0, 1, 2):
        os.dup2(os.open(os.devnull, os.O_RDWR), standard)
    poll = select.poll()
    poll.register(device, 0)
    poll.poll()  # POLLERR: it was unmounted


if __name__ == "__main__":
    main(sys.argv[1])
