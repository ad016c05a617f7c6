"""Every kind but core's: what minimal, rich and invalid objects answer, field for field and cause for cause.

The tables in ``answers/`` are a file for each group. What they say was compared with a kube-apiserver object by object,
and where v1.32 differs from the older one that was at hand, with v1.32's rules. Texts with the address of a pointer in
them (Go prints those) cannot be equal, and have an invented one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.apiserver.answers_support import answer

TABLES = sorted((Path(__file__).parent / "answers").glob("*.yaml"))


def cases() -> Iterator[Any]:
    for table in TABLES:
        for i, entry in enumerate(yaml.load(table.read_text(), yaml.CSafeLoader)):
            for j, case in enumerate(entry["cases"]):
                kind = entry["base"]["kind"]
                yield pytest.param(entry["base"], case, id=f"{table.stem}-{i}-{kind}-{j}-{case['op']}")


@pytest.mark.parametrize(("base", "case"), list(cases()))
def test_the_answer_is_upstreams(base: dict[str, Any], case: dict[str, Any]) -> None:
    expected = {key: case[key] for key in ("causes", "makes") if key in case}
    assert answer(base, case.get("set") or {}, case["op"]) == expected
