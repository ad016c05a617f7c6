"""Whoever is shown a service account's token can check it with what the server publishes."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import httpx
import jwt
import pytest

from tests.integration.conftest import ApiServer, eventually

CONFIGURATION = "/.well-known/openid-configuration"


def test_a_token_is_checked_by_the_published_keys(
    http: httpx.Client, http_as: Callable[[str | None], httpx.Client], apiserver: ApiServer, namespace: str
) -> None:
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    token = http.post(account, json={"spec": {"audiences": ["relying-party"]}}).json()["status"]["token"]

    found = http.get(CONFIGURATION)
    assert (found.headers["content-type"], found.headers["cache-control"]) == (
        "application/json",
        "public, max-age=3600",
    )
    document = found.json()
    assert document["jwks_uri"] == f"{apiserver.url}/openid/v1/jwks"
    published = http.get(document["jwks_uri"])
    assert published.headers["content-type"] == "application/jwk-set+json"
    assert {key["use"] for key in published.json()["keys"]} == {"sig"}
    keys = jwt.PyJWKSet.from_dict(published.json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    algorithms = document["id_token_signing_alg_values_supported"]
    claims = jwt.decode(token, key, algorithms, audience="relying-party", issuer=document["issuer"])
    assert claims["sub"] == f"system:serviceaccount:{namespace}:default"
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, key, algorithms, audience="another", issuer=document["issuer"])

    own = http.post(account, json={"spec": {}}).json()["status"]["token"]
    context = ssl.create_default_context(cafile=str(apiserver.pki / "ca.crt"))
    headers = {"authorization": f"Bearer {own}"}
    with httpx.Client(base_url=apiserver.url, verify=context, headers=headers) as pod:
        for path in (CONFIGURATION, "/openid/v1/jwks"):
            eventually(lambda path=path: pod.get(path).status_code == 200)
        assert pod.get("/metrics").status_code == 403
    assert http_as("scheduler").get(CONFIGURATION).status_code == 403
    assert http_as(None).get(CONFIGURATION).status_code == 401
