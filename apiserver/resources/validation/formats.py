"""Names with a domain in them, and what Go prints for values that are neither texts nor numbers.

Upstream: apimachinery/pkg/util/validation and apimachinery/pkg/api/validation/path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from apiserver.resources.checks import Errors, texts
from common.api.names import is_dns1123_label, is_dns1123_subdomain, parse_ip
from common.api.status import GoSyntax, invalid_value, required

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_WILDCARD = re.compile(rf"\*\.{_SUBDOMAIN}")
_WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', "
    rf"regex used for validation is '\*\.{_SUBDOMAIN}')"
)
_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_PATH_TEXT = f"Invalid path (regex used for validation is '{_PATH}')"


def is_wildcard_subdomain(value: str) -> list[str]:
    errors = ["must be no more than 253 bytes"] if len(value) > 253 else []
    return errors if _WILDCARD.fullmatch(value) else [*errors, _WILDCARD_TEXT]


def path_segment(value: str) -> list[str]:
    """What may be a part of a URL's path."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{c}'" for c in ("/", "%") if c in value]


def domain_prefixed_path(value: str, path: str) -> Errors:
    """``example.com/name``, both parts filled."""
    if not value:
        return [required(path)]
    domain, slash, rest = value.partition("/")
    if not slash or not domain or not rest:
        return [invalid_value(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    errors = texts(path, domain, is_dns1123_subdomain(domain))
    if not re.fullmatch(_PATH, rest):
        errors.append(invalid_value(path, rest, _PATH_TEXT))
    return errors


def fully_qualified_name(value: str, path: str) -> Errors:
    """A domain of at least three segments."""
    if not value:
        return [required(path)]
    if problems := is_dns1123_subdomain(value):
        return [invalid_value(path, value, ",".join(problems))]
    if len(value.split(".")) < 3:
        return [invalid_value(path, value, "should be a domain with at least three segments separated by dots")]
    return []


def fully_qualified_domain_name(value: str, path: str) -> Errors:
    """A domain of at least two labels; a dot at its end is right."""
    if not value:
        return [required(path)]
    value = value.removesuffix(".")
    if problems := is_dns1123_subdomain(value):
        return [invalid_value(path, value, ",".join(problems))]
    labels = value.split(".")
    if len(labels) < 2:
        return [invalid_value(path, value, "should be a domain with at least two segments separated by dots")]
    for label in labels:
        if problems := is_dns1123_label(label):
            return [invalid_value(path, label, ",".join(problems))]
    return []


def ip_of_family(value: str, path: str, version: int) -> Errors:
    """An IPv4 address in IPv6's form counts as IPv4, as in Go."""
    ip = parse_ip(value)
    found = 4 if getattr(ip, "ipv4_mapped", None) else ip and ip.version
    return [] if found == version else [invalid_value(path, value, f"must be a valid IPv{version} address")]


def go_list(kind: str, values: Iterable[str] | None) -> GoSyntax:
    """A list of a named string type."""
    if values is None:
        return GoSyntax(f"[]{kind}(nil)")
    return GoSyntax(f"[]{kind}{{{', '.join(map(json.dumps, values))}}}")


def go_struct(kind: str, obj: Mapping[str, Any] | None, fields: Iterable[str]) -> GoSyntax:
    """A struct of plain string fields."""
    shown = ", ".join(f"{_go_name(name)}:{json.dumps((obj or {}).get(name) or '')}" for name in fields)
    return GoSyntax(f"{kind}{{{shown}}}")


def _go_name(field: str) -> str:
    """``apiGroup`` is APIGroup."""
    return f"API{field[3:]}" if field.startswith("api") else f"{field[0].upper()}{field[1:]}"


def go_time(text: str) -> GoSyntax:
    """A time as Go's String prints it, in UTC."""
    return GoSyntax(text.replace("T", " ").replace("Z", " +0000 UTC"))
