"""Docker's socket with somebody who counts what is asked of it."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from pathlib import Path

_REQUEST = re.compile(rb"(GET|POST|DELETE|HEAD|PUT) (?:/v[\d.]+)?(/[^ ?]*)\S* HTTP/1\.1\r\n")
_NUMBER = re.compile(r"/(?!create|json|events|prune)[^/]{12,}")


class CountingSocket:
    def __init__(self, path: Path, docker: str = "/var/run/docker.sock") -> None:
        self.path, self._docker = path, docker
        self.asked: list[str] = []
        """``POST /containers/*/start`` and so on, in their order."""
        self._listener = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> CountingSocket:
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._listener.close()

    def counts(self, since: int = 0) -> Counter[str]:
        return Counter(self.asked[since:])

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._docker)
            threading.Thread(target=self._copy, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._copy, args=(server, client, False), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, count: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                for method, path in _REQUEST.findall(data) if count else ():
                    self.asked.append(f"{method.decode()} {_NUMBER.sub('/*', path.decode())}")
                target.sendall(data)
        except OSError:
            pass
        finally:
            try:
                target.shutdown(socket.SHUT_WR)
            except OSError:
                pass
