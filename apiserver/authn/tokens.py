"""Service-account tokens: JWTs that name their account and what they are bound to.

A token is good while its signature, issuer, audience and times are, and while every object it is bound to (account,
pod, secret, node) is still the same object. The signature is checked once and remembered; the objects are looked up in
the watch cache for every request, so that a deleted pod's token dies with it.
https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens (KEP-1205)
"""

from __future__ import annotations

import base64
import hashlib
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from apiserver.authn.settings import AuthnSettings, as_paths, audiences
from apiserver.types import Object, Registry, User
from common.api.status import NotFound, Unauthorized
from common.api.time import parse_rfc3339

CACHE_SIZE = 4096
LEEWAY_SECONDS = 10
DELETED_GRACE_SECONDS = 60
"""An account or pod being deleted keeps its tokens for this long past its deletionTimestamp, as upstream."""

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def key_id(key: PublicKey) -> str:
    """The ``kid`` of a key: upstream's digest of its DER form."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def algorithm(key: PublicKey | PrivateKey) -> str:
    """The JWS algorithm that goes with a key. Raises ValueError for a curve that JWT does not know."""
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        return "RS256"
    if key.curve.name not in _CURVES:
        raise ValueError(f"service-account key has an unsupported curve {key.curve.name}")
    return _CURVES[key.curve.name]


def load_public_keys(pem: bytes) -> list[PublicKey]:
    """Every key of a PEM file; private keys count as their public half, as upstream."""
    keys: list[PublicKey] = []
    for block in _pem_blocks(pem):
        if b"PRIVATE KEY" in block.splitlines()[0]:
            key: Any = load_pem_private_key(block, None).public_key()
        else:
            key = load_pem_public_key(block)
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            raise ValueError("service-account keys must be RSA or ECDSA")
        keys.append(key)
    if not keys:
        raise ValueError("data does not contain any valid RSA or ECDSA public keys")
    return keys


def _pem_blocks(pem: bytes) -> Iterable[bytes]:
    block: list[bytes] = []
    for line in pem.splitlines():
        if line.startswith(b"-----BEGIN"):
            block = [line]
        elif block:
            block.append(line)
        if line.startswith(b"-----END") and block:
            if b"EC PARAMETERS" not in line:
                yield b"\n".join(block) + b"\n"
            block = []


@dataclass(frozen=True, slots=True)
class Verified:
    """Claims whose signature and issuer are right."""

    claims: Mapping[str, Any]
    audiences: frozenset[str]
    not_before: float
    expires: float


class TokenVerifier:
    """Checks a token's signature, issuer and times. Keeps the answers of the last few thousand tokens."""

    def __init__(self, keys: Sequence[PublicKey], issuer: str) -> None:
        self._keys = {key_id(key): (key, algorithm(key)) for key in keys}
        self._issuer = issuer
        self._cache: OrderedDict[bytes, Verified] = OrderedDict()

    def issued_here(self, token: str) -> bool:
        """Whether the token claims to be ours at all. Says nothing of its truth."""
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return False
        return claims.get("iss") == self._issuer

    def verify(self, token: str, now: float) -> Verified:
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        verified = self._cache.get(digest)
        if verified is None:
            verified = self._decode(token)
            self._cache[digest] = verified
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(digest)
        if now > verified.expires + LEEWAY_SECONDS or now < verified.not_before - LEEWAY_SECONDS:
            raise Unauthorized
        return verified

    def _decode(self, token: str) -> Verified:
        for key, name in self._candidates(token):
            try:
                claims = jwt.decode(
                    token,
                    key,
                    algorithms=[name],
                    issuer=self._issuer,
                    options={
                        "require": ["exp", "iss", "sub"],
                        "verify_aud": False,
                        "verify_exp": False,
                        "verify_nbf": False,
                        "verify_iat": False,
                    },
                )
            except jwt.InvalidTokenError:
                continue
            aud = claims.get("aud") or ()
            names = frozenset((aud,) if isinstance(aud, str) else aud)
            return Verified(claims, names, float(claims.get("nbf") or 0), float(claims["exp"]))
        raise Unauthorized

    def _candidates(self, token: str) -> Iterable[tuple[PublicKey, str]]:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except jwt.InvalidTokenError:
            return ()
        return (self._keys[kid],) if kid in self._keys else self._keys.values()


class ServiceAccountTokens:
    """Turns a verified token into a user, if what it is bound to still exists."""

    def __init__(self, verifier: TokenVerifier, registry: Registry) -> None:
        self._verifier = verifier
        self._registry = registry

    def issued_here(self, token: str) -> bool:
        return self._verifier.issued_here(token)

    async def user(self, token: str, wanted: Sequence[str]) -> tuple[User, tuple[str, ...]]:
        """The user, and those of the ``wanted`` audiences that the token is good for. Raises Unauthorized."""
        now = time.time()
        verified = self._verifier.verify(token, now)
        good_for = tuple(a for a in wanted if a in verified.audiences)
        private = verified.claims.get("kubernetes.io")
        if not good_for or not isinstance(private, Mapping):
            raise Unauthorized
        namespace, account = private.get("namespace"), private.get("serviceaccount") or {}
        if verified.claims["sub"] != f"system:serviceaccount:{namespace}:{account.get('name')}":
            raise Unauthorized
        await self._must_live("serviceaccounts", str(namespace), account, now)
        extra: dict[str, tuple[str, ...]] = {}
        if jti := verified.claims.get("jti"):
            extra["authentication.kubernetes.io/credential-id"] = (f"JTI={jti}",)
        for kind, plural, scope in (
            ("secret", "secrets", namespace),
            ("pod", "pods", namespace),
            ("node", "nodes", ""),
        ):
            ref = private.get(kind)
            if not ref:
                continue
            # A pod's token names its node too; that node may be gone and back while the pod is not.
            if kind != "node" or not private.get("pod"):
                await self._must_live(plural, str(scope), ref, now)
            if kind != "secret":
                extra[f"authentication.kubernetes.io/{kind}-name"] = (str(ref.get("name", "")),)
                extra[f"authentication.kubernetes.io/{kind}-uid"] = (str(ref.get("uid", "")),)
        return service_account_user(str(namespace), str(account["name"]), str(account.get("uid", "")), extra), good_for

    async def _must_live(self, plural: str, namespace: str, ref: Mapping[str, Any], now: float) -> None:
        obj = await self._find(plural, namespace, str(ref.get("name", "")), ref.get("uid"))
        metadata = obj["metadata"]
        if metadata.get("uid") != ref.get("uid"):
            raise Unauthorized
        deleted = metadata.get("deletionTimestamp")
        if deleted and now > parse_rfc3339(deleted).timestamp() + DELETED_GRACE_SECONDS:
            raise Unauthorized

    async def _find(self, plural: str, namespace: str, name: str, uid: object) -> Object:
        store = self._registry.store("", plural)
        cached = store.cached(namespace, name)
        if cached is not None and cached["metadata"].get("uid") == uid:
            return cached
        try:  # made, or made anew, a moment ago and by another server, perhaps: the cache may be behind
            return await store.get(namespace, name)
        except NotFound:
            raise Unauthorized from None


def service_account_user(
    namespace: str, name: str, uid: str, extra: Mapping[str, tuple[str, ...]] | None = None
) -> User:
    """An account as a user; ``system:authenticated`` is added by who authenticates."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return User(f"system:serviceaccount:{namespace}:{name}", uid, groups, dict(extra or {}))


@dataclass(frozen=True)
class TokenIssuer:
    """Signs service-account tokens (the TokenRequest subresource)."""

    key: PrivateKey
    issuer: str
    audiences: tuple[str, ...]

    def issue(
        self,
        *,
        account: Object,
        token_audiences: Sequence[str],
        lifetime: int,
        bound: Mapping[str, Mapping[str, str]],
        now: float,
        warn_after: int | None = None,
    ) -> str:
        """A token for ``account``. ``bound`` maps "pod", "secret" or "node" to a name and uid."""
        metadata = account["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        private: dict[str, Any] = {"namespace": namespace, **bound}
        private["serviceaccount"] = {"name": name, "uid": metadata["uid"]}
        if warn_after is not None:
            private["warnafter"] = int(now) + warn_after
        claims = {
            "aud": list(token_audiences),
            "exp": int(now) + lifetime,
            "iat": int(now),
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": private,
            "nbf": int(now),
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        headers = {"kid": key_id(self.key.public_key())}
        return jwt.encode(claims, self.key, algorithm=algorithm(self.key), headers=headers)


def build_issuer(settings: AuthnSettings) -> TokenIssuer | None:
    """The signer of ``--service-account-signing-key-file``, or None when the flag is not given."""
    path = settings.service_account_signing_key_file
    if not path:
        return None
    with open(path, "rb") as file:
        key = load_pem_private_key(file.read(), None)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path}: service-account keys must be RSA or ECDSA")
    return TokenIssuer(key, settings.service_account_issuer, audiences(settings))


def build_verifier(settings: AuthnSettings) -> TokenVerifier | None:
    """Trusts the keys that :func:`load_keys` finds, if there are any."""
    keys = load_keys(settings)
    return TokenVerifier(keys, settings.service_account_issuer) if keys else None


def load_keys(settings: AuthnSettings) -> list[PublicKey]:
    """Those of ``--service-account-key-file``, or the signing key's own public half."""
    paths = as_paths(settings.service_account_key_file) or as_paths(settings.service_account_signing_key_file)
    keys: list[PublicKey] = []
    for path in paths:
        with open(path, "rb") as file:
            keys += load_public_keys(file.read())
    return keys
