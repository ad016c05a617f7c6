"""Validation on the server and ``kubectl explain``, with every kubectl that is installed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import ApiServer, kubectl_of

BINARIES = ["kubectl", *(b for b in (f"kubectl.1.{minor}" for minor in range(27, 34)) if shutil.which(b))]
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: a, image: "httpd:v1"}]}
"""
UNKNOWN = DEPLOYMENT.replace("replicas: 1", "replicas: 1\n  foo: 2")


@pytest.mark.parametrize("binary", BINARIES)
def test_every_kubectl_explains_validates_and_applies(
    binary: str, apiserver: ApiServer, tmp_path: Path, namespace: str
) -> None:
    kubectl = kubectl_of(apiserver, tmp_path, binary=binary)

    def apply(text: str, *more: str, check: bool = False) -> Any:
        return kubectl("apply", "-n", namespace, "-f", "-", *more, input=text, check=check)

    assert "type\t<string>" in kubectl("explain", "deployment.spec.strategy").stdout
    refused = apply(UNKNOWN)
    assert 'cannot be handled as a Deployment: strict decoding error: unknown field "spec.foo"' in refused.stderr
    warned = apply(UNKNOWN, "--validate=warn", check=True)
    assert 'unknown field "spec.foo"' in warned.stderr
    assert "configured" in apply(DEPLOYMENT.replace("httpd:v1", "httpd:v2"), check=True).stdout
    assert "+" in kubectl("diff", "-n", namespace, "-f", "-", input=DEPLOYMENT, check=False).stdout
    immutable = apply(DEPLOYMENT.replace("web}}\n  template", "wob}}\n  template"), "--dry-run=server")
    assert "`selector` does not match template `labels`" in immutable.stderr
    assert "field is immutable" in immutable.stderr
    kubectl("delete", "deployment", "web", "-n", namespace)
