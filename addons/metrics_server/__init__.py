"""The Resource metrics API (``metrics.k8s.io/v1beta1``) from the kubelets' figures: what ``kubectl top`` and the
HorizontalPodAutoscaler ask.

An aggregated API server of its own, after upstream's metrics-server: it runs as a pod, scrapes ``/metrics/resource`` of
every kubelet, keeps the last two samples and nothing else.
https://kubernetes.io/docs/tasks/debug/debug-cluster/resource-metrics-pipeline/
"""
