"""Name checks of the hot path, remembered: the same few names come with every replica."""

from __future__ import annotations

from functools import lru_cache

from apiserver.resources.checks import Errors
from common.api.names import is_dns1123_label, is_qualified_name
from common.api.status import invalid_value


@lru_cache(maxsize=4096)
def label_problems(name: str) -> tuple[str, ...]:
    return tuple(is_dns1123_label(name))


@lru_cache(maxsize=4096)
def qualified_problems(name: str) -> tuple[str, ...]:
    return tuple(is_qualified_name(name))


def env_name_problems(name: str) -> list[str]:
    """Printable ASCII without ``=`` (KEP-4369)."""
    if name.isascii() and name.isprintable() and "=" not in name:
        return []
    return ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def path_problems(value: str, path: str) -> Errors:
    """A path inside a volume."""
    errors: Errors = []
    if value.startswith("/"):
        errors.append(invalid_value(path, value, "must be a relative path"))
    if ".." in value.split("/"):
        errors.append(invalid_value(path, value, "must not contain '..'"))
    return errors
