"""The pure parts of the `cox` command."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.cli import cluster, images, machine, registry
from deploy.cli.console import CoxError, run, try_run


def test_members_have_their_fixed_addresses() -> None:
    members = cluster.Settings(nodes=3).members
    assert members == {f"node-{n}": f"{cluster.PREFIX}.{10 + n}" for n in (1, 2, 3)}


def test_the_machine_itself_is_a_node_when_asked_for() -> None:
    members = cluster.Settings(nodes=1, host_node=True).members
    assert members[cluster.host_name()] == f"{cluster.PREFIX}.1"


def test_derived_node_is_another_one_in_every_place() -> None:
    model = {
        "container_name": "coxswain-node-1",
        "hostname": "node-1",
        "build": {"context": "."},
        "environment": {"NODE_NAME": "node-1", "NODE_IP": "10.88.0.11"},
        "networks": {"cluster": {"ipv4_address": "10.88.0.11"}},
        "volumes": [{"source": "node-1"}, {"source": "secrets-node-1"}],
    }
    node = cluster.derive_node(model, "node-7", "10.88.0.17")
    assert "node-1" not in str(node).replace("node-17", "")
    assert node["environment"] == {"NODE_NAME": "node-7", "NODE_IP": "10.88.0.17"}
    assert node["networks"]["cluster"]["ipv4_address"] == "10.88.0.17"
    assert "build" not in node
    assert model["hostname"] == "node-1"


@pytest.mark.parametrize(
    ("state", "health", "code", "settled"),
    [
        ("running", "healthy", 0, True),
        ("running", "", 0, True),
        ("running", "starting", 0, False),
        ("exited", "", 0, True),
        ("exited", "", 1, False),
        ("restarting", "", 0, False),
    ],
)
def test_settled(state: str, health: str, code: int, settled: bool) -> None:
    assert cluster.Container("s", "n", state, health, code).settled is settled


@pytest.mark.parametrize(
    ("image", "path"),
    [
        ("httpd:v1", "library/httpd:v1"),
        ("nginx", "library/nginx:latest"),
        ("docker.io/library/httpd:v1", "library/httpd:v1"),
        ("alice/app:2", "alice/app:2"),
    ],
)
def test_images_are_put_where_docker_looks_for_their_plain_name(image: str, path: str) -> None:
    assert registry.repository(image) == path


@pytest.mark.parametrize("image", ["ghcr.io/a/b:1", "localhost/a", "registry:5000/a"])
def test_names_with_a_registry_cannot_be_mirrored(image: str) -> None:
    with pytest.raises(CoxError, match="only names without a registry"):
        registry.repository(image)


def test_hash_of_an_image_follows_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "ROOT", tmp_path)
    (tmp_path / "Dockerfile").write_text("FROM scratch")
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "a.py"
    source.write_text("1")
    image = images.Image("x", "stage", ("src",), "Dockerfile")
    first = images.content_hash(image, "base")
    (tmp_path / "src" / "__pycache__").mkdir()
    (tmp_path / "src" / "__pycache__" / "a.pyc").write_text("compiled")
    assert images.content_hash(image, "base") == first
    assert images.content_hash(image, "another base") != first
    source.write_text("2")
    assert images.content_hash(image, "base") != first


@pytest.mark.parametrize(
    ("text", "numbers"), [("2.26.1-4", (2, 26, 1)), ("28.2.2, build e6", (28, 2, 2)), ("none", (0,)), ("", (0,))]
)
def test_version_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert machine.version_numbers(text) == numbers


def test_a_failing_command_tells_what_it_said() -> None:
    with pytest.raises(CoxError, match=r"failed with 3:\n    on stderr"):
        run(["sh", "-c", "echo on stderr >&2; exit 3"])


def test_a_missing_command_is_no_traceback() -> None:
    assert try_run(["no-such-command-anywhere"]).returncode == 127
