"""Commands that fail, hang on their input, or do not exist are told apart from those that work."""

from __future__ import annotations

import pytest

from proxy.iptables import Iptables, IptablesError, run_command
from proxy.rules import JUMP_RULES


async def test_input_and_output() -> None:
    assert await run_command(["cat"], "x\n") == "x\n"


async def test_a_command_that_does_not_read_its_input() -> None:
    assert await run_command(["echo", "done"], "x" * 1_000_000) == "done\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [(["sh", "-c", "echo bad >&2; exit 3"], r"failed \(3\): bad"), (["/no/such"], "cannot be run")],
)
async def test_failures_are_told(command: list[str], message: str) -> None:
    with pytest.raises(IptablesError, match=message):
        await run_command(command)


async def test_only_missing_jump_rules_are_inserted() -> None:
    missing, commands = JUMP_RULES[3], []

    async def run(command: list[str], stdin: str = "") -> str:
        commands.append(tuple(command))
        if "-C" in command and command[-len(missing.spec()) :] == missing.spec() and missing.chain in command:
            raise IptablesError("no such rule")
        return ""

    await Iptables(run, prefix=("ip", "netns", "exec", "x")).ensure_jumps()
    inserted = [c for c in commands if "-I" in c]
    assert inserted == [
        ("ip", "netns", "exec", "x", "iptables", "-w", "5", "-t", "filter", "-I", "FORWARD", *missing.spec())
    ]
    assert len(commands) == len(JUMP_RULES) + 1
