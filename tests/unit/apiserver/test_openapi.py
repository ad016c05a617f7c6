"""OpenAPI documents, as kubectl reads them."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from apiserver.resources.table import RESOURCES
from apiserver.schema import openapi_proto
from apiserver.schema.openapi import OpenAPI
from apiserver.subresources import HANDLERS
from common.api.status import NotAcceptable, NotFound

PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


async def document(path: str, openapi: OpenAPI | None = None) -> Any:
    answer = await (openapi or OpenAPI(RESOURCES)).answer(path, "", "application/json")
    return json.loads(gzip.decompress(answer.body) if answer.zipped else answer.body)


def references(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(references, value))
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set()


async def test_the_index_leads_to_every_group_version_by_hash() -> None:
    index = await document("/openapi/v3")
    assert {"api/v1", "apis/apps/v1", "apis/autoscaling/v1", "apis/autoscaling/v2"} <= index["paths"].keys()
    url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
    path, _, query = url.partition("?")
    answer = await OpenAPI(RESOURCES).answer(path, query, "application/json")
    assert answer.immutable
    assert query == f"hash={answer.etag}"
    old = await OpenAPI(RESOURCES).answer(path, "hash=old", "")
    assert (old.moved, old.immutable) == (url, False)


@pytest.mark.parametrize("path", ["/openapi/v3/api/v1", "/openapi/v3/apis/apps/v1", "/openapi/v2"])
async def test_a_document_holds_all_that_it_refers_to(path: str) -> None:
    made = await document(path)
    prefix, schemas = ("#/definitions/", made.get("definitions")) if "swagger" in made else (
        "#/components/schemas/", made["components"]["schemas"]
    )  # fmt: skip
    found = references(made)
    assert found
    assert {ref.removeprefix(prefix) for ref in found} <= schemas.keys()


async def test_patch_offers_server_side_validation() -> None:
    """kubectl looks for exactly this before it leaves validation to the server."""
    made = await document("/openapi/v3/apis/apps/v1")
    patch = made["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert {"fieldValidation", "dryRun"} <= {p["name"] for p in patch["parameters"] if p["in"] == "query"}


async def test_schemas_are_as_upstream_serves_them() -> None:
    schemas = (await document("/openapi/v3/api/v1"))["components"]["schemas"]
    pod = schemas["io.k8s.api.core.v1.Pod"]
    assert pod["type"] == "object"
    assert pod["properties"]["spec"]["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}]
    spec = schemas["io.k8s.api.core.v1.PodSpec"]
    assert spec["properties"]["containers"]["x-kubernetes-patch-merge-key"] == "name"


async def test_old_clients_get_v2_in_protobuf() -> None:
    answer = await OpenAPI(RESOURCES).answer("/openapi/v2", "", PROTOBUF)
    body = gzip.decompress(answer.body)
    assert body.startswith(b"\x0a\x032.0")
    made = await document("/openapi/v2")
    assert all(path.encode() in body for path in made["paths"])
    assert openapi_proto.encode(made) == body


async def test_what_is_not_served_or_not_acceptable() -> None:
    with pytest.raises(NotAcceptable):
        await OpenAPI(RESOURCES).answer("/openapi/v3/api/v1", "", PROTOBUF)
    with pytest.raises(NotFound):
        await OpenAPI(RESOURCES).answer("/openapi/v3/apis/nothing/v1", "", "")


async def test_answers_are_compressed_and_cached_for_those_who_can() -> None:
    openapi = OpenAPI(RESOURCES)

    async def ask(**headers: str) -> tuple[int, dict[bytes, bytes], bytes]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        scope = {"method": "GET", "path": "/openapi/v3/apis/policy/v1", "query_string": b"", "headers": raw}
        await openapi(scope, None, send)
        return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]

    status, headers, plain = await ask()
    assert (status, json.loads(plain)["openapi"]) == (200, "3.0.0")
    _, _, zipped = await ask(accept_encoding="gzip")
    assert gzip.decompress(zipped) == plain
    status, _, body = await ask(if_none_match=headers[b"etag"].decode())
    assert (status, body) == (304, b"")


async def test_what_has_a_handler_of_its_own_is_in_the_document() -> None:
    made = await document("/openapi/v3/api/v1", OpenAPI(RESOURCES, HANDLERS))
    pod = "/api/v1/namespaces/{namespace}/pods/{name}"
    log = made["paths"][f"{pod}/log"]
    assert log["get"]["responses"]["200"]["content"] == {"text/plain": {"schema": {"type": "string"}}}
    assert {"name": "tailLines", "in": "query", "schema": {"type": "integer", "uniqueItems": True}} in log["parameters"]
    eviction = made["paths"][f"{pod}/eviction"]["post"]
    assert eviction["x-kubernetes-group-version-kind"] == {"group": "policy", "version": "v1", "kind": "Eviction"}
    assert eviction["requestBody"]["content"]["*/*"]["schema"]["$ref"].endswith("policy.v1.Eviction")
    assert made["paths"][f"{pod}/exec"]["post"]["x-kubernetes-action"] == "connect"
    assert made["paths"][f"{pod}/proxy/{{path}}"]["delete"]["operationId"] == (
        "connectCoreV1DeleteNamespacedPodProxyWithPath"
    )
    assert made["paths"]["/api/v1/namespaces/{name}/finalize"].keys() == {"parameters", "put"}
    assert made["paths"]["/api/v1/watch/nodes/{name}"]["get"]["x-kubernetes-action"] == "watch"
    token = made["paths"]["/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"]["post"]
    assert token["x-kubernetes-group-version-kind"]["kind"] == "TokenRequest"


async def test_every_operation_has_a_name_of_its_own() -> None:
    made = await document("/openapi/v2", OpenAPI(RESOURCES, HANDLERS))
    names = [o["operationId"] for item in made["paths"].values() for m, o in item.items() if m != "parameters"]
    assert len(names) == len(set(names))
    assert {"listCoreV1PodForAllNamespaces", "getAPIVersions", "getAppsAPIGroup", "getAppsV1APIResources"} <= set(names)


async def test_discovery_has_its_own_documents() -> None:
    index = await document("/openapi/v3")
    assert {"api", "apis", "apis/apps", "version"} <= index["paths"].keys()
    group = await document("/openapi/v3/apis/apps")
    assert list(group["paths"]) == ["/apis/apps/"]
    assert any(name.endswith("meta.v1.APIGroup") for name in group["components"]["schemas"])
