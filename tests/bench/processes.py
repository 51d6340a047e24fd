"""CPU time and memory of the stack's processes from /proc, one sum per service with all child processes."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE_KIB: Final = os.sysconf("SC_PAGE_SIZE") // 1024


def _tree(pid: int) -> list[int]:
    pids = [pid]
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                pids += _tree(int(child))
    except OSError:
        pass  # It has ended meanwhile.
    return pids


def cpu_s(pid: int) -> float:
    """Of all its threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_kib(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_KIB


class Meter:
    """Reads all groups at once. `groups`: service → pids. This process, without its children, is the group `client`."""

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = {name: [pid for root in roots for pid in _tree(root)] for name, roots in groups.items()}
        self._groups["client"] = [os.getpid()]

    def cpu(self) -> dict[str, float]:
        """CPU seconds since the processes started."""
        return {name: sum(cpu_s(pid) for pid in pids) for name, pids in self._groups.items()}

    def rss(self) -> dict[str, int]:
        """Resident memory in KiB."""
        return {name: sum(rss_kib(pid) for pid in pids) for name, pids in self._groups.items()}

    def busiest(self, before: Mapping[int, float], wall_s: float) -> str:
        """The process that used most of a core since `before` (see `each`), and how much of it."""
        names = {pid: name for name, pids in self._groups.items() for pid in pids}
        pid, used = max(((pid, cpu_s(pid) - start) for pid, start in before.items()), key=lambda pair: pair[1])
        return f"{names[pid]} {used / wall_s:.2f}"

    def each(self) -> dict[int, float]:
        return {pid: cpu_s(pid) for pids in self._groups.values() for pid in pids}


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in before}


def loop_ms() -> float:
    """Time that fixed work takes now, the median of nine. It shows whether other guests use the processor."""
    times = []
    for _ in range(9):
        started = time.perf_counter()
        sum(number * number for number in range(30_000))
        times.append(time.perf_counter() - started)
    return sorted(times)[4] * 1000
