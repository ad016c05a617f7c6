"""The iptables commands, run one at a time and never longer than a minute.

Binding libraries for iptables are unmaintained and bypass the back-end (legacy or nf_tables) that the host has chosen;
the commands are the stable interface, and ``iptables-restore`` is atomic for each table.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from typing import Protocol

from proxy.restore import TABLES, check_text
from proxy.rules import CANARY_CHAIN, JUMP_RULES, JumpRule, canary_rule

LOCK_WAIT_SECONDS = 5
COMMAND_TIMEOUT_SECONDS = 60


class IptablesError(Exception):
    """A command failed; the message is its own."""


class Runner(Protocol):
    async def __call__(self, command: Sequence[str], stdin: str = "") -> str: ...


async def run_command(command: Sequence[str], stdin: str = "") -> str:
    """Runs a command and returns what it prints; raises IptablesError when it fails or hangs.

    In a thread: event loops differ in how they take a command that ends before it has read all of its input.
    """
    return await asyncio.to_thread(_run, command, stdin)


def _run(command: Sequence[str], stdin: str) -> str:
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise IptablesError(f"{command[0]} took longer than {COMMAND_TIMEOUT_SECONDS} s") from None
    except OSError as error:
        raise IptablesError(f"{command[0]} cannot be run: {error}") from None
    if done.returncode:
        raise IptablesError(f"{command[0]} failed ({done.returncode}): {done.stderr.strip()}")
    return done.stdout


class Iptables:
    """What the proxy asks of iptables. ``prefix`` runs the commands elsewhere (a network namespace, in tests)."""

    def __init__(self, run: Runner = run_command, prefix: Sequence[str] = ()) -> None:
        self._run = run
        self._prefix = tuple(prefix)

    async def restore(self, text: str) -> None:
        await self._run((*self._prefix, "iptables-restore", "-w", str(LOCK_WAIT_SECONDS), "--noflush"), text)

    async def chains(self, table: str) -> set[str]:
        saved = await self._run((*self._prefix, "iptables-save", "-t", table))
        return {line[1:].split(" ", 1)[0] for line in saved.splitlines() if line.startswith(":")}

    async def existing(self) -> dict[str, set[str]]:
        return {table: await self.chains(table) for table in TABLES}

    async def intact(self) -> bool:
        """Whether all that leads to our chains is in place."""
        try:
            await self.restore(check_text(CANARY_CHAIN, canary_rule()))
        except IptablesError:
            return False
        return True

    async def ensure_jumps(self) -> None:
        for jump in JUMP_RULES:
            if not await self._has(jump):
                await self._iptables(jump, "-I")

    async def remove_jumps(self) -> None:
        for jump in JUMP_RULES:
            while await self._has(jump):
                await self._iptables(jump, "-D")

    async def _has(self, jump: JumpRule) -> bool:
        try:
            await self._iptables(jump, "-C")
        except IptablesError:
            return False
        return True

    async def _iptables(self, jump: JumpRule, verb: str) -> None:
        where = ("-t", jump.table, verb, jump.chain)
        await self._run((*self._prefix, "iptables", "-w", str(LOCK_WAIT_SECONDS), *where, *jump.spec()))
