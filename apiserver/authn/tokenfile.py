"""The static token file: CSV lines of ``token,user,uid,"group1,group2"``, read again when it changes.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file
"""

from __future__ import annotations

import csv
import hashlib
import logging
import os
import time

from apiserver.types import User

log = logging.getLogger(__name__)

RECHECK_SECONDS = 1.0
"""How long a look at the file's modification time is good for: a request must not cost a stat()."""


def parse_token_file(text: str) -> dict[bytes, User]:
    """Users by the digest of their token. Raises ValueError naming the line that is wrong.

    Digests rather than tokens: a lookup then takes the same time whatever the guess has in common with a real one.
    """
    users: dict[bytes, User] = {}
    for number, row in enumerate(csv.reader(text.splitlines(), skipinitialspace=True), start=1):
        if not row or row[0].startswith("#"):
            continue
        if len(row) < 3:
            raise ValueError(f"line {number}: token file must have at least 3 columns (token, user name, user uid)")
        token, name, uid = (cell.strip() for cell in row[:3])
        if not token or not name:
            raise ValueError(f"line {number}: empty token or user name")
        groups = tuple(g.strip() for g in row[3].split(",") if g.strip()) if len(row) > 3 else ()
        users[digest(token)] = User(name=name, uid=uid, groups=groups)
    return users


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class TokenFile:
    """The users of the file as it is now. A file that cannot be read or parsed leaves the last good users in place."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._stamp: tuple[int, int] | None = None
        self._checked = float("-inf")
        self._users: dict[bytes, User] = {}
        self._reload(strict=True)

    def user(self, token: str) -> User | None:
        now = time.monotonic()
        if now - self._checked > RECHECK_SECONDS:
            self._reload(strict=False)
        return self._users.get(digest(token))

    def _reload(self, *, strict: bool) -> None:
        self._checked = time.monotonic()
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return
            with open(self._path, encoding="utf-8") as file:
                self._users = parse_token_file(file.read())
            self._stamp = stamp
        except (OSError, ValueError) as error:
            if strict:
                raise
            log.warning("token file %s cannot be read again, its last users stay valid: %s", self._path, error)
