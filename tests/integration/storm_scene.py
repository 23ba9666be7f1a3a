"""What the storms share: systemd reads everything anew, and starts itself anew, as often as it can beside a test.

Anything may be asked of the runtime meanwhile; nothing may fail, hang or be lost. In the suite a storm is short;
under `make soak` it is TRIES daemon-reloads, 200 where that says nothing else, and a daemon-reexec for every ten.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import threading
import time

from tests.integration.attack_scene import SOAK
from tests.integration.conftest import Bundle

RELOADS = int(os.environ.get("TRIES") or (200 if SOAK else 12))
PATIENCE = 90.0  # seconds for one command while the weather is bad: a hang, not a slow machine
YES, NO = (240, 1), (240, 2)  # of a major number that no driver has: who may open them gets ENXIO, who may not EPERM

# What a container does all through a storm: it says so when a device of its own is lost, or another one may be opened.
WATCH = f"""
mknod /dev/yes c {YES[0]} {YES[1]} && mknod /dev/no c {NO[0]} {NO[1]} || echo no nodes
while echo >>/looks; do
    (: </dev/yes) 2>&1 | grep -q 'not permitted' && echo lost a device
    (: </dev/no) 2>&1 | grep -q 'not permitted' || echo got a device
    sleep 0.01
done >/report 2>&1
"""


def watching(bundle: Bundle, container: str) -> Bundle:
    """Make the container of a bundle watch over its devices, in a scope whoever the runtime is."""
    config = bundle.config
    config["root"]["readonly"] = False
    config["linux"]["cgroupsPath"] = f"system.slice:test:{container}"
    config["linux"].setdefault("resources", {})["devices"] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": YES[0], "minor": YES[1], "access": "rw"},
        {"allow": True, "type": "c", "access": "m"},
    ]
    for kind in ("bounding", "effective", "permitted"):
        names = config["process"]["capabilities"].setdefault(kind, [])
        names += {"CAP_MKNOD"} - {*names}
    return bundle.sh(WATCH)


def looks(bundle: Bundle) -> int:
    """Return how many times the container has looked at its devices."""
    path = bundle.rootfs / "looks"
    return path.stat().st_size if path.exists() else 0


class Storm:
    """systemd is told to read everything anew, as often as it can, and after every tenth time to start itself anew.

    It begins with the block and is over when `blows()` says so; leaving the block waits for its end.
    """

    def __init__(self, reloads: int = RELOADS) -> None:
        self.words: list[str] = []
        for number in range(reloads):
            self.words += ["daemon-reload", *["daemon-reexec"] * (number % 10 == 5)]
        self.failed: list[str] = []
        self.done, self.took = 0, 0.0
        self.thread = threading.Thread(target=self.blow)

    def blow(self) -> None:
        for word in self.words:
            began = time.monotonic()
            time.sleep(0.05)  # or PID 1 does nothing else
            try:
                said = subprocess.run(["systemctl", word], capture_output=True, text=True, timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self.failed.append(f"{word} hangs")
                return
            if said.returncode:
                self.failed.append(f"{word}: {said.stderr} after {time.monotonic() - began:.1f} s")
            self.done += 1
            self.took += time.monotonic() - began

    def blows(self) -> bool:
        return self.thread.is_alive()

    def __enter__(self) -> Storm:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.thread.join()


def cgroup_of(pid: int) -> pathlib.Path:
    """Return the directory of the cgroup of a process."""
    lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    (path,) = (line.removeprefix("0::/") for line in lines if line.startswith("0::"))
    return pathlib.Path("/sys/fs/cgroup", path)


def scope_of(pid: int) -> pathlib.Path:
    """Return the directory of the scope in which a process is."""
    path = cgroup_of(pid)
    return next(place for place in (path, *path.parents) if place.name.endswith(".scope"))
