"""Each process gets its own secrets and nobody else's."""

from __future__ import annotations

from pathlib import Path

from deploy import distribution, pki

SERVER = ["--server=https://127.0.0.1:6443", "--internal-server=https://10.88.0.10:6443"]


def distribute(tmp_path: Path, nodes: str) -> None:
    words = [f"--pki={tmp_path / 'pki'}", f"--secrets={tmp_path / 'secrets'}", f"--nodes={nodes}", "--sans=apiserver"]
    assert distribution.main([*words, *SERVER]) == 0


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_share_is_complete(tmp_path: Path) -> None:
    distribute(tmp_path, "node-1=10.88.0.11 node-2=10.88.0.12")
    shares = distribution.shares(["node-1", "node-2"])
    assert {path.name for path in (tmp_path / "secrets").iterdir()} == set(shares)
    for name, share in shares.items():
        assert set(files(tmp_path / "secrets" / name)) == set(share)


def test_the_authoritys_key_goes_to_who_signs_alone(tmp_path: Path) -> None:
    distribute(tmp_path, "node-1=10.88.0.11")
    key = (tmp_path / "pki" / "ca.key").read_bytes()
    holders = [p.name for p in (tmp_path / "secrets").iterdir() if key in files(p).values()]
    assert holders == ["controller-manager"]


def test_a_node_does_not_get_another_nodes_identity(tmp_path: Path) -> None:
    distribute(tmp_path, "node-1=10.88.0.11 node-2=10.88.0.12")
    theirs = {(tmp_path / "pki" / f"{kind}-node-2.key").read_bytes() for kind in ("kubelet", "proxy")}
    assert not theirs & set(files(tmp_path / "secrets" / "node-1").values())


def test_secrets_stay_private_and_strays_are_removed(tmp_path: Path) -> None:
    distribute(tmp_path, "node-1=10.88.0.11")
    folder = tmp_path / "secrets" / "node-1"
    assert (folder / "kubelet.key").stat().st_mode & 0o777 == 0o600
    (folder / "left-by-a-former-version.key").write_text("secret")
    distribute(tmp_path, "node-1=10.88.0.11")
    assert set(files(folder)) == set(distribution.node_secrets("node-1"))


def test_a_second_distribution_rewrites_nothing(tmp_path: Path) -> None:
    pki.create(tmp_path / "pki", nodes=["node-1"], sans=[])
    share = distribution.node_secrets("node-1")
    assert len(distribution.distribute(tmp_path / "pki", tmp_path / "node-1", share)) == len(share)
    assert distribution.distribute(tmp_path / "pki", tmp_path / "node-1", share) == []
