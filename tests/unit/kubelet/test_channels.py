"""The framing of streams over WebSocket."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubelet.server import channels
from kubelet.server.channels import PROTOCOLS, V4, V4_BASE64, V5, Frame, ProtocolError


@given(st.integers(0, 9), st.binary(), st.sampled_from(PROTOCOLS))
def test_a_frame_survives_the_way(channel: int, data: bytes, protocol: str) -> None:
    assert channels.decode(channels.encode(channel, data, protocol), protocol) == Frame(channel, data)


@given(st.one_of(st.binary(), st.text()), st.sampled_from(PROTOCOLS))
def test_any_message_is_a_frame_or_a_protocol_error(message: bytes | str, protocol: str) -> None:
    try:
        assert 0 <= channels.decode(message, protocol).channel <= 255
    except ProtocolError:
        assert protocol == V4_BASE64 or not message


def test_the_newest_common_protocol_is_chosen() -> None:
    assert channels.negotiate([V4, V5]) == V5
    assert channels.negotiate(["v9.channel.k8s.io", V4_BASE64, V4]) == V4
    assert channels.negotiate(["channel.k8s.io"]) is None


def test_an_exit_code_reaches_the_client_as_upstream_tells_it() -> None:
    status = json.loads(channels.exit_status(3, ["sh", "-c", "exit 3"]))
    assert status["status"] == "Failure"
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"] == {"causes": [{"reason": "ExitCode", "message": "3"}]}
    assert status["message"] == (
        "command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3"
    )
    assert json.loads(channels.exit_status(0, ["true"])) == {"metadata": {}, "status": "Success"}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"Width": 1}', '{"Width": "x", "Height": 1}', '{"Width":-1,"Height":1}']
)
def test_a_bad_terminal_size_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        channels.parse_resize(text.encode())


def test_a_terminal_size_is_read_in_any_case() -> None:
    assert channels.parse_resize(b'{"Width":80,"height":24}') == channels.Resize(80, 24)


def test_only_the_close_of_stdin_closes_stdin() -> None:
    assert channels.closes_stdin(Frame(255, b"\x00"))
    assert not channels.closes_stdin(Frame(255, b"\x01"))
    assert not channels.closes_stdin(Frame(255, b""))
    assert not channels.closes_stdin(Frame(0, b"\x00"))
