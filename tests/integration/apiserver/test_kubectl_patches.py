"""What kubectl computes (three-way strategic patches, by ``apply``) gives the object that was wanted.

kubectl is the real one; so these are few, and the laws of the patches themselves are in tests/unit.
"""

from __future__ import annotations

import copy
import random
from typing import Any

import httpx
import orjson
import pytest

from tests.integration.conftest import Kubectl

WORDS = "abcde"


class Maker:
    """Deployments that differ from one another in every way that a strategic patch tells."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def some(self, most: int = 3) -> list[str]:
        return self._random.sample(WORDS, self._random.randrange(most + 1))

    def deployment(self) -> dict[str, Any]:
        pick = self._random.choice
        containers = [self._container(name) for name in self.some() or ["a"]]
        spec: dict[str, Any] = {
            "containers": containers,
            "volumes": [{"name": f"v{n}", pick(["emptyDir", "downwardAPI"]): {}} for n in WORDS],
            "tolerations": [{"key": key, "operator": "Exists"} for key in self.some()],
            "hostAliases": [{"ip": f"192.0.2.{ord(n)}", "hostnames": self.some() or ["h"]} for n in self.some()],
            "imagePullSecrets": [{"name": name} for name in self.some()],
            "nodeSelector": dict.fromkeys(self.some(), pick("xy")),
        }
        strategy = pick([{"type": "Recreate"}, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": pick([1, 2])}}])
        labels = dict.fromkeys(self.some(), pick("xy"))
        template = {"metadata": {"labels": {"app": "d", **labels}}, "spec": {k: v for k, v in spec.items() if v}}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d", "labels": labels, "finalizers": [f"x.io/{n}" for n in self.some()]},
            "spec": {
                "selector": {"matchLabels": {"app": "d"}},
                "strategy": strategy,
                "replicas": pick([0, 1, 2]),
                "template": template,
            },
        }

    def _container(self, name: str) -> dict[str, Any]:
        pick = self._random.choice
        return {
            "name": name,
            "image": pick(["i:1", "i:2"]),
            "args": self.some(),
            "env": [{"name": n, "value": pick("xy")} for n in self.some()],
            "ports": [{"containerPort": 80 + ord(n), "protocol": "TCP", "name": f"p{n}"} for n in self.some()],
            "volumeMounts": [{"name": f"v{n}", "mountPath": f"/{n}"} for n in self.some()],
            "resources": {"limits": dict.fromkeys(["cpu"][: pick([0, 1])], "1")},
        }


def without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        made = {k: without_empty(v) for k, v in value.items()}
        return {k: v for k, v in made.items() if v not in ({}, [], None)}
    return [without_empty(v) for v in value] if isinstance(value, list) else value


def restricted(obj: Any, wanted: Any) -> Any:
    """Of ``obj`` only what ``wanted`` speaks of; what lists name is compared whole, but for defaults in their maps."""
    if isinstance(obj, dict) and isinstance(wanted, dict):
        return {k: restricted(obj[k], v) for k, v in wanted.items() if k in obj}
    if isinstance(obj, list) and isinstance(wanted, list) and len(obj) == len(wanted):
        return [restricted(o, w) for o, w in zip(obj, wanted, strict=True)]
    return obj


@pytest.mark.parametrize("seed", range(4))
def test_apply_after_apply_gives_what_was_applied_last(
    kubectl: Kubectl, http: httpx.Client, namespace: str, seed: int
) -> None:
    maker = Maker(seed)
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/d"
    before: dict[str, Any] = {}
    for _ in range(3):
        wanted = maker.deployment()
        kubectl("apply", "-n", namespace, "-f", "-", input=orjson.dumps(wanted).decode())
        stored = http.get(path).json()
        plain = without_empty(wanted)
        assert restricted(stored, plain) == plain
        _nothing_is_left(stored, without_empty(before), plain)
        assert kubectl("diff", "-n", namespace, "-f", "-", input=orjson.dumps(wanted).decode()).stdout == ""
        # Somebody else adds what the file does not speak of: the next apply leaves it.
        other = copy.deepcopy(stored)
        other["metadata"]["labels"] = {**other["metadata"].get("labels", {}), "other": "stays"}
        other["spec"]["template"]["spec"]["containers"].append({"name": "other", "image": "o"})
        assert http.put(path, json=other).status_code == 200
        kubectl("apply", "-n", namespace, "-f", "-", input=orjson.dumps(wanted).decode())
        stored = http.get(path).json()
        assert stored["metadata"]["labels"]["other"] == "stays"
        assert "other" in {c["name"] for c in stored["spec"]["template"]["spec"]["containers"]}
        stored["spec"]["template"]["spec"]["containers"].pop()
        del stored["metadata"]["labels"]["other"]
        assert http.put(path, json=stored).status_code == 200
        before = wanted
    merge = {"content-type": "application/merge-patch+json"}
    http.patch(path, json={"metadata": {"finalizers": None}}, headers=merge)


def _nothing_is_left(stored: Any, before: Any, wanted: Any) -> None:
    """What an earlier file said and this one does not is gone."""
    if isinstance(before, dict):
        for key in before:
            if key not in wanted and key not in ("strategy", "rollingUpdate", "resources"):
                assert not stored.get(key), (key, stored.get(key))
            elif key in wanted and isinstance(stored.get(key), dict) and isinstance(wanted[key], dict):
                _nothing_is_left(stored[key], before[key], wanted[key])
