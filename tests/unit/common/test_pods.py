"""Pod arithmetic: what a pod requests and which class that makes it."""

from lightkube.models.core_v1 import PodSpec

from common.api.pods import qos_class, requests


def spec(containers: list[dict], init: list[dict] | None = None, **more: object) -> PodSpec:
    def full(c: dict) -> dict:
        return {"name": "c", "image": "i", **c}

    made = {"containers": [full(c) for c in containers], "initContainers": [full(c) for c in init or ()], **more}
    return PodSpec.from_dict(made)


def cpu(amount: str, **more: object) -> dict:
    return {"resources": {"requests": {"cpu": amount}}, **more}


def test_containers_add_up_and_init_containers_take_turns() -> None:
    assert requests(spec([cpu("100m"), cpu("200m")], [cpu("250m"), cpu("50m")]))["cpu"] == 300
    assert requests(spec([cpu("100m")], [cpu("250m")]))["cpu"] == 250


def test_sidecars_stay() -> None:
    sidecar = cpu("100m", restartPolicy="Always")
    assert requests(spec([cpu("100m")], [sidecar, cpu("250m")]))["cpu"] == 350
    assert requests(spec([cpu("300m")], [sidecar, cpu("250m")]))["cpu"] == 400


def test_overhead_and_limits_as_requests() -> None:
    limited = {"resources": {"limits": {"memory": "1Gi"}}}
    assert requests(spec([limited], overhead={"memory": "1Mi"}))["memory"] == (1 << 30) + (1 << 20)


def test_qos() -> None:
    both = {"cpu": "1", "memory": "1Gi"}
    assert qos_class(spec([{}])) == "BestEffort"
    assert qos_class(spec([cpu("1")])) == "Burstable"
    assert qos_class(spec([{"resources": {"limits": both}}])) == "Guaranteed"
    assert qos_class(spec([{"resources": {"limits": both, "requests": {"cpu": "0.5"}}}])) == "Burstable"
    assert qos_class(spec([{"resources": {"limits": both}}, {}])) == "Burstable"
