"""Protobuf bodies."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.resources.table import RESOURCES
from apiserver.schema import definitions
from apiserver.wire.table import message_name, messages
from apiserver.wire.transcode import to_json
from common.api.status import BadRequest, StatusError, UnsupportedMediaType


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\0" + field(1, field(1, api_version) + field(2, kind)) + field(2, raw)


def test_a_deployment() -> None:
    container = field(1, "c") + field(2, "nginx") + field(8, field(1, field(1, "cpu") + field(2, field(1, "100m"))))
    probe = field(1, field(2, field(1, "/x") + field(2, field(1, 0) + field(2, 80)))) + field(2, 5)
    template = field(1, field(8, b"")) + field(2, field(2, container + field(10, probe)))
    spec = field(1, 0) + field(3, template) + field(5, 0)
    metadata = field(1, "d") + field(2, "") + field(11, field(1, "a") + field(2, "")) + field(8, field(1, 1))
    body = envelope("apps/v1", "Deployment", field(1, metadata) + field(2, spec) + field(3, b""))
    assert orjson.loads(to_json(body)) == {
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": "d", "labels": {"a": ""}, "creationTimestamp": "1970-01-01T00:00:01Z"},
        "spec": {
            "replicas": 0,
            "template": {
                "metadata": {},
                "spec": {
                    "containers": [
                        {
                            "name": "c",
                            "image": "nginx",
                            "resources": {"limits": {"cpu": "100m"}},
                            "livenessProbe": {"httpGet": {"path": "/x", "port": 80}, "initialDelaySeconds": 5},
                        }
                    ]
                },
            },
        },
        "status": {},
    }


def test_every_kind_is_known() -> None:
    missing = {r.kind for r in RESOURCES if message_name(r.api_version, r.kind) not in messages()}
    # Go's own clients send these two as JSON: they live outside k8s.io/api
    assert missing <= {"CustomResourceDefinition", "APIService"}
    for table in messages().values():
        for _, type_, _ in table.values():
            assert len(type_) == 1 or type_ in messages(), type_


def properties(message: str) -> set[str]:
    """What a message has in JSON, with what it embeds."""
    fields = messages()[message].values()
    return {name for name, _, how in fields if how != "~"}.union(
        *(properties(type_) for _, type_, how in fields if how == "~")
    )


def test_messages_have_the_properties_of_their_definitions() -> None:
    special = {"FieldsV1", "MicroTime", "Time"}
    compared = 0
    for name, definition in definitions.load().items():
        message = name.removeprefix("io.k8s.api.").removeprefix("io.k8s.apimachinery.pkg.apis.")
        if message not in messages() or message.rpartition(".")[2] in special:
            continue
        envelope_has = {"apiVersion", "kind"} if "x-kubernetes-group-version-kind" in definition else set()
        wanted = set(definition.get("properties", {})) - envelope_has
        assert properties(message) - envelope_has == wanted, message
        compared += 1
    assert compared > 400


@pytest.mark.parametrize(
    ("api_version", "kind", "raw", "said"),
    [
        # zeros by pointer, and those that Go always writes
        (
            "policy/v1",
            "PodDisruptionBudget",
            field(2, field(3, field(1, 0) + field(2, 0) + field(3, ""))),
            {"spec": {"maxUnavailable": 0}},
        ),
        ("scheduling.k8s.io/v1", "PriorityClass", field(2, 0) + field(3, 0), {"value": 0}),
        ("batch/v1", "Job", field(2, field(1, 0) + field(5, 0)), {"spec": {"parallelism": 0, "manualSelector": False}}),
        ("v1", "ServiceAccount", field(4, 0), {"automountServiceAccountToken": False}),
        # embedded structs
        (
            "networking.k8s.io/v1",
            "Ingress",
            field(2, field(3, field(1, "h") + field(2, field(1, field(1, field(1, "/") + field(3, "Exact")))))),
            {"spec": {"rules": [{"host": "h", "http": {"paths": [{"path": "/", "pathType": "Exact"}]}}]}},
        ),
        # names that differ only in JSON
        (
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
            field(2, field(1, "w") + field(3, field(1, "CREATE") + field(2, field(2, "v1")))),
            {"webhooks": [{"name": "w", "rules": [{"operations": ["CREATE"], "apiVersions": ["v1"]}]}]},
        ),
        (
            "networking.k8s.io/v1",
            "IngressClass",
            field(2, field(2, field(1, "g") + field(2, "K") + field(3, "n"))),
            {"spec": {"parameters": {"apiGroup": "g", "kind": "K", "name": "n"}}},
        ),
        # a field that another kind embeds under the same name
        ("node.k8s.io/v1", "RuntimeClass", field(2, "runc"), {"handler": "runc"}),
    ],
)
def test_fields_mean_what_go_means(api_version: str, kind: str, raw: bytes, said: dict[str, object]) -> None:
    decoded = orjson.loads(to_json(envelope(api_version, kind, raw)))
    assert decoded == {"kind": kind, "apiVersion": api_version, **said}


def test_bytes_and_options() -> None:
    secret = envelope("v1", "Secret", field(2, field(1, "k") + field(2, b"\xff\x00")))
    assert orjson.loads(to_json(secret))["data"] == {"k": "/wA="}
    options = envelope("v1", "DeleteOptions", field(1, 0) + field(4, "Background"))
    assert orjson.loads(to_json(options)) == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Background",
    }


def test_kinds_that_nobody_knows() -> None:
    with pytest.raises(UnsupportedMediaType):
        to_json(envelope("example.com/v1", "Thing", b""))


@pytest.mark.parametrize("body", [b"", b"k8s", b"x8s\0", b"k8s\0\x0a\xff", b"k8s\0\x0b", b"k8s\0" + b"\xff" * 12])
def test_broken_bodies(body: bytes) -> None:
    with pytest.raises(StatusError):
        to_json(body)


def test_newer_fields_are_passed_over_and_wrong_types_are_not() -> None:
    newer = field(900, 5) + field(901, "x") + varint(902 << 3 | 1) + bytes(8) + varint(903 << 3 | 5) + bytes(4)
    body = envelope("v1", "Secret", newer + field(3, "kind") + newer)
    assert orjson.loads(to_json(body)) == {"kind": "Secret", "apiVersion": "v1", "type": "kind"}
    with pytest.raises(BadRequest, match="wrong wire type 0 for field 3"):
        to_json(envelope("v1", "Secret", field(3, 1)))
    for cut in range(1, len(newer)):
        try:
            to_json(envelope("v1", "Secret", newer[:cut]))
        except BadRequest as error:
            assert "unable to decode the protobuf body" in error.message


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    try:
        to_json(envelope("v1", "Pod", raw))
    except BadRequest:
        pass
