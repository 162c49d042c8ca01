"""CPU time and memory of groups of processes, from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_TICKS = os.sysconf("SC_CLK_TCK")
_PARENT, _OWN, _WITH_ENDED = 1, slice(11, 13), slice(11, 15)
"""Fields of /proc/PID/stat after the name, as in proc(5): the parent, its user and system time, and with the times of ended children,
because a pooled server process may end during a round."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The use of a group of processes.

    Attributes:
        cpu: CPU time since the start of its processes, in seconds.
        memory: Resident memory, in bytes. Shared pages count once for each process, as in `ps`.
    """

    cpu: float
    memory: int


def usage(groups: Mapping[str, Iterable[int]], *, alone: Collection[str] = ()) -> dict[str, Usage]:
    """Return the use of each group.

    Args:
        groups: The ids of the first processes of each group. Their descendants belong to it too.
        alone: The groups without their descendants. The benchmark is the parent of the servers that it measures.
    """
    stats = _stats()
    children: dict[int, list[int]] = {}
    for pid, fields in stats.items():
        children.setdefault(int(fields[_PARENT]), []).append(pid)
    return {
        name: _sum(pids, stats, _OWN) if name in alone else _sum(_descendants(pids, children), stats, _WITH_ENDED)
        for name, pids in groups.items()
    }


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


def _sum(pids: Iterable[int], stats: Mapping[int, list[str]], times: slice) -> Usage:
    cpu, memory = 0, 0
    for pid in pids:
        fields = stats.get(pid)
        if fields is None:
            continue
        cpu += sum(map(int, fields[times]))
        memory += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return Usage(cpu / _TICKS, memory)
