"""What to write: the difference between the chains that should be and those written last, as iptables-restore text.

On the nf_tables back-end a restore costs by the chains that it names, not by the table: one chain takes about 10 ms in
a table of 42,000 lines, the whole table over a second. So the usual sync names only the chains that changed. A full
sync, which names all of them and removes what an earlier run left, happens at the start, once an hour, after a failed
restore and when foreign hands flushed our chains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from proxy.rules import JUMP_RULES, SERVICE_CHAIN_PREFIXES, Chains, JumpRule, RuleConfig, ServiceRules, assemble

TABLES = ("filter", "nat")
"""The filter table first, as upstream: refusals are in place before the traffic that they concern is translated."""


@dataclass(frozen=True, slots=True)
class Change:
    """Chains to write anew and chains to remove, by table."""

    write: Mapping[str, Chains] = field(default_factory=dict)
    remove: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.write.values()) or any(self.remove.values())

    def text(self) -> str:
        """For ``iptables-restore --noflush``: a chain that is declared is emptied, one not named stays as it is."""
        return "".join(self._table(table) for table in TABLES if self.write.get(table) or self.remove.get(table))

    def _table(self, table: str) -> str:
        write, remove = self.write.get(table, {}), self.remove.get(table, frozenset())
        lines = [f"*{table}"]
        # A chain is emptied before it is removed, and removed last: until then others may still point to it.
        lines += [f":{chain} - [0:0]" for chain in (*write, *sorted(remove))]
        lines += [f"-A {chain} {rule}" for chain, rules in write.items() for rule in rules]
        lines += [f"-X {chain}" for chain in sorted(remove)]
        return "\n".join((*lines, "COMMIT", ""))

    def rules(self, table: str) -> int:
        return sum(len(rules) for rules in self.write.get(table, {}).values())


class RuleBook:
    """What every service puts into the tables, and which of it is written already."""

    def __init__(self, config: RuleConfig) -> None:
        self.config = config
        self._services: dict[str, tuple[ServiceRules, ...]] = {}
        self._before: dict[str, tuple[ServiceRules, ...]] = {}
        self._written: dict[str, dict[str, tuple[str, ...]]] = {}

    def put(self, service: str, parts: Iterable[ServiceRules]) -> None:
        """The rules of one Service; none of them means that it is gone."""
        new = tuple(parts)
        self._before.setdefault(service, self._services.get(service, ()))
        if new:
            self._services[service] = new
        else:
            self._services.pop(service, None)

    def partial(self) -> Change:
        """From what was written last to what should be."""
        old: dict[str, tuple[str, ...]] = {}
        new: dict[str, tuple[str, ...]] = {}
        for service, parts in self._before.items():
            old.update(_chains(parts))
            new.update(_chains(self._services.get(service, ())))
        write = {"nat": {chain: rules for chain, rules in new.items() if old.get(chain) != rules}}
        for table, chains in self._shared().items():
            written = self._written.get(table, {})
            write.setdefault(table, {}).update({c: r for c, r in chains.items() if written.get(c) != r})
        return Change(write=write, remove={"nat": frozenset(old.keys() - new.keys())})

    def full(self, existing: Mapping[str, Iterable[str]]) -> Change:
        """Everything, and without the chains of services that are no more; ``existing``: chains there are, by table."""
        write = {table: dict(chains) for table, chains in self._shared().items()}
        for parts in self._services.values():
            write["nat"].update(_chains(parts))
        remove = {table: leftovers(chains, write.get(table, {})) for table, chains in existing.items()}
        return Change(write=write, remove=remove)

    def written(self) -> None:
        """The last change is in the kernel."""
        self._before.clear()
        self._written = self._shared()

    def _shared(self) -> dict[str, dict[str, tuple[str, ...]]]:
        ordered = (part for _, parts in sorted(self._services.items()) for part in parts)
        return assemble(ordered, self.config)


def leftovers(existing: Iterable[str], desired: Iterable[str]) -> frozenset[str]:
    """Chains of services that an earlier run made and nobody wants any more."""
    return frozenset(c for c in existing if c.startswith(SERVICE_CHAIN_PREFIXES)) - frozenset(desired)


def check_text(canary: str, canary_rule: str, jumps: Iterable[JumpRule] = JUMP_RULES) -> str:
    """A restore that changes nothing and fails when one of our entry points is missing: one process asks for all."""
    by_table: dict[str, list[str]] = {table: [f"-C {canary} {canary_rule}"] for table in TABLES}
    for jump in jumps:
        by_table[jump.table].append(f"-C {jump.chain} {quoted(jump.spec())}")
    return "".join("\n".join((f"*{table}", *lines, "COMMIT", "")) for table, lines in by_table.items())


def cleanup_change(existing: Mapping[str, Iterable[str]], shared: Mapping[str, Iterable[str]]) -> Change:
    """Everything of ours goes, once nothing jumps to it any more."""
    return Change(
        remove={
            table: leftovers(chains, ()) | (frozenset(chains) & frozenset(shared[table]))
            for table, chains in existing.items()
        }
    )


def quoted(arguments: Iterable[str]) -> str:
    return " ".join(f'"{a}"' if " " in a else a for a in arguments)


def _chains(parts: Iterable[ServiceRules]) -> dict[str, tuple[str, ...]]:
    return {chain: rules for part in parts for chain, rules in part.chains.items()}
