"""CPU time and memory of groups of processes, from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TICKS = os.sysconf("SC_CLK_TCK")
_PARENT, _USER, _SYSTEM, _CHILDREN = 1, 11, 12, slice(13, 15)
"""Fields of /proc/PID/stat after the name, as in proc(5): the parent, user and system time, and the times of ended children."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The use of a group of processes.

    Attributes:
        cpu: CPU time since the start of its processes, in seconds.
        memory: Resident memory, in bytes. Shared pages count once for each process, as in `ps`.
    """

    cpu: float
    memory: int


def usage(groups: Mapping[str, Iterable[int]]) -> dict[str, Usage]:
    """Return the use of each group.

    Args:
        groups: The ids of the first processes of each group. Their descendants belong to it too.
    """
    stats = _stats()
    children: dict[int, list[int]] = {}
    for pid, fields in stats.items():
        children.setdefault(int(fields[_PARENT]), []).append(pid)
    return {name: _sum(_descendants(pids, children), stats) for name, pids in groups.items()}


def _stats() -> dict[int, list[str]]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                # The name is in brackets and may hold blanks and brackets.
                found[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
    return found


def _descendants(pids: Iterable[int], children: Mapping[int, list[int]]) -> set[int]:
    found, todo = set(), list(pids)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo += children.get(pid, [])
    return found


def _sum(pids: Iterable[int], stats: Mapping[int, list[str]]) -> Usage:
    cpu, memory = 0, 0
    for pid in pids:
        fields = stats.get(pid)
        if fields is None:
            continue
        # The times of ended children count too, because a pooled server process may end during a round.
        cpu += int(fields[_USER]) + int(fields[_SYSTEM]) + sum(map(int, fields[_CHILDREN]))
        memory += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return Usage(cpu / _TICKS, memory)
