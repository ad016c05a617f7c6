"""YAML as the Go library sigs.k8s.io/yaml reads it.

PyYAML follows YAML 1.1 to the letter: ``12:30`` is a number in base 60 and ``2020-01-01`` a date. The Go library reads
both as strings, and accepts 1e3 as a number; and every key of a map becomes a string.

So only libyaml's parser is used, and what is made of its events is made here, in one pass and without recursion:
PyYAML's own way from events to values takes ten times as long, and a body of brackets ends the process with its stack.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator
from typing import Any

import orjson
import yaml

from apiserver import depth
from apiserver.schema.model import MAX_STRICT_ERRORS
from common.api.status import BadRequest

Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?)")
_NUMERIC = frozenset("-+0123456789.")
_WORDS: dict[str, Any] = {
    **{form: True for word in ("yes", "true", "on") for form in (word, word.title(), word.upper())},
    **{form: False for word in ("no", "false", "off") for form in (word, word.title(), word.upper())},
    **dict.fromkeys(("~", "null", "Null", "NULL", "")),
    **{f"{sign}{word}": math.inf for sign in ("", "+") for word in (".inf", ".Inf", ".INF")},
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_NO_KEY: Any = object()
_MERGE: Any = object()
MAX_DIGITS = 250
"""Of a number: more than a float can hold."""
MAX_NODES = 500_000
"""Of a document with its aliases written out: a few lines of aliases of aliases would else fill the memory."""


class YAMLError(ValueError):
    """Text that is not YAML, in the words of the Go library."""


def load(data: bytes) -> tuple[Any, list[str]]:
    """The first document as JSON has it, and its duplicate keys. Raises YAMLError."""
    document = _Document()
    try:
        value = document.read(yaml.parse(data, Loader=Base))
        return orjson.loads(depth.dumps(value)), document.duplicates
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The Go library counts lines from 1 in its scanner and from 0 in its parser, and does not mention line 0.
        line = mark.line + isinstance(error, yaml.scanner.ScannerError) if mark and mark.line else 0
        where = f"line {line}: " if line else ""
        problem = (error.problem or "").replace("not allowed here", "not allowed in this context")
        raise YAMLError(f"yaml: {where}{problem}") from None
    except YAMLError:
        raise
    except BadRequest as error:
        raise YAMLError(f"yaml: {error.message}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise YAMLError(f"yaml: {error}") from None


class _Collection:
    """A list or a map that is not complete yet."""

    __slots__ = ("anchor", "began", "key", "merged", "value")

    def __init__(self, value: Any, anchor: str | None, began: int) -> None:
        self.value = value
        self.anchor = anchor
        self.began = began
        """How many nodes there were before it."""
        self.key: Any = _NO_KEY
        self.merged: list[dict[str, Any]] = []


class _Document:
    def __init__(self) -> None:
        self.duplicates: list[str] = []
        self._open: list[_Collection] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        """Values that have a name, and of how many nodes they are."""
        self._nodes = 0
        self._value: Any = None

    def read(self, events: Iterator[Any]) -> Any:
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._count(1)
                self._scalar(event)
            elif kind is yaml.MappingStartEvent:
                self._begin({}, event, "map")
            elif kind is yaml.SequenceStartEvent:
                self._begin([], event, "seq")
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._end()
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentEndEvent:
                break
        return self._value

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise YAMLError(f"yaml: document contains excessive aliasing or more than {MAX_NODES} nodes")

    def _begin(self, value: Any, event: Any, tag: str) -> None:
        if event.tag not in (None, "!", _TAG + tag):
            raise YAMLError(f"yaml: could not determine a constructor for the tag '{event.tag}'")
        if self._open and type(self._open[-1].value) is dict and self._open[-1].key is _NO_KEY:
            raise YAMLError("yaml: invalid map key")
        if len(self._open) == depth.MAX_DEPTH:
            raise YAMLError(f"yaml: exceeded max depth of {depth.MAX_DEPTH}")
        self._count(1)
        self._open.append(_Collection(value, event.anchor, self._nodes - 1))
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)

    def _end(self) -> None:
        done = self._open.pop()
        for merged in done.merged:
            for key, value in merged.items():
                done.value.setdefault(key, value)
        if done.anchor is not None:
            self._anchors[done.anchor] = done.value, self._nodes - done.began
        self._put(done.value)

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            if any(collection.anchor == event.anchor for collection in self._open):
                raise YAMLError(f"yaml: anchor '{event.anchor}' value contains itself")
            raise YAMLError(f"yaml: unknown anchor '{event.anchor}' referenced")
        value, nodes = self._anchors[event.anchor]
        self._count(nodes)
        if self._wants_key():
            if isinstance(value, dict | list):
                raise YAMLError("yaml: invalid map key")
            self._put_key(_key(value, str(value)), event)
        else:
            self._put(value)

    def _scalar(self, event: Any) -> None:
        text = event.value
        value = text if event.style and event.tag is None else _resolved(text, event.tag)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, 1
        if self._wants_key():
            plain = not event.style and event.tag is None
            self._put_key(_MERGE if plain and text == "<<" else _key(value, text), event)
        elif isinstance(value, float) and not math.isfinite(value):
            raise YAMLError(f"json: unsupported value: {'NaN' if math.isnan(value) else f'{value:+}'.title()}")
        else:
            self._put(value)

    def _wants_key(self) -> bool:
        return bool(self._open) and type(self._open[-1].value) is dict and self._open[-1].key is _NO_KEY

    def _put_key(self, key: Any, event: Any) -> None:
        into = self._open[-1]
        if key in into.value and len(self.duplicates) < MAX_STRICT_ERRORS:
            self.duplicates.append(f'line {event.start_mark.line + 1}: key "{key}" already set in map')
        into.key = key

    def _put(self, value: Any) -> None:
        if not self._open:
            self._value = value
            return
        into = self._open[-1]
        if type(into.value) is list:
            into.value.append(value)
            return
        if into.key is _MERGE:
            found = value if isinstance(value, list) else [value]
            if not all(isinstance(one, dict) for one in found):
                raise YAMLError("yaml: map merge requires map or sequence of maps as the value")
            into.merged += found
        else:
            into.value[into.key] = value
        into.key = _NO_KEY


def _resolved(text: str, tag: str | None) -> Any:
    """The value of a scalar that is not quoted, or that says what it is."""
    if tag is None:
        return _plain(text)
    if tag in ("!", _TAG + "str", _TAG + "timestamp"):
        return text
    if tag == _TAG + "binary":
        try:
            return base64.b64decode(text).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise YAMLError("yaml: !!binary value contains invalid base64 data") from None
    wanted = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(tag.removeprefix(_TAG))
    if wanted is None:
        raise YAMLError(f"yaml: could not determine a constructor for the tag '{tag}'")
    value = _plain(text)
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise YAMLError(f"yaml: cannot decode !!str `{text}` as a !!{tag.removeprefix(_TAG)}")
    return value


def _plain(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMERIC:
        if _INT.fullmatch(text):
            return _int(text)
        if _FLOAT.fullmatch(text):
            return float(text.replace("_", ""))
    return text


def _int(text: str) -> int | float | str:
    digits = text.replace("_", "").replace("0o", "0").lstrip("+-")
    sign = -1 if text.startswith("-") else 1
    if digits in ("0b", "0x"):
        return text
    if len(digits) > MAX_DIGITS:
        return sign * math.inf
    octal = len(digits) > 1 and digits[0] == "0" and digits[1].isdecimal()
    number = sign * int(digits, 8 if octal else 0)
    # What fits in no integer of Go's is a float there.
    return number if -(1 << 63) <= number < 1 << 64 else float(number)


def _key(value: Any, text: str) -> str:
    """A key as JSON has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    return str(value) if isinstance(value, int) else text
