"""The little that the handlers share of HTTP: reading an object of one kind."""

from __future__ import annotations

import orjson
import yaml

from apiserver.endpoints.request import Request
from apiserver.types import Object
from common.api.status import BadRequest


async def read_object(request: Request, kind: str, *api_versions: str) -> Object:
    """The request's object, which must be of this kind. An empty body is an empty object."""
    body = await request.body()
    obj = decode(body, request.header(b"content-type")) if body.strip() else {}
    obj.setdefault("apiVersion", api_versions[0])
    obj.setdefault("kind", kind)
    if obj["kind"] != kind or obj["apiVersion"] not in api_versions:
        raise BadRequest(
            f'{obj["kind"]} in version "{obj["apiVersion"]}" cannot be handled as a {kind}: '
            f'expected {kind} in version "{api_versions[0]}"'
        )
    for field in ("metadata", "spec", "status"):
        if obj.get(field) is None:
            obj.pop(field, None)
        elif not isinstance(obj[field], dict):
            raise BadRequest(f"{kind}.{field}: must be an object")
    return obj


def decode(body: bytes, content_type: str) -> Object:
    try:
        obj = yaml.safe_load(body) if "yaml" in content_type else orjson.loads(body)
    except (orjson.JSONDecodeError, yaml.YAMLError) as error:
        raise BadRequest(f"couldn't get version/kind; json parse error: {error}") from None
    if not isinstance(obj, dict):
        raise BadRequest("couldn't get version/kind; json parse error: the body must be an object")
    return obj


def is_dry_run(request: Request) -> bool:
    return "All" in request.query.get("dryRun", [])


def check_name(obj: Object, kind: str, name: str) -> None:
    """The body may leave its name out; else it must be that of the URL."""
    given = (obj.get("metadata") or {}).get("name")
    if given and given != name:
        raise BadRequest(f"name in URL does not match name in {kind} object")


SUCCESS: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
"""What is answered when something was done that has no object to show."""
