"""Decoding: the wording is part of the interface, people search for it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube.resources.core_v1 import Pod

from apiserver.depth import MAX_DEPTH
from apiserver.resources.table import RESOURCES
from apiserver.schema import conform, decode, sent_kind, yaml
from apiserver.schema.gojson import syntax_error
from common.api.status import BadRequest, Invalid, UnsupportedMediaType

ROWS = {(r.group, r.version, r.plural): r for r in RESOURCES}
DEPLOYMENT = ROWS["apps", "v1", "deployments"]
POD = ROWS["", "v1", "pods"]
SECRET = ROWS["", "v1", "secrets"]
BASE = {"apiVersion": "apps/v1", "kind": "Deployment"}
CANNOT = 'Deployment in version "v1" cannot be handled as a Deployment: '


def of(
    data: Any, resource: Any = DEPLOYMENT, validation: Any = "Strict", content_type: str = "application/json"
) -> Any:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return decode(body, content_type, resource, validation)


def refused(data: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(BadRequest) as error:
        of(data, *args, **kwargs)
    return error.value.message


def template(**spec: Any) -> dict[str, Any]:
    return {**BASE, "spec": {"template": {"spec": spec}}}


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (
            {**BASE, "spec": {"replicas": "3"}},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {**BASE, "spec": {"replicas": 3.5}},
            "json: cannot unmarshal number 3.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {**BASE, "spec": {"replicas": 2**31}},
            "json: cannot unmarshal number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            template(containers={}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers "
            "of type []v1.Container",
        ),
        (
            template(containers=[{"args": [1]}]),
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.args "
            "of type string",
        ),
        (
            {**BASE, "metadata": {"labels": {"a": 1}}},
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            {**BASE, "metadata": {"creationTimestamp": "foo"}},
            'parsing time "foo" as "2006-01-02T15:04:05Z07:00": cannot parse "foo" as "2006"',
        ),
        (
            template(containers=[{"resources": {"limits": {"cpu": "x"}}}]),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
def test_wrong_types_are_refused_in_the_words_of_the_go_decoder(obj: Any, text: str) -> None:
    assert refused(obj) == CANNOT + text


def test_bytes_must_be_base64() -> None:
    assert refused({"data": {"a": "ab*"}}, SECRET).endswith("illegal base64 data at input byte 2")


def test_unknown_fields_are_errors_warnings_or_nothing_and_always_pruned() -> None:
    obj = {**BASE, "spec": {"foo": 1, "template": {"spec": {"containers": [{"bar": 1}]}}}}
    unknown = ['unknown field "spec.foo"', 'unknown field "spec.template.spec.containers[0].bar"']
    assert refused(obj) == f"{CANNOT}strict decoding error: {', '.join(unknown)}"
    warned = of(obj, validation="Warn")
    assert warned.warnings == unknown
    assert warned.object["spec"]["template"]["spec"]["containers"] == [{"name": ""}]
    ignored = of(obj, validation="Ignore")
    assert ignored.warnings == []
    assert ignored.object == warned.object


def test_what_go_always_writes_is_there_so_that_every_client_can_read_it() -> None:
    container = {"name": "c", "image": "i", "securityContext": {"seccompProfile": {}}}
    container["lifecycle"] = {"preStop": {"sleep": {}}, "postStart": {"httpGet": {}}}
    obj = of({"spec": {"containers": [container], "volumes": [{"cephfs": {}}]}}, POD).object
    assert obj["spec"]["containers"][0]["securityContext"] == {"seccompProfile": {"type": ""}}
    hooks = obj["spec"]["containers"][0]["lifecycle"]
    assert hooks == {"preStop": {"sleep": {"seconds": 0}}, "postStart": {"httpGet": {"port": 0}}}
    assert obj["spec"]["volumes"] == [{"name": "", "cephfs": {"monitors": []}}]
    lightkube_pod = msgspec.convert({"metadata": {}, **obj}, Pod)
    assert lightkube_pod.spec is not None
    assert conform(obj, POD).object == obj


@pytest.mark.parametrize(
    "time", ["2024-02-31T00:00:00Z", "2024-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "2024-01-01T29:00:00Z"]
)
def test_a_time_that_never_comes_is_refused(time: str) -> None:
    message = refused({**BASE, "metadata": {"managedFields": [{"time": time}]}})
    assert message == f'{CANNOT}parsing time "{time}" as "2006-01-02T15:04:05Z07:00": out of range'


def test_duplicate_fields_are_found_and_the_last_one_counts() -> None:
    body = b'{"spec": {"replicas": 1, "replicas": 2}}'
    assert refused(body) == f'{CANNOT}strict decoding error: duplicate field "spec.replicas"'
    assert of(body, validation="Warn").warnings == ['duplicate field "spec.replicas"']
    assert of(body, validation="Ignore").object["spec"] == {"replicas": 2}


def test_nulls_are_dropped_as_go_does() -> None:
    obj = {
        **BASE,
        "metadata": {"creationTimestamp": None, "labels": {"a": None}},
        "spec": {"replicas": None},
        "status": None,
    }
    assert of(obj).object == {**BASE, "metadata": {"labels": {"a": ""}}, "spec": {}}


def test_quantities_and_times_are_stored_canonically() -> None:
    pod = {"spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]}}
    assert of(pod, POD).object["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}
    time = {"metadata": {"creationTimestamp": "2026-01-02T03:04:05.678+01:00"}}
    assert of(time, POD).object["metadata"]["creationTimestamp"] == "2026-01-02T02:04:05Z"


def test_kind_and_version_default_to_the_resources_and_must_match() -> None:
    assert of({}).object == BASE
    assert refused({"apiVersion": "v1", "kind": "Pod"}) == (
        'Pod in version "v1" cannot be handled as a Deployment: '
        "converting (v1.Pod) to (apps.Deployment): unknown conversion"
    )
    assert refused({**BASE, "apiVersion": "apps/v1beta1"}) == (
        'Deployment in version "v1beta1" cannot be handled as a Deployment: no kind "Deployment" is registered '
        'for version "apps/v1beta1" in scheme "pkg/api/legacyscheme/scheme.go:30"'
    )
    autoscaler = ROWS["autoscaling", "v2", "horizontalpodautoscalers"]
    assert refused({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler"}, autoscaler) == (
        "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)"
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", "unexpected end of JSON input"),
        (b'{"a":', "unexpected end of JSON input"),
        (b"xyz", "invalid character 'x' looking for beginning of value"),
        (b'{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"{} x", "invalid character 'x' after top-level value"),
        (b'"\\q"', "invalid character 'q' in string escape code"),
        (b"tru3", "invalid character '3' in literal true (expecting 'e')"),
        (b"1.x", "invalid character 'x' after decimal point in numeric literal"),
        (b"-x", "invalid character 'x' in numeric literal"),
    ],
)
def test_syntax_errors_are_gos(text: bytes, error: str) -> None:
    assert syntax_error(text) == error


def test_what_is_not_json_is_refused_with_a_glimpse_of_it() -> None:
    assert refused(b'{"a":') == (
        "the object provided is unrecognized (must be of type Deployment): couldn't get version/kind; "
        'json parse error: unexpected end of JSON input ({"a":)'
    )
    assert refused(b"xyz").endswith("(78797a)")


def test_yaml_is_read_as_the_go_library_reads_it() -> None:
    text = b"metadata:\n  annotations:\n    time: 12:30\n    day: 2020-01-01\nspec:\n  replicas: 010\n  paused: yes\n"
    assert of(
        text.replace(b"12:30", b'"12:30"').replace(b"2020-01-01", b'"2020-01-01"'), content_type="application/yaml"
    )
    decoded = of(text, content_type="application/yaml").object
    assert decoded["metadata"]["annotations"] == {"time": "12:30", "day": "2020-01-01"}
    assert decoded["spec"] == {"replicas": 8, "paused": True}


def test_yaml_duplicates_and_errors() -> None:
    twice = refused(b"spec:\n  replicas: 1\n  replicas: 2\n", content_type="application/yaml")
    assert twice.endswith('yaml: unmarshal errors:\n  line 3: key "replicas" already set in map')
    bad = refused(b"a: b: c", content_type="application/yaml")
    assert "error converting YAML to JSON: yaml: mapping values are not allowed in this context" in bad


def test_what_a_patch_says_twice_and_what_it_says_the_object_is() -> None:
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}}
    assert conform(obj, POD, "Warn", "{}", ['duplicate field "a"']).warnings == ['duplicate field "a"']
    assert conform(obj, POD, "Ignore", "{}", []).warnings == []
    with pytest.raises(Invalid, match='strict decoding error: duplicate field "a"'):
        conform(obj, POD, "Strict", "{}", ['duplicate field "a"'])
    with pytest.raises(Invalid, match=r"converting \(v1.Secret\) to \(core.Pod\): unknown conversion"):
        conform({**obj, "kind": "Secret"}, POD)
    with pytest.raises(Invalid, match='no kind "Pod" is registered for version "v9"'):
        conform({**obj, "apiVersion": "v9"}, POD)


@pytest.mark.parametrize(
    ("time", "read"),
    [
        ("2020-01-01T02:00:00+02:00", "2020-01-01T00:00:00.000000Z"),
        ("2020-01-01T00:00:00,5Z", "2020-01-01T00:00:00.500000Z"),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("2020-01-01T00:00:00", None),
        ("2020-01-01T00:00Z", None),
        ("20200101T000000Z", None),
        ("2020-W01-1T00:00:00Z", None),
        ("2020-02-31T00:00:00Z", None),
        ("\u0662020-01-01T00:00:00Z", None),
    ],
)
def test_times(time: str, read: str | None) -> None:
    lease = {"metadata": {"name": "l"}, "spec": {"renewTime": time}}
    row = ROWS["coordination.k8s.io", "v1", "leases"]
    if read is None:
        assert f'parsing time "{time}"' in refused(json.dumps(lease, ensure_ascii=False).encode(), row)
    else:
        assert of(lease, row).object["spec"]["renewTime"] == read


NAN, INFINITE = "json: unsupported value: NaN", "json: unsupported value: +Inf"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: !!binary aGk=\nb: !!str 1\nc: !!int '3'\nd: !!float 3", {"a": "hi", "b": "1", "c": 3, "d": 3.0}),
        ("a: !!timestamp 2020-01-01", {"a": "2020-01-01"}),
        ("0x10: 0x10\nyes: 010\n~: 1_000\n'<<': .", {"16": 16, "true": 8, "null": 1000, "<<": "."}),
        ("<<: {a: 1, b: 1}\na: 2", {"a": 2, "b": 1}),
        ("a: 1\n<<: [{a: 2, b: 3}, {b: 4, c: 5}]", {"a": 1, "b": 3, "c": 5}),
        ("a: &x 1\n*x : [*x, &y {b: c}, *y]", {"a": 1, "1": [1, {"b": "c"}, {"b": "c"}]}),
        ("a: 18446744073709551615\nb: 18446744073709551616\nc: 0x_", {"a": (1 << 64) - 1, "b": 2.0**64, "c": "0x_"}),
        ("a: b\n---\nc: d", {"a": "b"}),
        ("", None),
    ],
)
def test_yaml_values(text: str, value: Any) -> None:
    assert yaml.load(text.encode()) == (value, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: .nan", NAN),
        ("a: 1e999", INFINITE),
        ("a: " + "9" * 5000, INFINITE),
        ("a: 0x" + "f" * 260, INFINITE),
        ("a: !!set {a, b}", "could not determine a constructor for the tag 'tag:yaml.org,2002:set'"),
        ("a: !!python/name:os.system", "could not determine a constructor for the tag"),
        ("a: !!int x", "cannot decode !!str `x` as a !!int"),
        ("? [a]\n: b", "invalid map key"),
        ("a: &x [b]\n*x : c", "invalid map key"),
        ("<<: 1", "map merge requires map or sequence of maps as the value"),
        ("a: *b", "unknown anchor 'b' referenced"),
        ("[" * 1_000_000, "exceeded max depth of 200"),
        ("- " * 1_000_000, "exceeded max depth of 200"),
        ("{a: " * 1_000_000, "exceeded max depth of 200"),
        (
            "".join(f"a{i}: &a{i} [*a{i - 1}]\n" if i else "a0: &a0 [x]\n" for i in range(300)),
            "exceeded max depth of 200",
        ),
    ],
)
def test_yaml_that_is_no_json(text: str, problem: str) -> None:
    with pytest.raises(yaml.YAMLError) as refused:
        yaml.load(text.encode())
    assert problem in str(refused.value)


def nested(levels: int) -> bytes:
    return b'{"metadata": {}, "data": ' + b'{"a": ' * (levels - 1) + b"1" + b"}" * levels


@pytest.mark.parametrize("content_type", ["application/json", "application/yaml"])
@pytest.mark.parametrize("validation", ["Ignore", "Strict"])
def test_all_forms_are_nested_equally_deep(content_type: str, validation: Any) -> None:
    revision = sent_kind("ControllerRevision", "apps/v1")
    assert decode(nested(MAX_DEPTH), content_type, revision, validation).object["data"]
    for levels in (MAX_DEPTH + 1, 254, 255, 1024, 5000, 100_000):
        with pytest.raises(BadRequest, match="exceeded max depth"):
            decode(nested(levels), content_type, revision, validation)


def test_yaml_aliases_do_not_fill_the_memory() -> None:
    few = b"x: &x [a]\nspec: {y: *x, z: *x}"
    assert of(few, validation="Ignore", content_type="application/yaml").object["spec"] == {}
    bomb = b"a0: &a0 [x]\n" + b"".join(
        b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 9)
    )
    assert "document contains excessive aliasing" in refused(bomb, content_type="application/yaml")
    assert "contains itself" in refused(b"a: &a [*a]", content_type="application/yaml")


def test_other_media_types_are_not_read() -> None:
    with pytest.raises(UnsupportedMediaType):
        of({}, content_type="application/vnd.kubernetes.protobuf")


def test_the_result_of_a_patch_is_refused_as_a_patch() -> None:
    with pytest.raises(Invalid) as error:
        conform({**BASE, "spec": {"foo": 1}}, DEPLOYMENT, "Strict")
    assert error.value.message.endswith('strict decoding error: unknown field "spec.foo"')
    assert error.value.message.startswith(' "" is invalid: patch: Invalid value: ')
    assert conform({**BASE, "spec": {"foo": 1}}, DEPLOYMENT, "Warn").object["spec"] == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=10,
)
pod_like = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.dictionaries(st.sampled_from(["name", "labels", "uid", "finalizers"]), json_values),
        "spec": st.dictionaries(st.sampled_from(["containers", "hostNetwork", "nodeName", "x"]), json_values),
        "status": json_values,
    },
)


@given(pod_like)
def test_decoding_is_idempotent_and_never_fails_otherwise(obj: dict[str, Any]) -> None:
    try:
        first = of(obj, POD, "Ignore").object
    except BadRequest:
        return
    assert of(first, POD).object == first
