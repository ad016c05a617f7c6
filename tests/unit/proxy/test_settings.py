from __future__ import annotations

import pytest

from common.process import parse
from proxy.settings import ProxySettings


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
