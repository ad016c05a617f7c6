"""Who the node is to a registry: entries of pull secrets and of the node's own Docker configuration.

https://kubernetes.io/docs/concepts/containers/images/#config-json tells how entries match images: by host, by port and
by the beginning of the path, with stars in the parts of the host's name.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lightkube.resources.core_v1 import Secret

from kubelet.cri import RegistryAuth

DEFAULT_REGISTRY = "docker.io"
_DEFAULT_KEY = "index.docker.io"
_SECRET_KEYS = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}


def secret_config(secret: Secret) -> bytes | None:
    """What a pull secret says; None when it is none."""
    data = (secret.data or {}).get(_SECRET_KEYS.get(secret.type or "", ""))
    try:
        return base64.b64decode(data) if data is not None else None
    except binascii.Error:
        return None


def node_configs(root: Path, home: Path | None = None) -> list[bytes]:
    """``config.json`` in the kubelet's folder, and the one of docker's command line. Blocking, for microseconds."""
    places = [root / "config.json", *([home / ".docker/config.json"] if home is not None else [])]
    found = []
    for place in places:
        try:
            found.append(place.read_bytes())
        except OSError:
            continue
    return found


def credentials(registry: str, path: str, configs: Iterable[bytes]) -> list[RegistryAuth]:
    """All that match an image, those of the first configuration first, in it the most precise first."""
    found: list[RegistryAuth] = []
    for config in configs:
        entries = {_key(server): (server, entry) for server, entry in _entries(config).items()}
        matching = [key for key in sorted(entries, reverse=True) if _matches(key, registry, path)]
        if not matching and registry == DEFAULT_REGISTRY and _DEFAULT_KEY in entries:
            matching = [_DEFAULT_KEY]
        for key in matching:
            auth = _auth(*entries[key])
            if auth is not None and auth not in found:
                found.append(auth)
    return found


def _entries(config: bytes) -> Mapping[str, Any]:
    """Of ``.dockerconfigjson``, or of the older ``.dockercfg``; a configuration that cannot be read has none."""
    try:
        parsed = json.loads(config)
    except (ValueError, RecursionError):
        return {}
    entries = parsed.get("auths", parsed) if isinstance(parsed, dict) else {}
    return entries if isinstance(entries, dict) else {}


def _key(server: str) -> str:
    """Without a scheme, and without the version of the registry's interface."""
    host, slash, path = server.removeprefix("https://").removeprefix("http://").partition("/")
    path = slash + path
    if path.startswith(("/v1/", "/v2/")):
        path = path[3:]
    return host + path if path not in ("", "/") else host


def _matches(key: str, registry: str, path: str) -> bool:
    host, _, prefix = key.partition("/")
    name, _, port = host.partition(":")
    wanted_name, _, wanted_port = registry.partition(":")
    parts, wanted = name.split("."), wanted_name.split(".")
    same_host = len(parts) == len(wanted) and all(fnmatchcase(w, p) for p, w in zip(parts, wanted, strict=True))
    return same_host and port == wanted_port and path.startswith(prefix)


def _auth(server: str, entry: object) -> RegistryAuth | None:
    if not isinstance(entry, dict):
        return None
    user, password = str(entry.get("username", "")), str(entry.get("password", ""))
    if encoded := entry.get("auth"):
        try:
            user, _, password = base64.b64decode(str(encoded)).decode().partition(":")
        except ValueError:
            return None
    return RegistryAuth(user, password, str(entry.get("identitytoken", "")), server)
