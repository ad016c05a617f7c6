from __future__ import annotations

import pytest

from common.process import parse
from proxy.settings import ProxySettings, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("1m30s", 90.0), ("100ms", 0.1), ("1.5h", 5400.0), ("0", 0), ("0s", 0.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "30 s", "1d", "-1s", "1m30"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_duration(text)


def test_flags_are_kube_proxys() -> None:
    settings = parse(
        ProxySettings,
        ["--hostname-override=Node-1", "--cluster-cidr=10.244.0.0/16,fd00::/48", "--iptables-min-sync-period=1s"],
    )
    assert settings.node_name == "node-1"
    assert settings.iptables_min_sync_period == 1.0
    assert settings.rule_config(None).cluster_cidrs == ("10.244.0.0/16",)


@pytest.mark.parametrize("flag", ["--cluster-cidr=10.244.0.0/99", "--proxy-mode=ipvs", "--iptables-sync-period=soon"])
def test_a_bad_flag_ends_with_its_name(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(ProxySettings, [flag])
    assert flag.split("=")[0] in capsys.readouterr().err
