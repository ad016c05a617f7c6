"""Name checks of the hot path, remembered: the same few names come with every replica. And paths inside volumes."""

from __future__ import annotations

from apiserver.resources.checks import Errors
from common.api.names import is_dns1123_label, is_dns1123_subdomain, is_label_value, is_qualified_name
from common.api.status import invalid_value
from common.remember import remembered


@remembered(4096)
def label_problems(name: str) -> tuple[str, ...]:
    return tuple(is_dns1123_label(name))


@remembered(4096)
def subdomain_problems(name: str) -> tuple[str, ...]:
    return tuple(is_dns1123_subdomain(name))


@remembered(4096)
def qualified_problems(name: str) -> tuple[str, ...]:
    return tuple(is_qualified_name(name))


@remembered(4096)
def label_value_problems(value: str) -> tuple[str, ...]:
    return tuple(is_label_value(value))


@remembered(4096)
def env_name_problems(name: str) -> tuple[str, ...]:
    """Printable ASCII without ``=`` (KEP-4369)."""
    if name.isascii() and name.isprintable() and "=" not in name:
        return ()
    return ("a valid environment variable name must consist only of printable ASCII characters other than '='",)


def prefix_problems(name: str) -> tuple[str, ...]:
    """Of a subdomain that more may be appended to: it may end with a dash (upstream: maskTrailingDash)."""
    masked = name[:-1] + "a" if len(name) > 1 and name.endswith("-") else name
    return subdomain_problems(masked)


def check_names(errors: Errors, path: str, value: str, problems: tuple[str, ...]) -> None:
    for text in problems:
        errors.append(invalid_value(path, value, text))


def check_no_backsteps(errors: Errors, value: str, path: str) -> None:
    if ".." in value and ".." in value.split("/"):
        errors.append(invalid_value(path, value, "must not contain '..'"))


def check_descending(errors: Errors, value: str, path: str) -> None:
    """A relative path that does not lead out of where it is put."""
    if value.startswith("/"):
        errors.append(invalid_value(path, value, "must be a relative path"))
    check_no_backsteps(errors, value, path)


def check_local_path(errors: Errors, value: str, path: str) -> None:
    """A path inside a volume. Names that begin with two dots are the kubelet's own."""
    check_descending(errors, value, path)
    if value.startswith("..") and not value.startswith("../"):
        errors.append(invalid_value(path, value, "must not start with '..'"))
