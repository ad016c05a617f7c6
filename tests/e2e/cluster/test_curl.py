"""The README's curl lines, taken from it and run as they stand there: what it promises is what happens."""

from __future__ import annotations

import json
import re

from tests.e2e.cluster.support import ROOT, Kubectl, command, eventually

MARK = "=====next====="


def readme_lines() -> list[str]:
    text = (ROOT / "README.md").read_text()
    block = re.search(r"## The same by curl alone.*?```sh\n(.*?)```", text, re.DOTALL)
    assert block, "the README has no block of curl lines"
    return block.group(1).splitlines()


def test_readme_curl_lines(cluster: None) -> None:
    kubectl = Kubectl("default")
    kubectl("delete", "deployment", "web", "--ignore-not-found")
    lines = readme_lines()
    result = command(["bash", "-c", f"\necho {MARK}\n".join(lines)], timeout=60)
    assert result.code == 0, result
    _, _, created, read, patched, watched, deleted = [part.strip() for part in result.out.split(MARK)]
    assert json.loads(created)["metadata"]["name"] == "web"
    assert json.loads(read)["spec"]["replicas"] == 2
    assert json.loads(patched)["spec"]["replicas"] == 3
    events = [json.loads(line) for line in watched.splitlines()]
    assert events[0]["type"] == "ADDED"
    assert {event["object"]["metadata"]["name"] for event in events} >= {"web"}
    assert json.loads(deleted)["status"] == "Success" or json.loads(deleted)["kind"] == "Deployment"
    eventually("its pods are gone", lambda: not kubectl.get("pods", "-l", "app=web")["items"], 60)


def test_hint_of_cox_up_works_as_printed(cluster: None) -> None:
    output = command(["./cox", "up"], timeout=300).out
    line = next(line.strip() for line in output.splitlines() if line.strip().startswith("curl "))
    assert json.loads(command(["sh", "-c", line]).out)["kind"] == "PodList"
