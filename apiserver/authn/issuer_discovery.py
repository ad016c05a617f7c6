"""How others find out whether a service account's token is right without asking this server each time.

OpenID Connect's discovery document leads to the public keys; whoever may read both is told by the role
``system:service-account-issuer-discovery``.
https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery
(KEP-1393) and RFC 7517.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from apiserver.authn.settings import AuthnSettings
from apiserver.authn.tokens import PublicKey, algorithm, key_id, load_keys

CONFIGURATION, KEYS = "/.well-known/openid-configuration", "/openid/v1/jwks"
PATHS = (CONFIGURATION, KEYS)
CACHED = {"cache-control": "public, max-age=3600"}


def configuration(issuer: str, keys_url: str, algorithms: Iterable[str]) -> Mapping[str, Any]:
    """The discovery document (OpenID Connect Discovery 1.0, section 3)."""
    return {
        "issuer": issuer,
        "jwks_uri": keys_url,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": sorted(set(algorithms)),
    }


def key_set(keys: Iterable[PublicKey]) -> Mapping[str, Any]:
    """A JWK for each key, by the id that tokens name."""
    return {"keys": [{"use": "sig", "kid": key_id(key), "alg": algorithm(key), **_numbers(key)} for key in keys]}


def _numbers(key: PublicKey) -> dict[str, str]:
    if isinstance(key, rsa.RSAPublicKey):
        jwk = RSAAlgorithm.to_jwk(key, as_dict=True)
    else:
        jwk = ECAlgorithm.to_jwk(key, as_dict=True)
    return {name: jwk[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in jwk}


def routes(settings: AuthnSettings, address: str) -> list[Route]:
    """None where tokens are not issued for a URL. ``address`` is this server's, with its port."""
    keys, issuer = load_keys(settings), settings.service_account_issuer
    if not keys or not issuer.startswith("https://"):
        return []
    document = configuration(issuer, f"https://{address}{KEYS}", map(algorithm, keys))
    return [
        _route(CONFIGURATION, document, "application/json"),
        _route(KEYS, key_set(keys), "application/jwk-set+json"),
    ]


def _route(path: str, document: Mapping[str, Any], media_type: str) -> Route:
    body = orjson.dumps(document)

    async def answer(request: Request) -> Response:
        return Response(body, media_type=media_type, headers=CACHED)

    return Route(path, answer, methods=["GET"])


def paths(served: Sequence[Route]) -> list[str]:
    return [route.path for route in served]
