"""Certificates, token files and service-account tokens."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from apiserver.authn import build, build_issuer, tokenfile
from apiserver.authn.authenticator import bearer_token
from apiserver.authn.tokenfile import TokenFile, parse_token_file
from apiserver.authn.tokens import TokenVerifier, load_public_keys
from common.api.status import Unauthorized
from common.serving import PeerIdentity
from tests.unit.apiserver.fakes import MemoryRegistry

ISSUER = "https://kubernetes.default.svc"


def write_keys(folder: Path, key: Any) -> dict[str, str]:
    private, public = folder / "sa.key", folder / "sa.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return {"private": str(private), "public": str(public)}


@pytest.fixture(params=["RS256", "ES256"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> SimpleNamespace:
    if request.param == "RS256":
        key: Any = rsa.generate_private_key(65537, 2048)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    paths = write_keys(tmp_path, key)
    return SimpleNamespace(
        token_auth_file=None,
        enable_bootstrap_token_auth=False,
        service_account_issuer=ISSUER,
        api_audiences=[],
        service_account_key_file=[paths["public"]],
        service_account_signing_key_file=paths["private"],
        client_ca_file=None,
        requestheader_client_ca_file=None,
    )


def scope(token: str | None = None, path: str = "/api", peer: PeerIdentity | None = None) -> dict[str, Any]:
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    return {"headers": headers, "path": path, "state": {"peer": peer}}


def registry() -> MemoryRegistry:
    made = MemoryRegistry()
    made.put("", "serviceaccounts", "builder", "default")
    made.put("", "pods", "p", "default")
    return made


def issue(settings: SimpleNamespace, made: MemoryRegistry, **changes: Any) -> str:
    issuer = build_issuer(settings)
    assert issuer is not None
    account = made.store("", "serviceaccounts").cached("default", "builder")
    arguments: dict[str, Any] = {
        "account": account,
        "token_audiences": [ISSUER],
        "lifetime": 600,
        "bound": {},
        "now": time.time(),
    }
    return issuer.issue(**{**arguments, **changes})


async def test_a_service_account_token_names_its_account(settings: SimpleNamespace) -> None:
    made = registry()
    user = await build(settings, made).authenticate(scope(issue(settings, made)))
    assert user.name == "system:serviceaccount:default:builder"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated")
    assert user.uid == "uid-builder"
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")


async def test_a_token_holds_as_long_as_its_objects(settings: SimpleNamespace) -> None:
    made = registry()
    authenticator = build(settings, made)
    token = issue(settings, made, bound={"pod": {"name": "p", "uid": "uid-p"}})
    assert (await authenticator.authenticate(scope(token))).extra["authentication.kubernetes.io/pod-name"] == ("p",)
    made.put("", "pods", "p", "default", metadata={"uid": "another"})
    with pytest.raises(Unauthorized):
        await authenticator.authenticate(scope(token))
    made.put("", "pods", "p", "default")
    assert await authenticator.authenticate(scope(token))
    made.store("", "serviceaccounts").remove("default", "builder")
    with pytest.raises(Unauthorized):
        await authenticator.authenticate(scope(token))


@pytest.mark.parametrize(
    "changes",
    [
        {"now": time.time() - 7200},
        {"now": time.time() + 3600},
        {"token_audiences": ["vault"]},
    ],
    ids=["expired", "not yet valid", "another audience"],
)
async def test_tokens_that_are_not_for_now_or_us(settings: SimpleNamespace, changes: dict[str, Any]) -> None:
    made = registry()
    with pytest.raises(Unauthorized):
        await build(settings, made).authenticate(scope(issue(settings, made, **changes)))


async def test_a_token_of_another_key_or_issuer_is_refused(settings: SimpleNamespace, tmp_path: Path) -> None:
    made = registry()
    folder = tmp_path / "other"
    folder.mkdir()
    forger = write_keys(folder, rsa.generate_private_key(65537, 2048))
    forged = SimpleNamespace(**{**vars(settings), "service_account_signing_key_file": forger["private"]})
    elsewhere = SimpleNamespace(**{**vars(settings), "service_account_issuer": "https://elsewhere"})
    for wrong in (forged, elsewhere):
        with pytest.raises(Unauthorized):
            await build(settings, made).authenticate(scope(issue(wrong, made, token_audiences=[ISSUER])))


async def test_a_tampered_token_is_refused(settings: SimpleNamespace) -> None:
    made = registry()
    head, body, signature = issue(settings, made).split(".")
    for wrong in (f"{head}.{body}.{signature[:-4]}AAAA", f"{head}.{body}", "x.y.z", "", "e30.e30."):
        with pytest.raises(Unauthorized):
            await build(settings, made).tokens.user(wrong)


def test_the_cache_of_verified_tokens_is_bounded(settings: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apiserver.authn.tokens.CACHE_SIZE", 3)
    made = registry()
    with open(settings.service_account_key_file[0], "rb") as file:
        verifier = TokenVerifier(load_public_keys(file.read()), ISSUER)
    for _ in range(5):
        verifier.verify(issue(settings, made), time.time())
    assert len(verifier._cache) == 3


async def test_certificates_name_user_and_groups(settings: SimpleNamespace) -> None:
    peer = PeerIdentity("jane", ("devs",))
    user = await build(settings, registry()).authenticate(scope(peer=peer))
    assert (user.name, user.groups) == ("jane", ("devs", "system:authenticated"))


@pytest.mark.parametrize(
    ("path", "known"), [("/readyz/etcd", True), ("/version", True), ("/versions", False), ("/", False)]
)
async def test_anonymous_requests_reach_health_and_version_only(
    settings: SimpleNamespace, path: str, known: bool
) -> None:
    authenticator = build(settings, registry())
    if known:
        user = await authenticator.authenticate(scope(path=path))
        assert (user.name, user.groups) == ("system:anonymous", ("system:unauthenticated",))
    else:
        with pytest.raises(Unauthorized):
            await authenticator.authenticate(scope(path=path))


def test_bearer_token() -> None:
    assert bearer_token([(b"authorization", b"bearer  abc")]) == "abc"
    assert bearer_token([(b"authorization", b"Basic abc")]) is None
    assert bearer_token([(b"authorization", b"Bearer")]) is None


def test_a_token_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenfile, "RECHECK_SECONDS", -1.0)
    path = tmp_path / "tokens.csv"
    path.write_text('one,alice,u1,"devs,ops"\n')
    tokens = TokenFile(path)
    user = tokens.user("one")
    assert user is not None
    assert (user.name, user.uid, user.groups) == ("alice", "u1", ("devs", "ops"))
    path.write_text("two,bob,u2\n")
    os.utime(path, (1, 1))
    assert tokens.user("one") is None
    assert tokens.user("two") is not None
    path.write_text("broken")
    assert tokens.user("two") is not None, "a broken file leaves the last good one in place"


def test_a_line_that_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse_token_file("a,b,c\nd,e\n")
