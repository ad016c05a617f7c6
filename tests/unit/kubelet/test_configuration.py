"""A KubeletConfiguration as the settings that it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.process import parse
from kubelet.configuration import body_of, camel, load, names_of, values_of
from kubelet.eviction.thresholds import DEFAULT_EVICTION_HARD
from kubelet.settings import KubeletSettings

HEAD = "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n"
FIELDS = list(KubeletSettings.model_fields)


def settings_of(text: str) -> dict[str, Any]:
    known = names_of(FIELDS)
    return values_of(body_of(text, known), known)


def test_fields_are_flags_by_another_spelling() -> None:
    text = """
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: /ca.crt}, webhook: {enabled: true, cacheTTL: 1m0s}}
authorization: {mode: Webhook, webhook: {cacheUnauthorizedTTL: 10s}}
cgroupDriver: systemd
clusterDNS: [10.96.0.10, 10.96.0.11]
evictionHard: {memory.available: 200Mi, nodefs.available: 15%}
evictionSoftGracePeriod: {memory.available: 1m}
fileCheckFrequency: 0s
imageGCHighThresholdPercent: 90
kubeReserved: {cpu: 100m, memory: 1Gi}
logging: {verbosity: 0}
maxPods: 20
nodeStatusUpdateFrequency: 5s
registerWithTaints: [{key: a, value: b, effect: NoSchedule}, {key: c, effect: NoExecute}]
serializeImagePulls: true
shutdownGracePeriodByPodPriority: [{priority: 0, shutdownGracePeriodSeconds: 30}]
staticPodPath: /manifests
staticPodURL: https://example.com/pods
staticPodURLHeader: {Token: [a, b]}
rotateCertificates: true
serverTLSBootstrap: true
containerLogMaxSize: 1Mi
enableSystemLogHandler: false
"""
    assert settings_of(HEAD + text) == {
        "anonymous_auth": False,
        "authentication_token_webhook": True,
        "client_ca_file": "/ca.crt",
        "authentication_token_webhook_cache_ttl": "1m0s",
        "authorization_mode": "Webhook",
        "authorization_webhook_cache_unauthorized_ttl": "10s",
        "rotate_certificates": True,
        "rotate_server_certificates": True,
        "container_log_max_size": "1Mi",
        "enable_system_log_handler": False,
        "manifest_url": "https://example.com/pods",
        "manifest_url_header": "Token:a,Token:b",
        "cluster_dns": "10.96.0.10,10.96.0.11",
        "eviction_hard": "memory.available<200Mi,nodefs.available<15%",
        "eviction_soft_grace_period": "memory.available=1m",
        "image_gc_high_threshold": 90,
        "kube_reserved": "cpu=100m,memory=1Gi",
        "max_pods": 20,
        "node_status_update_frequency": "5s",
        "register_with_taints": "a=b:NoSchedule,c:NoExecute",
        "serialize_image_pulls": True,
        "shutdown_grace_period_by_pod_priority": "0=30",
        "pod_manifest_path": "/manifests",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "maxPod: 1\nhostnameOverride: x\n", 'unknown field "maxPod", unknown field "hostnameOverride"'),
        ("kind: Pod\napiVersion: v1\n", 'no kind "Pod" is registered for version "v1"'),
        ("[", "no YAML"),
        ("", "'Kind' is missing"),
    ],
)
def test_what_is_no_configuration_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        settings_of(text)


def test_names() -> None:
    assert camel("cluster_dns") == "clusterDNS" and camel("pod_cidr") == "podCIDR" and camel("max_pods") == "maxPods"
    names = names_of(FIELDS)
    assert names["nodeLeaseDurationSeconds"] == "node_lease_duration_seconds" and "nodeIp" not in names
    assert "podManifestPath" not in names and "podPidsLimit" in names and "cpuCFSQuota" in names


def test_flags_go_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.yaml"
    path.write_text(HEAD + "maxPods: 20\nclusterDomain: example.com\nserializeImagePulls: true\n")
    values = load(path, None, FIELDS)
    settings = parse(KubeletSettings, ["--max-pods=30", "--serialize-image-pulls=false"], values)
    assert (settings.max_pods, settings.cluster_domain, settings.serialize_image_pulls) == (30, "example.com", False)
    with pytest.raises(ValueError, match=r"none\.yaml"):
        load(tmp_path / "none.yaml", None, FIELDS)
    with pytest.raises(SystemExit):
        parse(KubeletSettings, [], {"eviction_hard": "nonsense<1"})


def test_drop_ins_are_merged_in_order(tmp_path: Path) -> None:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(HEAD + text)
        return path

    base = write("kubelet.yaml", "maxPods: 20\nclusterDomain: a\nkubeReserved: {cpu: 100m, memory: 1Gi}\n")
    write("d/20-last.conf", "maxPods: 40\nclusterDNS: [10.0.0.2]\nkubeReserved: {memory: null}\n")
    write("d/10-first.conf", "maxPods: 30\nclusterDNS: [10.0.0.1, 10.0.0.9]\nevictionHard: {nodefs.available: 7%}\n")
    write("d/15-sub/x.conf", "maxPods: 35\nclusterDomain: b\nclusterDNS: [10.0.0.3]\n")
    write("d/30-note.yaml", "maxPods: 50\n")
    assert load(base, tmp_path / "d", FIELDS) == {
        "max_pods": 40,
        "cluster_domain": "b",
        "cluster_dns": "10.0.0.2",
        "kube_reserved": "cpu=100m",
        "eviction_hard": DEFAULT_EVICTION_HARD.replace("nodefs.available<10%", "nodefs.available<7%"),
    }
    assert load(None, tmp_path / "d", FIELDS)["max_pods"] == 40
    write("d/40.conf", "maxPod: 1\n")
    with pytest.raises(ValueError, match=r'failed to merge kubelet configs: .*40\.conf.*unknown field "maxPod"'):
        load(base, tmp_path / "d", FIELDS)
    with pytest.raises(ValueError, match="failed to walk through kubelet dropin directory"):
        load(base, tmp_path / "none", FIELDS)
