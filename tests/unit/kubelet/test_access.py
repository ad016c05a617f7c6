"""Who comes in to the kubelet's server and what they may, over an API server that lives in this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightkube.models.authentication_v1 import TokenReviewStatus, UserInfo
from lightkube.models.authorization_v1 import SubjectAccessReviewStatus
from lightkube.resources.authentication_v1 import TokenReview

from common.api.status import NotFound, ServiceUnavailable
from common.serving import PeerIdentity
from kubelet.server.auth import Access, Caller, ReviewError, subresource
from kubelet.server.diagnostics import show
from kubelet.server.reviews import ApiReviews


class FakeApi:
    """Knows the token "good"; ``reader`` may get nodes/metrics."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.away = False

    async def create(self, review: Any) -> Any:
        if self.away:
            raise ServiceUnavailable("the server is away")
        self.asked.append(review)
        if isinstance(review, TokenReview):
            known = review.spec.token == "good"
            review.status = TokenReviewStatus(
                authenticated=known, user=UserInfo(username="reader", groups=["g"]) if known else None
            )
        else:
            attributes = review.spec.resourceAttributes
            allowed = (review.spec.user, attributes.subresource, attributes.verb) == ("reader", "metrics", "get")
            review.status = SubjectAccessReviewStatus(allowed=allowed)
        return review


def access(api: FakeApi, seconds: float = 60.0, **options: Any) -> Access:
    return Access(ApiReviews(api, "n1", seconds, seconds, seconds), **options)  # type: ignore[arg-type]


async def ask(
    access: Access, path: str, *, token: str = "", peer: PeerIdentity | None = None, method: str = "GET"
) -> tuple[int, str]:
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    scope = {"type": "http", "path": path, "method": method, "headers": headers, "state": {"peer": peer}}
    answer = await access.refusal(scope)
    return (200, "") if answer is None else (answer.status_code, bytes(answer.body).decode())


async def test_tokens_and_rights_are_asked_once() -> None:
    api = FakeApi()
    door = access(api)
    for _ in range(3):
        assert (await ask(door, "/metrics", token="good"))[0] == 200
        code, text = await ask(door, "/pods", token="good")
        assert (code, text) == (403, "Forbidden (user=reader, verb=get, resource=nodes, subresource(s)=[proxy])\n")
    assert len(api.asked) == 3  # the token, two rights
    assert api.asked[1].spec.resourceAttributes.name == "n1"
    assert (await ask(door, "/metrics", token="bad"))[0] == 401
    api.away = True
    assert (await ask(door, "/metrics", token="good"))[0] == 200
    code, text = await ask(door, "/stats/summary", token="good")
    assert code == 500 and text.startswith("Authorization error (user=reader")
    assert (await ask(door, "/metrics", token="other"))[0] == 401


async def test_answers_are_forgotten() -> None:
    api = FakeApi()
    door = access(api, seconds=0)
    for _ in range(2):
        assert (await ask(door, "/metrics", token="good"))[0] == 200
    assert len(api.asked) == 4


async def test_certificates_and_nobody() -> None:
    api = FakeApi()
    masters = PeerIdentity("admin", ("system:masters",))
    assert (await ask(access(api), "/exec/x", peer=masters, method="POST"))[0] == 200 and api.asked == []
    assert (await ask(access(api), "/metrics", peer=PeerIdentity("reader", ())))[0] == 200
    assert (await ask(access(api), "/metrics", peer=PeerIdentity("other", ()), method="POST"))[0] == 403
    assert (await ask(access(api), "/pods")) == (401, "Unauthorized")
    assert (await ask(access(api), "/healthz"))[0] == 200
    assert "user=system:anonymous" in (await ask(access(api, anonymous=True), "/pods"))[1]
    assert (await ask(access(api, anonymous=True, webhook=False), "/pods"))[0] == 200
    assert (await ask(access(api, tokens=False), "/metrics", token="good"))[0] == 401


async def test_a_review_that_fails_says_so() -> None:
    api = FakeApi()
    api.away = True
    with pytest.raises(ReviewError):
        await ApiReviews(api, "n1", 1, 1, 1).caller("good")  # type: ignore[arg-type]
    with pytest.raises(ReviewError):
        await ApiReviews(api, "n1", 1, 1, 1).allowed(Caller("a", ()), "get", "proxy")  # type: ignore[arg-type]


def test_paths_stand_for_subresources() -> None:
    paths = ("/metrics", "/metrics/cadvisor", "/stats/summary", "/logs/x", "/checkpoint/a", "/exec/a", "/metricsx")
    wanted = ["metrics", "metrics", "stats", "log", "checkpoint", "proxy", "proxy"]
    assert [subresource(path) for path in paths] == wanted


def test_no_way_out_of_the_logs(tmp_path: Path) -> None:
    root = tmp_path / "log"
    (root / "pods").mkdir(parents=True)
    (root / "a.log").write_text("x")
    (tmp_path / "secret").write_text("s")
    (root / "link").symlink_to(tmp_path / "secret")
    assert b'href="a.log"' in show(root, "", "/logs/").body
    assert show(root, "a.log", "/logs/a.log").status_code == 200
    assert show(root, "pods", "/logs/pods").status_code == 301
    for path in ("link", "../secret", "none", "a.log/x"):
        with pytest.raises(NotFound):
            show(root, path, f"/logs/{path}")
