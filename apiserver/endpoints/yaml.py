"""JSON values as YAML, in the style of upstream's answers: keys sorted, block style, text quoted where it must be.

PyYAML's dumper takes about twenty times as long, since it goes by way of nodes and events; an answer has only maps,
lists and scalars.
"""

from __future__ import annotations

import json
import re
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+=,()~ -]*(?::[A-Za-z0-9_./@+=,()~-][A-Za-z0-9_./@+=,()~ -]*)*")
_AMOUNT = re.compile(r"[1-9][0-9]*(?:m|k|Ki|M|Mi|Gi|Ti|s|h)|[0-9]+(?:\.[0-9]+){2,}")
"""What starts with a digit and is no number to anybody: amounts, addresses and versions."""
_WORDS = frozenset(("y", "n", "yes", "no", "true", "false", "on", "off", "null", "nan", "inf"))
_QUOTED_EXTRA = re.compile(r"[\x7f-\x9f\ud800-\udfff\u2028\u2029\ufeff\ufffe\uffff\xad]|[^\x00-\uffff]")


def dump(value: Any) -> bytes:
    """The document, ending with a new line."""
    lines: list[str] = []
    if isinstance(value, dict) and value:
        _map(value, "", lines)
    elif isinstance(value, list) and value:
        _list(value, "", lines)
    else:
        lines.append(_inline(value, ""))
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def _map(value: dict[str, Any], pad: str, lines: list[str]) -> None:
    for key in sorted(value):
        item = value[key]
        name = pad + _key(key)
        if isinstance(item, dict) and item:
            lines.append(f"{name}:")
            _map(item, pad + "  ", lines)
        elif isinstance(item, list) and item:
            lines.append(f"{name}:")
            _list(item, pad, lines)
        else:
            lines.append(f"{name}: {_inline(item, pad)}")


def _list(value: list[Any], pad: str, lines: list[str]) -> None:
    inner = pad + "  "
    for item in value:
        if isinstance(item, dict) and item:
            at = len(lines)
            _map(item, inner, lines)
            lines[at] = f"{pad}- {lines[at][len(inner) :]}"
        elif isinstance(item, list) and item:
            at = len(lines)
            _list(item, inner, lines)
            lines[at] = f"{pad}- {lines[at][len(inner) :]}"
        else:
            lines.append(f"{pad}- {_inline(item, pad)}")


def _inline(value: Any, pad: str) -> str:
    """What stands behind a key or a dash: a scalar, or an empty collection."""
    match value:
        case None:
            return "null"
        case True:
            return "true"
        case False:
            return "false"
        case str():
            return _text(value, pad)
        case float():
            text = repr(value)
            return text if "." in text else text.replace("e", ".0e")
        case dict():
            return "{}"
        case list():
            return "[]"
        case _:
            return str(value)


def _key(text: str) -> str:
    return text if _is_plain(text) else _quoted(text)


def _text(text: str, pad: str) -> str:
    if _is_plain(text):
        return text
    if "\n" in text and _is_block(text):
        chomp = "-" if not text.endswith("\n") else "+" if text.endswith("\n\n") else ""
        body = text[:-1] if text.endswith("\n") else text
        return f"|{chomp}\n" + "\n".join(f"{pad}  {line}" if line else "" for line in body.split("\n"))
    return _quoted(text)


def _is_plain(text: str) -> bool:
    if _PLAIN.fullmatch(text):
        return not text.endswith(" ") and text.lower() not in _WORDS and not text.startswith("=")
    return _AMOUNT.fullmatch(text) is not None


def _is_block(text: str) -> bool:
    """Whether a block of lines shows the text as it is."""
    lines = text.split("\n")
    return bool(lines[0]) and lines[0][0] != " " and all(line.isprintable() and line.isascii() for line in lines)


def _quoted(text: str) -> str:
    return _QUOTED_EXTRA.sub(lambda found: _escape(found[0]), json.dumps(text, ensure_ascii=False))


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
