"""The last step of an answer: YAML, pretty-printed, compressed, as the client asked.

Most answers need none of it, and finding that out must cost nothing to speak of.
"""

from __future__ import annotations

import gzip
from dataclasses import replace

import orjson

from apiserver.endpoints.negotiation import YAML, media_of, takes_gzip
from apiserver.endpoints.request import JSON, Answer, Request, error_answer
from apiserver.endpoints.yaml import dump
from common.api.status import StatusError
from common.aside import aside

GZIP_THRESHOLD = 128 * 1024
"""Upstream's: what is smaller goes uncompressed."""
GZIP_LEVEL = 1
PEOPLE = ("curl", "Wget", "Mozilla/5.0")
"""Clients that a person sits before (upstream's list): they get JSON that reads well."""


def is_pretty(request: Request) -> bool:
    if b"pretty" in request.scope["query_string"] and (text := request.param("pretty")):
        return text in ("1", "t", "T", "true", "TRUE", "True")
    return request.header(b"user-agent").startswith(PEOPLE)


def is_plain(request: Request) -> bool:
    """Whether the client takes JSON as it comes from the cache."""
    form = request.form or media_of(request.header(b"accept"))
    return form.media != YAML and not form.pretty and not is_pretty(request)


async def finish(request: Request, answer: Answer) -> Answer:
    body = answer.body
    if answer.content_type is JSON and body:
        form = request.form or media_of(request.header(b"accept"))
        if form.media == YAML:
            body = await aside(len(body), _as_yaml, body)
            answer = replace(answer, body=body, content_type=YAML.encode())
        elif form.pretty or is_pretty(request):
            body = await aside(len(body), _as_pretty, body)
            answer = replace(answer, body=body)
    if len(body) > GZIP_THRESHOLD and not answer.encoded and takes_gzip(request.header(b"accept-encoding")):
        body = await aside(len(body), compress, body)
        return encoded(answer, body)
    return answer


def compress(body: bytes) -> bytes:
    return gzip.compress(body, GZIP_LEVEL, mtime=0)


def encoded(answer: Answer, body: bytes) -> Answer:
    """The answer with its compressed body."""
    headers = [*answer.headers, (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
    return replace(answer, body=body, headers=headers, encoded=True)


def _as_yaml(body: bytes) -> bytes:
    return dump(orjson.loads(body))


def _as_pretty(body: bytes) -> bytes:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


async def refusal(request: Request, error: StatusError) -> Answer:
    """A Status in the form that the client takes."""
    request.form = media_of(request.header(b"accept"))
    return await finish(request, error_answer(error))
