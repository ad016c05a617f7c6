"""Which of the server's forms a client takes: its Accept header against what there is.

Upstream: apiserver/pkg/endpoints/handlers/negotiation. Clauses are tried in the order of their quality, the more
specific first among equals; a clause that asks for a form the server does not have is passed over for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.api.status import NotAcceptable
from common.remember import remembered

JSON, YAML = "application/json", "application/yaml"
MEDIA_TYPES = (JSON, YAML)
STREAMED = (JSON,)
"""What a watch can be written in: YAML has no frames."""
STREAMED_TYPES = (f"{JSON};stream=watch",)
"""As a refusal names them."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One form that the client takes. ``kind`` is what to convert to (``as=``), none for the object as it is."""

    kind: str = ""
    group: str = ""
    version: str = ""
    media: str = JSON
    stream: str = ""
    pretty: bool = False


@remembered(512)
def parse_accept(header: str) -> tuple[Accepted, ...]:
    """The forms in the client's order of preference; empty when none can be given."""
    found: list[tuple[tuple[float, bool, bool], Accepted]] = []
    for clause in (header or "*/*").split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        kind, _, subkind = media.lower().partition("/")
        values = {name.strip(): value.strip() for name, _, value in (p.partition("=") for p in parameters)}
        order = (-_quality(values.get("q", "")), kind == "*", subkind == "*")
        for offered in MEDIA_TYPES:
            if media.lower() in (offered, "application/*", "*/*"):
                form = Accepted(
                    values.get("as", ""),
                    values.get("g", ""),
                    values.get("v", ""),
                    offered,
                    values.get("stream", ""),
                    values.get("pretty") == "1",
                )
                found.append((order, form))
    return tuple(form for _, form in sorted(found, key=lambda item: item[0]))


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


def not_acceptable(offered: Sequence[str] = MEDIA_TYPES) -> NotAcceptable:
    return NotAcceptable(f"only the following media types are accepted: {', '.join(offered)}")


@remembered(512)
def media_of(header: str) -> Accepted:
    """How to write what has one form only: a Status, or a document. JSON for clients that take nothing there is."""
    for form in parse_accept(header):
        if not form.kind and not form.stream:
            return form
    return Accepted()


@remembered(512)
def takes_gzip(header: str) -> bool:
    """As upstream reads Accept-Encoding: the bare word, whatever its place; a quality is not looked at."""
    return any(token.strip() == "gzip" for token in header.split(","))
