"""Syntax of names, labels, addresses and ports. A check returns upstream's texts of what is wrong, [] when all is well.

Rules: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and …/labels/
"""

from __future__ import annotations

import ipaddress
import re

from common.remember import remembered

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_C_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_PORT_NAME = re.compile(r"[-a-z0-9]+")
_HEADER_NAME = re.compile(r"[-A-Za-z0-9]+")
_DIGITS = re.compile(r"[0-9]{1,8}")


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def _exceeds(value: str, limit: int) -> bool:
    """Lengths are counted in bytes, as Go counts them."""
    return len(value) > limit or (not value.isascii() and len(value.encode(errors="replace")) > limit)


def _regex(text: str, pattern: re.Pattern[str], *examples: str) -> str:
    return f"{text} (e.g. {_examples(examples)}, regex used for validation is '{pattern.pattern}')"


def _examples(examples: tuple[str, ...]) -> str:
    """Upstream's way to list them: ``'a',  or 'b',  or 'c'``."""
    return ",  or ".join(f"'{e}'" for e in examples)


def is_dns1123_label(value: str) -> list[str]:
    errors = [_too_long(63)] if _exceeds(value, 63) else []
    if not _LABEL.fullmatch(value):
        if _SUBDOMAIN.fullmatch(value):
            return [*errors, "must not contain dots"]
        errors.append(
            _regex(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
                "and must start and end with an alphanumeric character",
                _LABEL,
                "my-name",
                "123-abc",
            )
        )
    return errors


def is_dns1123_subdomain(value: str) -> list[str]:
    errors = [_too_long(253)] if _exceeds(value, 253) else []
    if not _SUBDOMAIN.fullmatch(value):
        errors.append(
            _regex(
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
                "and must start and end with an alphanumeric character",
                _SUBDOMAIN,
                "example.com",
            )
        )
    return errors


def is_dns1035_label(value: str) -> list[str]:
    errors = [_too_long(63)] if _exceeds(value, 63) else []
    if not _LABEL_1035.fullmatch(value):
        errors.append(
            _regex(
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
                "start with an alphabetic character, and end with an alphanumeric character",
                _LABEL_1035,
                "my-name",
                "abc-123",
            )
        )
    return errors


def is_qualified_name(value: str) -> list[str]:
    """A label or annotation key: ``[prefix/]name``."""
    prefix, slash, name = value.rpartition("/")
    errors: list[str] = []
    if slash:
        if not prefix:
            errors.append("prefix part must be non-empty")
        elif "/" in prefix:
            example = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            return [f"a qualified name {_qualified_rule()} {example}"]
        else:
            errors += [f"prefix part {e}" for e in is_dns1123_subdomain(prefix)]
    if not name:
        errors.append("name part must be non-empty")
    elif _exceeds(name, 63):
        errors.append("name part " + _too_long(63))
    if not _QUALIFIED.fullmatch(name):
        errors.append(f"name part {_qualified_rule()}")
    return errors


def _qualified_rule() -> str:
    return _regex(
        "must consist of alphanumeric characters, '-', '_' or '.', "
        "and must start and end with an alphanumeric character",
        _QUALIFIED,
        "MyName",
        "my.name",
        "123-abc",
    )


def is_label_value(value: str) -> list[str]:
    errors = [_too_long(63)] if _exceeds(value, 63) else []
    if not _LABEL_VALUE.fullmatch(value):
        errors.append(
            _regex(
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
                "and must start and end with an alphanumeric character",
                _LABEL_VALUE,
                "MyValue",
                "my_value",
                "12345",
            )
        )
    return errors


def is_c_identifier(value: str) -> list[str]:
    if _C_IDENTIFIER.fullmatch(value):
        return []
    return [
        _regex(
            "a valid C identifier must start with alphabetic character or '_', "
            "followed by a string of alphanumeric characters or '_'",
            _C_IDENTIFIER,
            "my_name",
            "MY_NAME",
            "MyName",
        )
    ]


def is_env_var_name(value: str) -> list[str]:
    if not _ENV_NAME.fullmatch(value):
        return [
            _regex(
                "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', "
                "and must not start with a digit",
                _ENV_NAME,
                "my.env-name",
                "MY_ENV.NAME",
                "MyEnvName1",
            )
        ]
    return _dots(value)


def _dots(value: str) -> list[str]:
    if value == ".":
        return ["must not be '.'"]
    if value == "..":
        return ["must not be '..'"]
    if value.startswith(".."):
        return ["must not start with '..'"]
    return []


def is_config_map_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret."""
    errors = [_too_long(253)] if _exceeds(value, 253) else []
    if not _CONFIG_KEY.fullmatch(value):
        return [
            *errors,
            _regex(
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                _CONFIG_KEY,
                "key.name",
                "KEY_NAME",
                "key-name",
            ),
        ]
    return errors + _dots(value)


def is_valid_port_num(port: int) -> list[str]:
    return [] if 1 <= port <= 65535 else ["must be between 1 and 65535, inclusive"]


def is_valid_port_name(value: str) -> list[str]:
    """An IANA service name, as container and service ports use them."""
    errors = []
    if _exceeds(value, 15):
        errors.append(_too_long(15))
    if not _PORT_NAME.fullmatch(value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def is_http_header_name(value: str) -> list[str]:
    if _HEADER_NAME.fullmatch(value):
        return []
    text = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [_regex(text, _HEADER_NAME, "X-Header-Name")]


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@remembered(4096)
def parse_ip(value: str) -> Address | None:
    """An address as upstream's ParseIPSloppy takes it: leading zeros are decimal zeros, IPv6 zones are refused."""
    if ":" not in value:
        parts = value.split(".")
        if len(parts) != 4 or not all(_DIGITS.fullmatch(part) and int(part) <= 255 for part in parts):
            return None
        return ipaddress.IPv4Address(bytes(map(int, parts)))
    head, dot, _ = value.partition(".")
    if dot:  # an IPv4 address at the end
        head, _, tail = value.rpartition(":")
        last = parse_ip(tail)
        if not isinstance(last, ipaddress.IPv4Address):
            return None
        value = f"{head}:{last}"
    try:
        return None if "%" in value else ipaddress.IPv6Address(value)
    except ValueError:
        return None


def is_ip(value: str) -> list[str]:
    if parse_ip(value) is not None:
        return []
    return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_cidr(value: str) -> Network | None:
    """An address and the number of bits, no netmask (upstream: ParseCIDRSloppy). The address may lie in the network."""
    address, slash, bits = value.partition("/")
    found = parse_ip(address) if slash else None
    if found is None or not _DIGITS.fullmatch(bits) or int(bits) > found.max_prefixlen:
        return None
    return ipaddress.ip_network((found.packed, int(bits)), strict=False)


def is_cidr(value: str) -> list[str]:
    if parse_cidr(value) is not None:
        return []
    return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
