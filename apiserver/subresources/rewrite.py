"""What a proxied answer says of its own server's addresses, turned into addresses that lead through the API server.

A page that links to ``/style.css`` means its own server; fetched through ``…/pods/web/proxy/`` the link must lead to
``…/pods/web/proxy/style.css``. So redirects and the links of HTML are rewritten (upstream:
apimachinery/pkg/util/proxy).
"""

from __future__ import annotations

import html
import posixpath
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

MAX_TAG = 64 * 1024
"""A start tag longer than this is left as it is."""

LINKS: dict[str, frozenset[str]] = {
    tag: frozenset(attributes.split())
    for tag, attributes in {
        "a": "href",
        "applet": "codebase",
        "area": "href",
        "audio": "src",
        "base": "href",
        "blockquote": "cite",
        "body": "background",
        "button": "formaction",
        "command": "icon",
        "del": "cite",
        "embed": "src",
        "form": "action",
        "frame": "longdesc src",
        "head": "profile",
        "html": "manifest",
        "iframe": "longdesc src",
        "img": "longdesc src usemap",
        "input": "src usemap formaction",
        "ins": "cite",
        "link": "href",
        "object": "classid codebase data usemap",
        "q": "cite",
        "script": "src",
        "source": "src",
        "video": "poster src",
    }.items()
}
"""The attributes of HTML that hold a URL (https://html.spec.whatwg.org/multipage/indices.html#attributes-3)."""
_RAW = frozenset(("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "plaintext"))
"""Elements whose content is text, whatever it looks like."""
_TAG = re.compile(r"<([A-Za-z][A-Za-z0-9]*)((?:[^\"'>]|\"[^\"]*\"|'[^']*')*)>")
_ATTRIBUTE = re.compile(r"([^\s\"'>/=]+)(\s*=\s*)(\"[^\"]*\"|'[^']*'|[^\s\"'>]+)")


@dataclass(frozen=True)
class Prefix:
    """The way to a server through the API server."""

    path: str
    """What stands before the server's own paths, without a slash at its end."""
    authority: str
    """The server's own host and port."""
    asked: str
    """The host that the client asked for (the header Host)."""

    def url(self, text: str) -> str:
        """Other servers' addresses, relative ones and what is no URL stay as they are."""
        try:
            parts = urlsplit(text)
        except ValueError:
            return text
        other = parts.netloc not in ("", self.authority, self.asked)
        if other or not parts.path.startswith("/"):
            return text
        if parts.netloc != self.asked:
            parts = parts._replace(scheme="", netloc="")
        if not parts.path.startswith(self.path):
            parts = parts._replace(path=joined(self.path, parts.path))
        return urlunsplit(parts)


def joined(prefix: str, path: str) -> str:
    """As Go's path.Join, but a slash at the end stays."""
    cleaned = posixpath.normpath(f"{prefix}/{path}")
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned


class Links:
    """Rewrites the links of a page as it comes, in pieces of any size; all else passes byte for byte."""

    def __init__(self, url: Callable[[str], str]) -> None:
        self._url = url
        self._rest = ""
        self._until = ""
        """What ends the text that is passed on unread, in lower case; "" when tags are looked for."""

    def feed(self, data: bytes) -> bytes:
        # Latin-1 gives every byte a character and takes it back; tags are ASCII in all of HTML's usual encodings.
        text, out = self._rest + data.decode("latin-1"), []
        at = 0
        while at < len(text):
            if self._until:
                end = text.lower().find(self._until, at)
                keep = len(text) - len(self._until) + 1
                if end < 0:
                    keep = max(keep, at)
                    out.append(text[at:keep])
                    at = keep
                    break
                out.append(text[at:end])
                at, self._until = end, ""
            start = text.find("<", at)
            if start < 0:
                out.append(text[at:])
                at = len(text)
                break
            out.append(text[at:start])
            at = start
            if text.startswith("<!--", at):
                out.append("<!--")
                at, self._until = at + 4, "-->"
            elif match := _TAG.match(text, at):
                out.append(self._tag(match))
                at = match.end()
            elif _unfinished(text, at):
                break
            else:
                out.append("<")
                at += 1
        self._rest = text[at:]
        return "".join(out).encode("latin-1", "xmlcharrefreplace")

    def close(self) -> bytes:
        rest, self._rest = self._rest, ""
        return rest.encode("latin-1")

    def _tag(self, match: re.Match[str]) -> str:
        tag = match[1].lower()
        if tag in _RAW and not match[2].endswith("/"):
            self._until = f"</{tag}"
        attributes = LINKS.get(tag)
        if attributes is None:
            return match[0]
        own: frozenset[str] = attributes
        return f"<{match[1]}{_ATTRIBUTE.sub(lambda found: self._attribute(found, own), match[2])}>"

    def _attribute(self, found: re.Match[str], own: frozenset[str]) -> str:
        name, equals, value = found.groups()
        if name.lower() not in own:
            return found[0]
        before = html.unescape(value.strip("\"'") if value[0] in "\"'" else value)
        after = self._url(before)
        return found[0] if after == before else f'{name}{equals}"{html.escape(after)}"'


def _unfinished(text: str, at: int) -> bool:
    """Whether what is here may become a start tag or a comment with more data."""
    if len(text) - at > MAX_TAG:
        return False
    return text[at + 1 : at + 2].isalpha() or "<!--".startswith(text[at:])


class Page:
    """The body of an HTML answer: decompressed, rewritten and compressed again."""

    def __init__(self, url: Callable[[str], str], encoding: str) -> None:
        self._links = Links(url)
        wbits = {"gzip": zlib.MAX_WBITS | 16, "deflate": -zlib.MAX_WBITS}.get(encoding)
        self._unpack = zlib.decompressobj(wbits) if wbits else None
        self._pack = zlib.compressobj(wbits=wbits) if wbits else None

    @staticmethod
    def understands(encoding: str) -> bool:
        return encoding in ("", "identity", "gzip", "deflate")

    def feed(self, data: bytes) -> bytes:
        """Raises zlib.error for a body that is not what its header says."""
        out = self._links.feed(self._unpack.decompress(data) if self._unpack else data)
        return self._pack.compress(out) if self._pack else out

    def close(self) -> bytes:
        out = self._links.feed(self._unpack.flush()) if self._unpack else b""
        out += self._links.close()
        return self._pack.compress(out) + self._pack.flush() if self._pack else out
