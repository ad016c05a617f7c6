"""Schedules of CronJobs: the five fields of cron, the words that begin with @, and time zones.

Upstream parses with robfig/cron v3 (https://pkg.go.dev/github.com/robfig/cron/v3#hdr-CRON_Expression_Format); what is
wrong is said in its words. Only whether a schedule is right is asked here, not when it comes next.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from zoneinfo import ZoneInfo

from common.api.duration import parse_duration


@dataclass(frozen=True)
class Field:
    least: int
    most: int
    names: Mapping[str, int] = field(default_factory=dict)


_MONTHS = {"janfebmaraprmayjunjulaugsepoctnovdec"[3 * i : 3 * i + 3]: i + 1 for i in range(12)}
_DAYS = {"sunmontuewedthufrisat"[3 * i : 3 * i + 3]: i for i in range(7)}
FIELDS = (Field(0, 59), Field(0, 23), Field(1, 31), Field(1, 12, _MONTHS), Field(0, 6, _DAYS))
WORDS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
EVERY = "@every "
_INTEGER = re.compile(r"[+-]?[0-9]+")
_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")
MAX_INT = 2**63 - 1


class ScheduleError(ValueError):
    """What is wrong with a schedule or a time zone."""


def check_schedule(schedule: str) -> None:
    """Raises ScheduleError."""
    if schedule.startswith(("TZ=", "CRON_TZ=")):
        schedule = _without_zone(schedule)
    if schedule.startswith("@"):
        _check_word(schedule)
        return
    parts = schedule.split()
    if len(parts) != len(FIELDS):
        raise ScheduleError(f"expected exactly {len(FIELDS)} fields, found {len(parts)}: [{' '.join(parts)}]")
    for text, which in zip(parts, FIELDS, strict=True):
        for part in filter(None, text.split(",")):
            _check_range(part, which)


def _without_zone(schedule: str) -> str:
    assignment, space, rest = schedule.partition(" ")
    if not space:
        raise ScheduleError("invalid schedule format: runtime error: slice bounds out of range [:-1]")
    zone = assignment.partition("=")[2]
    try:
        load_zone(zone)
    except ScheduleError as error:
        raise ScheduleError(f"provided bad location {zone}: {error}") from None
    return rest.strip()


def _check_word(word: str) -> None:
    if word in WORDS:
        return
    if not word.startswith(EVERY):
        raise ScheduleError(f"unrecognized descriptor: {word}")
    duration = word.removeprefix(EVERY)
    try:
        parse_duration(duration.lstrip("+-"))
    except ValueError:
        raise ScheduleError(f'failed to parse duration {word}: time: invalid duration "{duration}"') from None


def _check_range(text: str, which: Field) -> None:
    span, *steps = text.split("/")
    start_text, *end_texts = span.split("-")
    if start_text in ("*", "?"):
        start, end = which.least, which.most
    else:
        start = end = _number(start_text, which.names)
        if len(end_texts) > 1:
            raise ScheduleError(f"too many hyphens: {text}")
        if end_texts:
            end = _number(end_texts[0], which.names)
    step = 1
    if len(steps) > 1:
        raise ScheduleError(f"too many slashes: {text}")
    if steps:
        step = _number(steps[0], {})
        if not end_texts:
            end = which.most  # N/step means N-max/step
    if start < which.least:
        raise ScheduleError(f"beginning of range ({start}) below minimum ({which.least}): {text}")
    if end > which.most:
        raise ScheduleError(f"end of range ({end}) above maximum ({which.most}): {text}")
    if start > end:
        raise ScheduleError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {text}")


def _number(text: str, names: Mapping[str, int]) -> int:
    if (named := names.get(text.lower())) is not None:
        return named
    problem = ""
    if not _INTEGER.fullmatch(text):
        problem = "invalid syntax"
    elif len(text) > 20 or abs(int(text)) > MAX_INT:
        problem = "value out of range"
    if problem:
        raise ScheduleError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": {problem}')
    if (number := int(text)) < 0:
        raise ScheduleError(f"negative number ({number}) not allowed: {text}")
    return number


def check_zone(zone: str) -> list[str]:
    """What is wrong with ``spec.timeZone``."""
    if not zone:
        return ["timeZone must be nil or non-empty string"]
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or not _ZONE_PART.fullmatch(part):
            return [f"unknown time zone {zone}"]
    problems = []
    if zone.lower() == "local":
        problems.append("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
    try:
        load_zone(zone)
    except ScheduleError as error:
        problems.append(str(error))
    return problems


@lru_cache(maxsize=1024)
def load_zone(zone: str) -> None:
    """Raises ScheduleError when the zone is not in the database."""
    if zone in ("", "UTC", "Local"):
        return
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise ScheduleError(f"unknown time zone {zone}") from None
