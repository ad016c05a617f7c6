"""pods/log: a container's log, streamed from its kubelet. https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from apiserver.endpoints.options import parse_int
from apiserver.endpoints.request import Answer, Request, Send
from apiserver.subresources.containers import choose_container, pod_of, server_error
from apiserver.subresources.context import Context
from apiserver.subresources.relay import stream, unreachable
from apiserver.subresources.upstream import request as send_request
from apiserver.types import Connection
from common.api.status import BadRequest, FieldError, field_forbidden, invalid, invalid_value
from common.api.time import parse_rfc3339

FLAGS = ("follow", "previous", "timestamps")
NUMBERS = {"sinceSeconds": 1, "tailLines": 0, "limitBytes": 1}
"""Options that are whole numbers, and the least each may be."""


def kubelet_query(request: Request) -> str:
    """The options as the kubelet takes them. Raises BadRequest or Invalid for wrong ones."""
    options: dict[str, str] = {flag: "true" for flag in FLAGS if request.flag(flag)}
    errors: list[FieldError] = []
    for name, least in NUMBERS.items():
        if not (text := request.param(name)):
            continue
        number = parse_int(text)
        if number < least:
            detail = "must be greater than 0" if least else "must be greater than or equal to 0"
            errors.append(invalid_value(name, number, detail))
        options[name] = str(number)
    if since := request.param("sinceTime"):
        try:
            parse_rfc3339(since)
        except ValueError:
            raise BadRequest(f'parsing time "{since}" as "2006-01-02T15:04:05Z07:00": cannot parse "{since}"') from None
        options["sinceTime"] = since
        if "sinceSeconds" in options:
            errors.append(field_forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if errors:
        raise invalid("PodLogOptions", "", "", errors)
    return urlencode(options)


async def handle(context: Context, connection: Connection, request: Request, send: Send) -> Answer | None:
    query = kubelet_query(request)
    pod = await pod_of(context, connection)
    container = choose_container(pod, request.param("container"))
    node = (pod.get("spec") or {}).get("nodeName")
    if not node:  # no node has it yet: there is no log, which is no error
        return Answer(b"", content_type=b"text/plain")
    target = await context.kubelet.target(node)
    path = f"/containerLogs/{quote(connection.namespace)}/{quote(connection.name)}/{quote(container)}"
    path += f"?{query}" if query else ""
    try:
        async with send_request(target, "GET", path, [(b"accept", b"*/*")]) as answer:
            if not 200 <= answer.status <= 206:
                raise server_error(answer.status, await answer.text(), "pods", connection.name)
            await stream(answer, request, send, b"text/plain")
    except OSError as error:
        raise unreachable(target, error) from None
    return None
