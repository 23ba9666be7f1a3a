"""How the rules of a container's devices are exchanged: in which order, and what is left when a step fails."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.container import devices
from pyoci_systemd.container.store import Known
from pyoci_systemd.errors import Error

DENY_ALL: Any = {"allow": False, "access": "rwm"}
ALLOW_ALL: Any = {"allow": True, "access": "rwm"}
DENY_TEN: Any = {"allow": False, "type": "c", "major": 10, "access": "rwm"}
SCOPE, SUBGROUP = "/cg/a.scope", "/cg/a.scope/container"


class Kernel:
    """Programs are descriptors from 100 on; `steps` is what was done with them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, attached: list[int], failing: str = "") -> None:
        self.steps: list[str] = []
        self.before, self.failing = attached, failing
        self.open: set[int] = set()
        monkeypatch.setattr(devices, "bpf", self)
        monkeypatch.setattr("posix.close", self.open.remove)

    def step(self, said: str) -> None:
        self.steps.append(said)
        if self.failing == said:
            raise Error(f"cannot {said}")

    def load(self, program: bytes) -> int:
        assert program
        self.step("load 100")
        self.open.add(100)
        return 100

    def attached(self, cgroup: str) -> list[int]:
        self.step(f"look at {cgroup}")
        self.open |= {*self.before}
        return self.before

    def attach(self, cgroup: str, program: int) -> None:
        assert program in self.open
        self.step(f"attach {program}")

    def detach(self, cgroup: str, program: int) -> None:
        assert program in self.open
        self.step(f"detach {program}")


def known(manager: str) -> Known:
    unit, cgroup = ("a.scope", SUBGROUP) if manager == "systemd" else ("", "/cg/a")
    return Known("a", "/b", "/b/rootfs", "", "root", manager, unit=unit, cgroup=cgroup)


@pytest.mark.parametrize(("manager", "attached", "rules", "steps"), [
    ("systemd", [], [DENY_ALL], ["tell"]),
    ("systemd", [], [ALLOW_ALL, DENY_TEN], ["load 100", "attach 100", "tell"]),
    ("systemd", [7], [ALLOW_ALL, DENY_TEN], ["load 100", "attach 100", "tell", "detach 7"]),
    ("systemd", [7], [DENY_ALL], ["tell", "detach 7"]),
    # a killed update leaves two
    ("systemd", [7, 8], [DENY_ALL], ["tell", "detach 7", "detach 8"]),
    ("cgroupfs", [7], [DENY_ALL], ["load 100", "attach 100", "tell", "detach 7"]),
    ("cgroupfs", [7], [ALLOW_ALL], ["tell", "detach 7"]),
])  # fmt: skip
def test_the_new_comes_before_the_old_goes(
    monkeypatch: pytest.MonkeyPatch, manager: str, attached: list[int], rules: list[Any], steps: list[str]
) -> None:
    kernel = Kernel(monkeypatch, attached=attached)
    devices.change(known(manager), {"devices": rules}, lambda: kernel.step("tell"))
    look = f"look at {SCOPE if manager == 'systemd' else '/cg/a'}"
    assert [step for step in kernel.steps if step != look] == steps
    assert kernel.steps.index(look) < kernel.steps.index("tell")
    assert not kernel.open


@pytest.mark.parametrize(("failing", "after"), [
    ("load 100", []),
    ("attach 100", []),
    ("tell", ["detach 100"]),
    ("detach 7", []),
])  # fmt: skip
def test_what_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch, failing: str, after: list[str]) -> None:
    kernel = Kernel(monkeypatch, attached=[7], failing=failing)
    with pytest.raises(Error, match=f"^cannot {failing}$"):
        devices.change(known("systemd"), {"devices": [ALLOW_ALL, DENY_TEN]}, lambda: kernel.step("tell"))
    assert kernel.steps[kernel.steps.index(failing) + 1 :] == after
    assert not kernel.open


def test_a_program_that_is_not_attached_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch, attached=[], failing="attach 100")
    program = devices.load([(True, "a", -1, -1, "rwm")])
    with pytest.raises(Error, match="^cannot attach 100$"):
        devices.attach("/cg/a", program)
    assert not kernel.open
