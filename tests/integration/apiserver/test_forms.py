"""How answers are written: YAML, Tables, metadata, pretty, compressed; and how paths and methods are read."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
import yaml

from apiserver.storage.etcd import Etcd as EtcdClient

META = ";v={};g=meta.k8s.io"


@pytest.fixture
def path(http: httpx.Client, namespace: str) -> str:
    where = f"/api/v1/namespaces/{namespace}/configmaps"
    for name in "abc":
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": "one\ntwo\n"}}
        assert http.post(where, json=body).status_code == 201
    assert len(http.get(where).json()["items"]) == 3  # the cache, which may be behind, has them too
    return where


@pytest.mark.parametrize("what", ["/a", "", "/nothing", "?labelSelector=a=b=c"])
def test_yaml_says_what_json_says(http: httpx.Client, path: str, what: str) -> None:
    as_json, as_yaml = http.get(path + what), http.get(path + what, headers={"accept": "application/yaml"})
    assert as_yaml.headers["content-type"] == "application/yaml"
    assert as_yaml.status_code == as_json.status_code
    shown = yaml.safe_load(as_yaml.text)
    for answer in (shown, expected := as_json.json()):
        if answer["kind"].endswith("List"):
            answer["metadata"].pop("resourceVersion")
    assert shown == expected


@pytest.mark.parametrize("path", ["/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1"])
def test_discovery_in_yaml(http: httpx.Client, path: str) -> None:
    assert yaml.safe_load(http.get(path, headers={"accept": "application/yaml"}).text) == http.get(path).json()


def test_yaml_both_ways(http: httpx.Client, path: str) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\ndata: {time: '12:30', n: \"1\"}\n"
    headers = {"content-type": "application/yaml", "accept": "application/yaml"}
    made = http.post(path, content=text, headers=headers)
    assert made.status_code == 201
    assert yaml.safe_load(made.text)["data"] == {"time": "12:30", "n": "1"}
    assert http.get(f"{path}/d").json()["data"] == {"time": "12:30", "n": "1"}


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("application/json;q=0.5,application/yaml", "application/yaml"),
        ("application/yaml;q=0.5,application/json", "application/json"),
        ("application/vnd.kubernetes.protobuf,application/yaml;q=0.3,*/*;q=0.1", "application/yaml"),
        ("*/*", "application/json"),
        ("application/*,text/html", "application/json"),
        ("application/json;as=Nothing;v=v1;g=meta.k8s.io,application/yaml", "application/yaml"),
    ],
)
def test_the_order_of_preference(http: httpx.Client, path: str, accept: str, media: str) -> None:
    assert http.get(path, headers={"accept": accept}).headers["content-type"] == media


@pytest.mark.parametrize("accept", ["application/vnd.kubernetes.protobuf", "text/html", "application/json;as=Nothing"])
def test_what_there_is_not(http: httpx.Client, path: str, accept: str) -> None:
    answer = http.get(path, headers={"accept": accept})
    assert answer.status_code == 406
    assert answer.json()["reason"] == "NotAcceptable"
    assert answer.json()["message"] == (
        "only the following media types are accepted: application/json, application/yaml"
    )


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        (
            "",
            "PartialObjectMetadata",
            "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)",
        ),
        (
            "/a",
            "PartialObjectMetadataList",
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)",
        ),
    ],
)
def test_metadata_of_the_wrong_sort(http: httpx.Client, path: str, what: str, kind: str, message: str) -> None:
    answer = http.get(path + what, headers={"accept": f"application/json;as={kind}{META.format('v1')}"})
    assert (answer.status_code, answer.json()["message"]) == (406, message)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
@pytest.mark.parametrize(
    ("include", "keys"),
    [("None", None), ("Metadata", {"kind", "apiVersion", "metadata"}), ("", {"kind", "apiVersion", "metadata"}),
     ("Object", {"kind", "apiVersion", "metadata", "data"})],
)  # fmt: skip
def test_what_a_row_of_a_table_includes(
    http: httpx.Client, path: str, version: str, include: str, keys: set[str] | None
) -> None:
    for media in ("json", "yaml"):
        headers = {"accept": f"application/{media};as=Table{META.format(version)}"}
        answer = http.get(path, params={"includeObject": include}, headers=headers)
        table: Any = yaml.safe_load(answer.text)
        assert table["apiVersion"] == f"meta.k8s.io/{version}"
        row = table["rows"][0]
        assert (set(row["object"]) if "object" in row else None) == keys
        if include in ("", "Metadata"):
            assert row["object"]["apiVersion"] == f"meta.k8s.io/{version}"


def test_a_table_that_includes_something_else(http: httpx.Client, path: str) -> None:
    headers = {"accept": f"application/json;as=Table{META.format('v1')}"}
    answer = http.get(path, params={"includeObject": "All"}, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["message"] == (
        'Unable to convert to Table as requested: includeObject: Invalid value: "All": '
        "must be 'Metadata', 'Object', 'None', or empty"
    )


def test_people_get_json_that_reads_well(http: httpx.Client, path: str) -> None:
    assert "\n  " in http.get(path, headers={"user-agent": "curl/8.0"}).text
    assert "\n  " not in http.get(path, params={"pretty": "false"}, headers={"user-agent": "curl/8.0"}).text
    assert "\n  " in http.get(path, params={"pretty": "true"}).text


@pytest.fixture
def large(http: httpx.Client, namespace: str) -> Iterator[str]:
    where = f"/api/v1/namespaces/{namespace}/secrets"
    for number in range(20):
        data = {"x": base64.b64encode(bytes(str(number), "ascii") * 5000).decode()}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s{number}"}, "data": data}
        assert http.post(where, json=body).status_code == 201
    yield where
    http.delete(where)


def raw_of(http: httpx.Client, path: str, encoding: str, **headers: str) -> tuple[httpx.Headers, bytes]:
    with http.stream("GET", path, headers={"accept-encoding": encoding, **headers}) as answer:
        return answer.headers, b"".join(answer.iter_raw())


def test_large_answers_are_compressed_when_asked(http: httpx.Client, large: str, path: str) -> None:
    headers, zipped = raw_of(http, large, "deflate, gzip")
    assert (headers["content-encoding"], headers["vary"]) == ("gzip", "Accept-Encoding")
    assert int(headers["content-length"]) == len(zipped)
    headers, plain = raw_of(http, large, "identity")
    assert "content-encoding" not in headers
    assert orjson.loads(gzip.decompress(zipped))["items"] == orjson.loads(plain)["items"]
    assert len(zipped) * 3 < len(plain)
    assert "content-encoding" not in raw_of(http, path, "gzip")[0], "a small answer is not worth it"
    for accept in ("application/yaml", f"application/json;as=Table{META.format('v1')}"):
        query = f"{large}?includeObject=Object"
        headers, zipped = raw_of(http, query, "gzip", accept=accept)
        assert headers["content-encoding"] == "gzip"
        assert "s19" in zlib.decompress(zipped, 31).decode()


def test_a_compressed_list_is_never_older_than_a_write(http: httpx.Client, large: str) -> None:
    for number in range(5):
        body = {"metadata": {"labels": {"n": str(number)}}}
        patch = {"content-type": "application/merge-patch+json"}
        changed = http.patch(f"{large}/s3", json=body, headers=patch).json()
        listed = orjson.loads(gzip.decompress(raw_of(http, large, "gzip")[1]))
        (found,) = (item for item in listed["items"] if item["metadata"]["name"] == "s3")
        assert found["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]
        assert int(listed["metadata"]["resourceVersion"]) >= int(found["metadata"]["resourceVersion"])
        assert len(listed["items"]) == 20
        page = orjson.loads(gzip.decompress(raw_of(http, f"{large}?limit=15", "gzip")[1]))
        assert (len(page["items"]), page["metadata"]["remainingItemCount"]) == (15, 5)


@pytest.mark.parametrize(
    ("method", "suffix"), [("POST", "/a"), ("PUT", ""), ("PATCH", ""), ("OPTIONS", ""), ("OPTIONS", "/a")]
)
def test_methods_that_a_path_has_not(http: httpx.Client, path: str, method: str, suffix: str) -> None:
    answer = http.request(method, path + suffix)
    assert answer.status_code == 405
    status = answer.json()
    assert (status["reason"], status["details"]) == ("MethodNotAllowed", {})
    assert status["message"] == "the server does not allow this method on the requested resource"


def test_a_slash_more(http: httpx.Client, path: str) -> None:
    assert len(http.get(f"{path}/").json()["items"]) == 3
    assert http.get(f"{path}/a/").json()["metadata"]["name"] == "a"


def test_a_revision_of_the_future(http: httpx.Client, path: str) -> None:
    now = int(http.get(path).json()["metadata"]["resourceVersion"])
    for what in (f"{path}/a", path):
        answer = http.get(what, params={"resourceVersion": str(now + 1_000_000)})
        status = answer.json()
        assert (answer.status_code, status["reason"], answer.headers["retry-after"]) == (504, "Timeout", "1")
        assert status["message"].startswith(f"Timeout: Too large resource version: {now + 1_000_000}, current: ")
        assert status["details"] == {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }


FORBIDDEN = 'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch '


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("resourceVersionMatch=Exact", 422, FORBIDDEN + "is forbidden unless resourceVersion is provided"),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            422,
            FORBIDDEN + '"exact" is forbidden for resourceVersion "0"',
        ),
        (
            "resourceVersionMatch=Some&resourceVersion=1",
            422,
            'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "Some": '
            'supported values: "Exact", "NotOlderThan", ""',
        ),
        (
            "resourceVersionMatch=NotOlderThan&resourceVersion=1&continue=x",
            422,
            FORBIDDEN + "is forbidden when continue is provided",
        ),
        (
            "sendInitialEvents=true",
            422,
            'ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: '
            "sendInitialEvents is forbidden for list",
        ),
        (
            "watch=1&resourceVersionMatch=NotOlderThan",
            422,
            FORBIDDEN + "is forbidden for watch unless sendInitialEvents is provided",
        ),
        (
            "watch=1&sendInitialEvents=true",
            422,
            FORBIDDEN.removesuffix("resourceVersionMatch ")
            + "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
    ],
)
def test_revisions_that_do_not_go_together(http: httpx.Client, path: str, query: str, code: int, message: str) -> None:
    answer = http.get(f"{path}?{query}")
    assert (answer.status_code, answer.json()["message"]) == (code, message)


def test_a_page_with_a_revision_of_its_own(http: httpx.Client, path: str) -> None:
    meta = http.get(path, params={"limit": "1"}).json()["metadata"]
    both = {"continue": meta["continue"], "limit": "1"}
    answer = http.get(path, params={**both, "resourceVersion": meta["resourceVersion"]})
    assert answer.status_code == 400
    assert answer.json()["message"] == "specifying resource version is not allowed when using continue"
    assert http.get(path, params={**both, "resourceVersion": "0"}).status_code == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("continue=abc", "invalid continue token: continue key is not valid: "),
        ("labelSelector=a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("labelSelector=,", "unable to parse requirement: "),
        ("fieldSelector=foo=bar", '"foo" is not a known field selector: only "metadata.name", "metadata.namespace"'),
        ("limit=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("limit=", 'strconv.ParseInt: parsing "": invalid syntax'),
        ("limit=&limit=1", 'strconv.ParseInt: parsing "": invalid syntax'),
        ("watch=1&timeoutSeconds=1s", 'strconv.ParseInt: parsing "1s": invalid syntax'),
        ("watch=1&timeoutSeconds=", 'strconv.ParseInt: parsing "": invalid syntax'),
        ("resourceVersion=x", 'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'),
        ("watch=1&resourceVersion=-1", 'resourceVersion: Invalid value: "-1": strconv.ParseUint: parsing "-1": '),
    ],
)
def test_what_cannot_be_read(http: httpx.Client, path: str, query: str, message: str) -> None:
    answer = http.get(f"{path}?{query}")
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")
    assert answer.json()["message"].startswith(message)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("limit=-1", ["a", "b", "c"]),
        ("limit=0", ["a", "b", "c"]),
        ("limit=2&limit=1", ["a", "b"]),
        ("timeoutSeconds=-1", ["a", "b", "c"]),
        ("watch=0", ["a", "b", "c"]),
        ("watch=False&allowWatchBookmarks=1", ["a", "b", "c"]),
        ("resourceVersion=0&limit=2", ["a", "b", "c"]),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan&limit=2", ["a", "b", "c"]),
        ("resourceVersion=1&resourceVersionMatch=NotOlderThan&limit=2", ["a", "b"]),
        ("labelSelector=", ["a", "b", "c"]),
        ("unknown=1", ["a", "b", "c"]),
        ("limit=1;2", ["a", "b", "c"]),
        ("limit=%zz&limit=1", ["a"]),
        ("limit=%31&labelSelector=%", ["a"]),
    ],
)
def test_odd_values_that_are_taken(http: httpx.Client, path: str, query: str, names: list[str]) -> None:
    answer = http.get(f"{path}?{query}")
    assert answer.status_code == 200, answer.text
    assert [item["metadata"]["name"] for item in answer.json()["items"]] == names


def test_a_watch_with_a_negative_time_is_over_at_once(http: httpx.Client, path: str) -> None:
    answer = http.get(path, params={"watch": "1", "timeoutSeconds": "-1"})
    assert answer.status_code == 200
    assert all(orjson.loads(line)["type"] == "ADDED" for line in answer.text.splitlines())


def test_the_old_watch_path_takes_selectors_of_the_same_name_only(http: httpx.Client, path: str) -> None:
    one = path.replace("/api/v1/", "/api/v1/watch/") + "/a"
    params = {"timeoutSeconds": "1", "fieldSelector": "metadata.name=a"}
    assert [orjson.loads(line)["type"] for line in http.get(one, params=params).text.splitlines()] == ["ADDED"]
    for selector in ("metadata.name=b", "metadata.namespace=x", "metadata.name!=a"):
        answer = http.get(one, params={**params, "fieldSelector": selector})
        assert answer.status_code == 400
        assert answer.json()["message"] == "fieldSelector metadata.name doesn't match requested name"


@pytest.mark.parametrize("match", ["", "NotOlderThan", "Exact"])
@pytest.mark.parametrize("limit", ["", "2"])
def test_a_past_revision(http: httpx.Client, path: str, match: str, limit: str) -> None:
    before = http.get(path).json()["metadata"]["resourceVersion"]
    http.delete(f"{path}/b")
    assert len(http.get(path).json()["items"]) == 2  # after which the cache, which may be behind, has it too
    params = {"resourceVersion": before, "resourceVersionMatch": match, **({"limit": limit} if limit else {})}
    names = [item["metadata"]["name"] for item in http.get(path, params=params).json()["items"]]
    past = match == "Exact" or (limit and not match)
    expected = ["a", "b", "c"] if past else ["a", "c"]
    assert names == (expected[:2] if limit else expected)


async def test_pages_after_a_compaction(http: httpx.Client, etcd_client: EtcdClient, path: str) -> None:
    """The token is refused with another, by which the rest is to be had as it is now."""
    first = http.get(path, params={"limit": "1"}).json()
    token, revision = first["metadata"]["continue"], int(first["metadata"]["resourceVersion"])
    http.delete(f"{path}/b")
    await etcd_client.compact(int(http.get(path).json()["metadata"]["resourceVersion"]))
    expired = http.get(path, params={"limit": "1", "continue": token})
    assert (expired.status_code, expired.json()["reason"]) == (410, "Expired")
    assert "use the continue token in this response to retrieve the remainder" in expired.json()["message"]
    rest = http.get(path, params={"continue": expired.json()["metadata"]["continue"]}).json()
    assert [item["metadata"]["name"] for item in rest["items"]] == ["c"]
    assert int(rest["metadata"]["resourceVersion"]) > revision
    exact = {"resourceVersion": str(revision), "resourceVersionMatch": "Exact"}
    answer = http.get(path, params=exact)
    assert answer.status_code == 410
    assert answer.json()["message"] == "The resourceVersion for the provided list is too old."
