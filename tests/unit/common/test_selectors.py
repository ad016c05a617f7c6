"""Selectors: upstream's grammar, and the laws that text and object forms share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.api.selector_rules import MANY
from common.api.selectors import (
    Requirement,
    Selector,
    label_selector_from,
    parse_field_selector,
    parse_label_selector,
    selector_of_map,
)

WORD = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True).filter(lambda w: w not in ("in", "notin"))


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "c"}, False),
        ("a!=b", {}, True),
        ("a in (b, c)", {"a": "c"}, True),
        ("a notin (b,c)", {"a": "c"}, False),
        ("a notin (b,c)", {}, True),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("a>5", {"a": "6"}, True),
        ("a<5", {"a": "x"}, False),
        ("a=", {"a": ""}, True),
        ("a,b!=c,!d", {"a": "1", "b": "d"}, True),
        ("x.io/a in (),b", {"x.io/a": "", "b": "1"}, True),
    ],
)
def test_label_selectors_match_as_upstream(text: str, labels: dict[str, str], matches: bool) -> None:
    assert parse_label_selector(text).matches(labels) is matches


@pytest.mark.parametrize("text", ["a in b", "a in (b", ",a", "a,", "=b", "a=b c", "a>x", "-a=b", "a in (b,c)d", "!"])
def test_bad_label_selectors_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_label_selector(text)


@given(st.dictionaries(WORD, WORD, max_size=4), st.dictionaries(WORD, WORD, max_size=4))
def test_a_map_and_its_text_select_the_same(wanted: dict[str, str], labels: dict[str, str]) -> None:
    of_text = parse_label_selector(",".join(f"{k}={v}" for k, v in wanted.items()))
    assert of_text.matches(labels) is label_selector_from({"matchLabels": wanted}).matches(labels)
    assert of_text.matches({**labels, **wanted})


@given(st.text(max_size=30))
def test_any_text_parses_or_raises_value_error(text: str) -> None:
    for parse in (parse_label_selector, parse_field_selector):
        try:
            selector = parse(text)
        except ValueError:
            continue
        assert selector.matches({}) in (True, False)


@given(st.lists(st.tuples(WORD, st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]), WORD), max_size=3), WORD)
def test_a_selector_means_what_its_text_means(terms: list[tuple[str, str, str]], value: str) -> None:
    expressions = [{"key": k, "operator": op, **({"values": [v]} if op.endswith("In") else {})} for k, op, v in terms]
    selector = label_selector_from({"matchExpressions": expressions})
    labels = {k: value for k, _, _ in terms[::2]}
    assert parse_label_selector(str(selector)).matches(labels) is selector.matches(labels)


TERMS = st.one_of(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from(["=", "!=", "in", "notin"]), st.sampled_from(["", "1", "2", "x"])
    ),
    st.tuples(st.sampled_from("abc"), st.sampled_from(["exists", "!"]), st.none()),
    st.tuples(st.sampled_from("abc"), st.sampled_from(["gt", "lt"]), st.sampled_from(["0", "1", "2"])),
)


@given(
    st.lists(TERMS, min_size=1, max_size=6),
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["", "1", "2", "x"])),
)
def test_many_requirements_mean_what_each_of_them_means(
    terms: list[tuple[str, str, str | None]], labels: dict[str, str]
) -> None:
    requirements = [Requirement(k, op, frozenset() if v is None else frozenset([v])) for k, op, v in terms]
    each = all(requirement.matches(labels) for requirement in requirements)
    assert Selector(tuple(requirements) * MANY).matches(labels) is each


def test_a_match_costs_what_the_labels_cost() -> None:
    """A watch with thousands of requirements is matched with each change of each object."""

    class Labels(dict[str, str]):
        looks = 0

        def get(self, *of: str) -> None:  # type: ignore[override]
            Labels.looks += 1

        def __contains__(self, key: object) -> bool:
            Labels.looks += 1
            return super().__contains__(key)

        def __getitem__(self, key: str) -> str:
            Labels.looks += 1
            return super().__getitem__(key)

    labels = Labels(a="1", b="2")
    for text in (",".join(f"!k{i}" for i in range(9000)), ",".join(f"a!=v{i}" for i in range(9000))):
        Labels.looks = 0
        assert parse_label_selector(text).matches(labels)
        assert Labels.looks < 20
    assert not parse_label_selector(",".join(f"k{i}" for i in range(9000))).matches(labels)
    assert Labels.looks < 20


def test_empty_selectors() -> None:
    assert label_selector_from({}).everything
    assert not label_selector_from(None).matches({})
    assert not selector_of_map({}).matches({"a": "b"})


def test_field_selectors() -> None:
    selector = parse_field_selector(r"metadata.name=a\,b,status.phase!=Running")
    assert selector.matches({"metadata.name": "a,b", "status.phase": "Pending"})
    assert not selector.matches({"metadata.name": "a,b", "status.phase": "Running"})
    assert parse_field_selector("spec.nodeName=n1").exact("spec.nodeName") == "n1"
    with pytest.raises(ValueError, match="invalid selector: 'nonsense'; can't understand 'nonsense'"):
        parse_field_selector("nonsense")
