"""YAML answers: what is written reads back as what was meant, by YAML 1.1's readers and by the server's own."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from apiserver.endpoints.yaml import dump
from apiserver.schema.yaml import load

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["1", "1e3", "0x1", "12:30", "2020-01-01", "no", "~", "", "- a", "a: b", "a #b", "100m", "10.96.0.1", "x\ny\n", "|"]
)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=20
)


@given(values)
def test_what_is_written_reads_back(value: Any) -> None:
    written = dump(value)
    assert yaml.safe_load(written) == value
    assert load(written)[0] == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_stay_numbers(value: float) -> None:
    assert yaml.safe_load(dump({"a": value})) == {"a": value}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"b": 1, "a": [{"w": "z", "v": []}, "t"]}, "a:\n- v: []\n  w: z\n- t\nb: 1\n"),
        ({"s": "one\ntwo\n"}, "s: |\n  one\n  two\n"),
        ({"at": "2026-01-01T00:00:00Z", "x": "1", "cpu": "100m"}, 'at: "2026-01-01T00:00:00Z"\ncpu: 100m\nx: "1"\n'),
    ],
)
def test_the_style_is_upstreams(value: Any, written: str) -> None:
    assert dump(value).decode() == written
