"""What a container used between two looks at its statistics: a row of `pyoci stats`. Pure."""

from __future__ import annotations

from ..cgroup.keyed import UNLIMITED, present

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..cgroup.keyed import Data

TITLES = "NAME", "CPU", "MEMORY", "TASKS", "READ", "WRITTEN", "RECEIVED", "SENT", "PSI CPU", "PSI MEMORY", "PSI IO"
PRESSURES = {"cpu": "cpu", "memory": "memory", "io": "blkio"}


def usage(name: str, before: Data, now: Data, seconds: float) -> Data:
    """Return a row as JSON has it: what is not known is left out, and a limit that there is not.

    `cpu_percent` is 100 for one processor; `pressure` the share of the last 10 s in percent; the rest bytes and counts.
    """
    memory, interfaces = now.get("memory", {}).get("usage", {}), now.get("network_interfaces", [])
    limit = memory.get("limit")
    transfers = now.get("blkio", {}).get("ioServiceBytesRecursive", [])
    return present({
        "id": name,
        "cpu_percent": _percent(_time(before), _time(now), seconds),
        "memory": present({"usage": memory.get("usage"), "limit": None if limit == UNLIMITED else limit}),
        "tasks": now.get("pids"),
        "io": present({"read": _moved(transfers, "Read"), "written": _moved(transfers, "Write")}),
        "network": present({"received": _sum(interfaces, "RxBytes"), "sent": _sum(interfaces, "TxBytes")}),
        "pressure": present({
            what: now.get(key, {}).get("psi", {}).get("some", {}).get("avg10") for what, key in PRESSURES.items()
        }),
    })  # fmt: skip


def _time(data: Data) -> int | None:
    time: int | None = data.get("cpu", {}).get("usage", {}).get("total")
    return time


def _percent(before: int | None, now: int | None, seconds: float) -> float | None:
    if before is None or now is None or seconds <= 0:
        return None
    return round(max(0, now - before) / seconds / 1e9 * 100, 2)


def _sum(entries: list[Data], key: str) -> int | None:
    return sum(entry[key] for entry in entries) if entries else None


def _moved(transfers: list[Data], operation: str) -> int | None:
    return _sum([entry for entry in transfers if entry["op"] == operation], "value")


def cells(row: Data) -> list[str]:
    """Return a row as a person reads it; `-` is what is not known."""
    memory, tasks, pressure = row.get("memory", {}), row.get("tasks", {}), row.get("pressure", {})
    io, network = row.get("io", {}), row.get("network", {})
    percent = row.get("cpu_percent")
    return [
        row["id"],
        "-" if percent is None else f"{percent:.1f}%",
        _of(size(memory.get("usage")), size(memory.get("limit"))),
        _of(count(tasks.get("current")), count(tasks.get("limit"))),
        *(size(io.get(key)) for key in ("read", "written")),
        *(size(network.get(key)) for key in ("received", "sent")),
        *("-" if pressure.get(what) is None else f"{pressure[what]:.1f}%" for what in PRESSURES),
    ]


def _of(used: str, limit: str) -> str:
    return used if limit == "-" else f"{used} of {limit}"


def count(number: int | None) -> str:
    """Return a number as text."""
    return "-" if number is None else str(number)


def size(number: int | None) -> str:
    """Return bytes as systemctl(1) shows them, such as 1.5M."""
    if number is None:
        return "-"
    if number < 1024:
        return f"{number}B"
    unit = min((number.bit_length() - 1) // 10, 6)
    return f"{number / (1 << 10 * unit):.1f}{'BKMGTPE'[unit]}"
