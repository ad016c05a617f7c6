"""/configz: the kubelet's flags as upstream's KubeletConfiguration shows them, as far as they exist here.

https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
"""

from __future__ import annotations

from typing import Any

from kubelet.settings import KubeletSettings, split


def configuration(settings: KubeletSettings) -> dict[str, Any]:
    """What is in it is no secret: headers of ``--manifest-url`` are left out."""
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": settings.address,
        "port": settings.port,
        "healthzBindAddress": settings.healthz_bind_address,
        "healthzPort": settings.healthz_port,
        "staticPodPath": settings.pod_manifest_path,
        "staticPodURL": settings.manifest_url,
        "httpCheckFrequency": settings.http_check_frequency,
        "fileCheckFrequency": settings.file_check_frequency,
        "rotateCertificates": settings.rotate_certificates,
        "serverTLSBootstrap": settings.rotate_server_certificates,
        "authentication": {
            "x509": {"clientCAFile": settings.client_ca_file or ""},
            "webhook": {
                "enabled": settings.authentication_token_webhook,
                "cacheTTL": f"{settings.authentication_token_webhook_cache_ttl:g}s",
            },
            "anonymous": {"enabled": settings.anonymous_auth},
        },
        "authorization": {
            "mode": settings.authorization_mode,
            "webhook": {
                "cacheAuthorizedTTL": f"{settings.authorization_webhook_cache_authorized_ttl:g}s",
                "cacheUnauthorizedTTL": f"{settings.authorization_webhook_cache_unauthorized_ttl:g}s",
            },
        },
        "clusterDomain": settings.cluster_domain,
        "clusterDNS": split(settings.cluster_dns),
        "imageMinimumGCAge": settings.minimum_image_ttl_duration,
        "imageGCHighThresholdPercent": settings.image_gc_high_threshold,
        "imageGCLowThresholdPercent": settings.image_gc_low_threshold,
        "cgroupRoot": settings.cgroup_root,
        "maxPods": settings.max_pods,
        "podCIDR": settings.pod_cidr,
        "resolvConf": settings.resolv_conf,
        "serializeImagePulls": settings.serialize_image_pulls,
        "maxParallelImagePulls": settings.max_parallel_image_pulls,
        "containerLogMaxSize": settings.container_log_max_size,
        "containerLogMaxFiles": settings.container_log_max_files,
        "enableSystemLogHandler": settings.enable_system_log_handler,
        "containerRuntimeEndpoint": settings.container_runtime_endpoint,
        "registerNode": settings.register_node,
        "podLogsDir": settings.pod_log_dir,
    }
