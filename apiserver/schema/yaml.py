"""YAML as the Go library sigs.k8s.io/yaml reads it.

PyYAML follows YAML 1.1 to the letter: ``12:30`` is a number in base 60 and ``2020-01-01`` a date. The Go library reads
both as strings, and accepts 1e3 as a number; and every key of a map becomes a string. libyaml does the scanning.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
_INT = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)


MAX_NODES = 500_000
"""Of a document with its aliases written out: a few lines of aliases of aliases would else fill the memory."""


class YAMLError(ValueError):
    """Text that is not YAML, in the words of the Go library."""


class Loader(Base):  # type: ignore[misc]
    """One document. ``duplicates`` are the paths of keys that came twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.duplicates: list[str] = []

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
        own = [_text(key) for key, _ in node.value if key.tag != _MERGE]
        if len(set(own)) != len(own):
            self._note_duplicates(node)
        self.flatten_mapping(node)
        return {_text(key): self.construct_object(value, deep=True) for key, value in node.value}

    def _note_duplicates(self, node: Any) -> None:
        seen: set[str] = set()
        for key, _ in node.value:
            name = _text(key)
            if name in seen:
                self.duplicates.append(f'line {key.start_mark.line + 1}: key "{name}" already set in map')
            seen.add(name)


def _text(node: Any) -> str:
    """A key as JSON has it."""
    if not isinstance(node, yaml.ScalarNode):
        raise YAMLError("yaml: invalid map key")
    if node.tag == "tag:yaml.org,2002:bool":
        return _bool_key(node.value)
    return "null" if node.tag == "tag:yaml.org,2002:null" else str(node.value)


def _bool_key(value: str) -> str:
    return "true" if value.lower() in ("true", "yes", "on") else "false"


def _construct_int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node).replace("_", "").replace("0o", "0")
    sign = -1 if text.startswith("-") else 1
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdecimal():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


def _construct_map(loader: Any, node: Any) -> Any:
    yield (data := {})
    data.update(loader.construct_mapping(node))


def _resolver(tag: str, pattern: str | re.Pattern[str], first: str) -> None:
    compiled = re.compile(pattern) if isinstance(pattern, str) else pattern
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{compiled.pattern})$"), list(first))


_resolver("bool", r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO")
_resolver("int", _INT, "-+0123456789")
_resolver("float", _FLOAT, "-+0123456789.")
_resolver("merge", "<<", "<")
Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
Loader.add_constructor("tag:yaml.org,2002:map", _construct_map)


def _written_out(node: Any, known: dict[int, int], above: set[int]) -> int:
    """How many nodes there are when each alias is replaced by what it stands for."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in above:
        raise YAMLError("yaml: anchor value contains itself")
    above.add(id(node))
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_written_out(child, known, above) for child in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_written_out(child, known, above) for pair in node.value for child in pair)
    above.discard(id(node))
    known[id(node)] = size
    return size


def load(data: bytes) -> tuple[Any, list[str]]:
    """The first document, and its duplicate keys. Raises YAMLError."""
    try:
        loader = Loader(data)
        try:
            node = loader.get_node() if loader.check_node() else None
            if node is None:
                return None, []
            if _written_out(node, {}, set()) > MAX_NODES:
                raise YAMLError("yaml: document contains excessive aliasing")
            return loader.construct_document(node), loader.duplicates
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The Go library counts lines from 1 in its scanner and from 0 in its parser, and does not mention line 0.
        line = mark.line + isinstance(error, yaml.scanner.ScannerError) if mark and mark.line else 0
        where = f"line {line}: " if line else ""
        problem = (error.problem or "").replace("not allowed here", "not allowed in this context")
        raise YAMLError(f"yaml: {where}{problem}") from None
    except YAMLError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YAMLError(f"yaml: {error}") from None
