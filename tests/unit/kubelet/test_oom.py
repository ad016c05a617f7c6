"""What is found in the kernel's log, and who is told of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import pytest

from kubelet.oom import KernelLog, OOMWatcher, killed_containers, kills

ID, OTHER = "f2" * 32, "0a" * 32
POD = "/kubepods/burstable/pod01d57f45-c081-4719-9179-044e9707dcca"
BEGIN = "<4>[13003.839801] tail invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=999\n"
NAMED = "oom-kill:constraint={},nodemask=(null),cpuset={},mems_allowed=0,{},task_memcg={},task=tail,pid=32354,uid=0"
END = "<3>[13003.840112] {}: Killed process {} (tail) total-vm:17824kB, anon-rss:15616kB, UID:0 pgtables:72kB\n"


def named(path: str, short: str = f"oom_memcg={POD}", prefix: str = "<6>[13003.840096] ") -> str:
    constraint = "CONSTRAINT_NONE" if short == "global_oom" else "CONSTRAINT_MEMCG"
    return BEGIN + prefix + NAMED.format(constraint, ID, short, path) + "\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (BEGIN, []),
        (named(f"{POD}/{ID}"), [ID]),
        (named(f"{POD}/{ID}", prefix="<6>"), [ID]),
        (named(f"{POD}/{ID}", prefix="<6>[   12.840096][ T1234] "), [ID]),
        (named(f"{POD}/{ID}/inner"), [ID]),
        (named(f"/docker/{OTHER}{POD}/{ID}"), [OTHER, ID]),
        (named(f"/kubepods.slice/kubepods-burstable.slice/docker-{ID}.scope"), [ID]),
        (named(f"{POD}/{ID}", "global_oom"), [ID]),
        (named("/", "global_oom"), []),
        (named(f"{POD}/{ID}") + BEGIN + named(f"{POD}/{OTHER}"), [ID, OTHER]),
        (f"<6>[1.0] Task in {POD}/{ID} killed as a result of limit of {POD}\n", [ID]),
        (f"<6>[1.0] Tasks in {POD}/{ID} are going to be killed due to memory.oom.group set\n", [ID]),
        (named(f"{POD}/{ID}", prefix="<14>[13003.840096] "), []),  # from user space
        (named(f"{POD}/{ID}", prefix="<6>[1.0] somebody: "), []),
        (named(f"{POD}/{ID}00"), []),
    ],
)
def test_containers_of_killed_processes(text: str, found: list[str]) -> None:
    assert killed_containers(text) == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (END.format("Out of memory", 7), [(7, "tail")]),
        (END.format("Out of memory (oom_kill_allocating_task)", 7), [(7, "tail")]),
        ("<3>[1.5] Out of memory: Kill process 8 (a b) score 9 or sacrifice child\n", [(8, "a b")]),
        ("<3>Out of memory: Killed process 9 (old (x)), UID 0\n", [(9, "old (x)")]),
        (END.format("Memory cgroup out of memory", 7), []),
        (END.format("Memory cgroup out of memory (oom_kill_allocating_task)", 7), []),
        ("<11>[1.5] Out of memory: Killed process 10 (forged) total-vm:1kB\n", []),
    ],
)
def test_kills_of_the_machine_as_a_whole(line: str, found: list[tuple[int, str]]) -> None:
    assert [(kill.pid, kill.process) for kill in kills(BEGIN + line) if kill.system] == found


@dataclass
class Log:
    count: int | None = 0
    content: str = ""
    refuses: bool = False
    reads: int = 0

    def kills(self) -> int | None:
        return self.count

    def text(self) -> str:
        self.reads += 1
        if self.refuses:
            raise PermissionError(1, "Operation not permitted")
        return self.content


async def test_the_log_is_read_when_something_was_killed() -> None:
    source = Log()
    watcher = OOMWatcher(source)
    for _ in range(4):
        assert not await watcher.killed_in(ID)
    assert source.reads == 2
    source.count, source.content = 1, named(f"{POD}/{ID}")
    assert await watcher.killed_in(ID) and not await watcher.killed_in(OTHER)
    reads = source.reads
    source.content = ""  # it has moved on
    assert await watcher.killed_in(ID) and source.reads == reads


async def test_what_is_written_after_it_was_counted() -> None:
    source = Log(1, named("/", "global_oom"))
    watcher = OOMWatcher(source)
    assert not await watcher.news()
    source.content += END.format("Out of memory", 7)
    assert [(kill.process, kill.pid) for kill in await watcher.news()] == [("tail", 7)]


async def test_each_kill_is_news_once() -> None:
    source = Log(None, END.format("Out of memory", 7))
    watcher = OOMWatcher(source)
    assert [kill.pid for kill in await watcher.news()] == [7]
    source.content += END.format("Out of memory", 8)
    await asyncio.gather(*(watcher.killed_in(ID) for _ in range(3)))
    assert [kill.pid for kill in await watcher.news()] == [8]
    assert not await watcher.news()


async def test_processes_of_which_the_log_has_the_number_alone() -> None:
    """Of one that was killed before, another may have got the number."""
    source = Log(1, END.format("Memory cgroup out of memory", 7))
    watcher = OOMWatcher(source)
    before = time.monotonic()
    assert await watcher.killed_process(7, before) and not await watcher.killed_process(8, before)
    after = time.monotonic()
    assert not await watcher.killed_process(7, after)
    source.count, source.content = 2, source.content + END.format("Memory cgroup out of memory", 8)
    assert await watcher.killed_process(8, after) and not await watcher.killed_process(7, after)


async def test_the_event_of_a_kill() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    running = asyncio.create_task(OOMWatcher(Log(1, END.format("Out of memory", 7))).run(told.put_nowait))
    assert await told.get() == "System OOM encountered, victim process: tail, pid: 7"
    running.cancel()


def test_this_machine_s_log() -> None:
    """As dmesg(1) has it."""
    kernel = KernelLog()
    try:
        text = kernel.text()
    except OSError as error:
        pytest.skip(f"not for us to read: {error}")
    assert text and "\0" not in text and all(line.startswith("<") for line in text.splitlines()[1:])
    kills = kernel.kills()
    assert kills is not None and kills >= 0


async def test_a_log_that_may_not_be_read(caplog: pytest.LogCaptureFixture) -> None:
    source = Log(3, named(f"{POD}/{ID}"), refuses=True)
    watcher = OOMWatcher(source)
    for _ in range(3):
        assert not await watcher.killed_in(ID)
    assert caplog.text.count("Operation not permitted") == 1
    source.refuses = False
    assert await watcher.killed_in(ID)
