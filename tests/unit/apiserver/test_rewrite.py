"""Addresses in proxied answers lead back through the proxy, and nothing else of a page changes."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.subresources.rewrite import Links, Page, Prefix

PROXY = "/api/v1/namespaces/ns/pods/web/proxy"
PREFIX = Prefix(PROXY, "10.244.1.5:80", "cluster:6443")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/login", f"{PROXY}/login"),
        ("/", f"{PROXY}/"),
        ("/a/b/?q=1#top", f"{PROXY}/a/b/?q=1#top"),
        ("http://10.244.1.5:80/login", f"{PROXY}/login"),
        ("https://cluster:6443/login", f"https://cluster:6443{PROXY}/login"),
        (f"{PROXY}/login", f"{PROXY}/login"),
        ("//10.244.1.5:80/x", f"{PROXY}/x"),
        ("https://example.org/login", "https://example.org/login"),
        ("login", "login"),
        ("../up", "../up"),
        ("mailto:a@b", "mailto:a@b"),
        ("#here", "#here"),
        ("http://[::1", "http://[::1"),
        ("", ""),
    ],
)
def test_urls(before: str, after: str) -> None:
    assert PREFIX.url(before) == after


PAGE = """<!DOCTYPE html><HTML><head><link rel="x" href='/style.css'>
<script src=/app.js>if (a <b) "<a href='/no'>"</script>
<!-- <a href="/no"> --><style>a { background: url(<a href="/no">) }</style><title><a href="/no"></title></head>
<body background="/b.png"><a class=x href="/a?x=1&amp;y=2">\u00e4</a><A HREF = /b >b</A><a href="c">c</a> 1 < 2
<img alt="/x>y" src="/i.png"/><form action="http://10.244.1.5:80/go" data-href="/no"></form></body></HTML>"""
REWRITTEN = (
    PAGE.replace("'/style.css'", f'"{PROXY}/style.css"')
    .replace("=/app.js", f'="{PROXY}/app.js"')
    .replace('"/b.png"', f'"{PROXY}/b.png"')
    .replace('"/a?', f'"{PROXY}/a?')
    .replace("= /b ", f'= "{PROXY}/b" ')
    .replace('"/i.png"', f'"{PROXY}/i.png"')
    .replace('"http://10.244.1.5:80/go"', f'"{PROXY}/go"')
)


def rewritten(pieces: list[bytes]) -> bytes:
    links = Links(PREFIX.url)
    return b"".join(map(links.feed, pieces)) + links.close()


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
def test_the_links_of_a_page_however_it_comes(size: int) -> None:
    data = PAGE.encode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert rewritten(pieces).decode() == REWRITTEN


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"<", b"<a ", b'"', b"<!--", b"-->", b"<script>", b">"])))
def test_what_has_no_links_passes_byte_for_byte(pieces: list[bytes]) -> None:
    assert rewritten(pieces) == b"".join(pieces)


def test_a_compressed_page_stays_compressed() -> None:
    data = gzip.compress(PAGE.encode())
    page = Page(PREFIX.url, "gzip")
    assert gzip.decompress(page.feed(data[:50]) + page.feed(data[50:]) + page.close()).decode() == REWRITTEN
