"""linux.resources.devices, seen from inside: what can be opened, by which manager, and whatever systemd does meanwhile.

What DeviceAllow= cannot say, such as a deny after an allow, is a program of ours on the scope. crun 1.21 refuses that;
runc puts a program in the place of systemd's own, which is back, and denies all, with the next `systemctl set-property`
(1.1.15, systemd 257) or daemon-reload (1.1.5, systemd 252).
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from pyoci_systemd.cgroup import bpf
from tests.integration.conftest import Bundle, Container, Run
from tests.integration.must_scene import crun_does_not

DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}
OF_OTHERS = pathlib.Path(os.environ.get("RUNTIME") or "pyoci").name != "pyoci"
DEADLINE = 60  # seconds; an emulated machine with neighbours takes half of it for a daemon-reload
MANAGERS = ["systemd", "cgroupfs"]
# in /dev of every container here, with names of their own. `full` can be opened; of the others there is no driver, which is another error
NODES = {"full": "c 1 7", "one": "c 10 250", "two": "c 10 251", "other": "c 11 250", "disk": "b 259 250"}
LOOK = """
look() {
    said=$({ eval "$2"; } 2>&1) || case $said in *"not permitted"*) return;; *"No such device"*) ;; *) echo "$said";; esac
    seen=$seen$1
}
new() { rm -f /dev/new; mknod /dev/new $*; }
"""


def rule(allow: bool, major: int, minor: int = -1, access: str = "rwm", kind: str = "c") -> dict[str, Any]:
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


ONE_OF_TEN = [DENY_ALL, rule(True, 10), rule(False, 10, 251)]
FULL_DENIED = [ALLOW_ALL, rule(False, 1, 7)]


def systemctl(*args: str) -> str:
    done = subprocess.run(["systemctl", *args], check=True, capture_output=True, text=True, timeout=DEADLINE)
    return done.stdout.strip()


class Restricted:
    """A container that runs, in whose /dev are NODES, and what its programs can do with them."""

    def __init__(self, run: Run, runtime: str, name: str, cgroup: pathlib.Path) -> None:
        self.run, self.runtime, self.name, self.cgroup = run, runtime, name, cgroup
        self.unit = f"pyoci-{name}.scope"

    def seen(self) -> str:
        """Say what its programs may do with each device: open it to read or write or, `+`, both; make the node."""
        script = LOOK
        for name, node in NODES.items():
            path = f"/dev/its-{name}"
            ways = {"r": f"true <{path}", "w": f"true >{path}", "+": f"true <>{path}", "m": f"new {node}"}
            looks = "; ".join(f"look {way} '{does}'" for way, does in ways.items())
            script += f"seen=; {looks}; echo {name}:$seen\n"
        return " ".join(
            self.run("exec", self.name, "sh", "-c", script, check=True, timeout=DEADLINE).stdout.split("\n")[:-1]
        )

    def update(self, *rules: dict[str, Any]) -> None:
        """Give it other rules."""
        self.run(
            "update", "--resources", "-", self.name, input=json.dumps({"devices": rules}), check=True, timeout=DEADLINE
        )

    def programs(self) -> int:
        """Return how many programs of ours decide."""
        found = bpf.attached(str(self.cgroup))
        for program in found:
            os.close(program)
        return len(found)

    def opens_of_full(self, done_meanwhile: Callable[[], object]) -> tuple[int, int]:
        """Return how often `full` was opened and how often that was tried while something was done."""
        script = (
            "tries=0 opened=0; until test -e /dev/stop; do tries=$((tries+1));"
            " true 2>/dev/null </dev/its-full && opened=$((opened+1)); done; echo $opened $tries"
        )
        command = [self.runtime, "exec", self.name, "sh", "-c", script]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as trying:
            try:
                done_meanwhile()
            finally:
                self.run("exec", self.name, "touch", "/dev/stop", check=True)
            opened, tries = trying.communicate(timeout=DEADLINE)[0].split()
        return int(opened), int(tries)


@pytest.fixture
def restricted(run: Run, runtime: str, bundle: Bundle, container_id: str) -> Callable[..., Restricted]:
    """Return what starts a container with these rules."""

    def start(*rules: dict[str, Any], manager: str = "systemd") -> Restricted:
        capabilities = ["CAP_MKNOD", "CAP_KILL"]
        bundle.config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
        bundle.config["linux"]["resources"] = {"devices": list(rules)}
        above = "/sys/fs/cgroup"
        if manager == "systemd":
            bundle.config["linux"]["cgroupsPath"] = f"system.slice:pyoci:{container_id}"
            place = f"{above}/system.slice/pyoci-{container_id}.scope"
        else:
            bundle.config["linux"]["cgroupsPath"] = f"/pyoci-test/{container_id}"
            place = f"{above}/pyoci-test/{container_id}"
        bundle.args("sleep", "1000")
        told = ["--systemd-cgroup"] if OF_OTHERS and manager == "systemd" else []
        run(*told, "run", "--detach", "--bundle", bundle.path, container_id, check=True)
        pid = json.loads(run("state", container_id, check=True).stdout)["pid"]
        for name, node in NODES.items():
            subprocess.run(["mknod", f"/proc/{pid}/root/dev/its-{name}", *node.split()], check=True, timeout=10)
        return Restricted(run, runtime, container_id, pathlib.Path(place))

    return start


# rules, and what may be done with NODES
RULES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "default": ([DENY_ALL], "full:rw+m one:m two:m other:m disk:m"),
    "an allow": ([DENY_ALL, rule(True, 10, 250, "rw")], "full:rw+m one:rw+m two:m other:m disk:m"),
    "an allow of less than a default": ([DENY_ALL, rule(True, 1, 7, "r")], "full:rw+m one:m two:m other:m disk:m"),
    "in two steps": (
        [DENY_ALL, rule(True, 10, 250, "r"), rule(True, 10, -1, "w")],
        "full:rw+m one:rw+m two:wm other:m disk:m",
    ),
    "a type": ([DENY_ALL, {"allow": True, "type": "c", "access": "r"}], "full:rw+m one:rm two:rm other:rm disk:m"),
    "deny after allow": (ONE_OF_TEN, "full:rw+m one:rw+m two:m other:m disk:m"),
    "deny of a part": (
        [DENY_ALL, rule(True, 10), rule(False, 10, 251, "w")],
        "full:rw+m one:rw+m two:rm other:m disk:m",
    ),
    "all but one": (FULL_DENIED, "full:m one:rw+m two:rw+m other:rw+m disk:rw+m"),
    "all but one of a major": (
        [ALLOW_ALL, rule(False, 10, 251)],
        "full:rw+m one:rw+m two:m other:rw+m disk:rw+m",
    ),
    "all but a type": ([ALLOW_ALL, {"allow": False, "type": "b"}], "full:rw+m one:rw+m two:rw+m other:rw+m disk:m"),
    "no node of it": ([DENY_ALL, rule(False, 10, 250, "m")], "full:rw+m one: two:m other:m disk:m"),
    "a minor": ([DENY_ALL, rule(True, -1, 250, "r")], "full:rw+m one:rm two:m other:rm disk:m"),
    "all": ([ALLOW_ALL], "full:rw+m one:rw+m two:rw+m other:rw+m disk:rw+m"),
}


@crun_does_not("opens default devices that are denied, and takes no minor without a major")
@pytest.mark.parametrize("manager", MANAGERS)
@pytest.mark.parametrize("name", RULES)
def test_rules(restricted: Callable[..., Restricted], name: str, manager: str) -> None:
    """The rules count in their order, and each letter of an access on its own: what two allow may be done at once."""
    rules, expected = RULES[name]
    made = restricted(*rules, manager=manager)
    assert made.seen() == expected


EVENTS: dict[str, list[list[str]]] = {
    "daemon-reload": [["daemon-reload"]],
    "daemon-reexec": [["daemon-reexec"]],
    "a property": [["set-property", "--runtime", "UNIT", "TasksMax=777"]],
    "its memory": [["set-property", "UNIT", "MemoryMax=1G"]],
    "freeze": [["freeze", "UNIT"], ["daemon-reload"], ["thaw", "UNIT"]],
}


@crun_does_not("refuses a deny")
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("name", ["deny after allow", "all but one of a major"])
def test_whatever_systemd_does(restricted: Callable[..., Restricted], name: str, event: str) -> None:
    """Rules that DeviceAllow= cannot say hold through it, and nothing more is denied either."""
    rules, before = RULES[name]
    made = restricted(*rules)
    for command in EVENTS[event]:
        systemctl(*[made.unit if word == "UNIT" else word for word in command])
    assert made.seen() == before
    systemctl("daemon-reload")
    assert made.seen() == before


@crun_does_not("refuses a deny, and always allows the default devices")
@pytest.mark.parametrize("manager", MANAGERS)
def test_there_is_no_moment_without(restricted: Callable[..., Restricted], manager: str) -> None:
    """Neither while systemd reloads nor while `update` changes the rules."""
    made = restricted(*FULL_DENIED, manager=manager)

    def reload() -> None:
        for _ in range(5):
            systemctl("daemon-reload")
        systemctl("daemon-reexec")

    opened, tries = made.opens_of_full(reload)
    assert (opened, tries > 100) == (0, True)


@crun_does_not("does not change device rules once a program has them")
@pytest.mark.parametrize("manager", MANAGERS)
def test_no_moment_of_an_update(restricted: Callable[..., Restricted], manager: str) -> None:
    """Rules that agree about a device keep it through a change of all others, from list to program and back."""
    denied = [rule(False, 1, 7)]
    ways = [[ALLOW_ALL, *denied], [DENY_ALL, *denied], [ALLOW_ALL, rule(False, 11), *denied]]
    made = restricted(*ways[0], manager=manager)

    def change() -> None:
        for number in range(6):
            made.update(*ways[number % 3])

    opened, tries = made.opens_of_full(change)
    assert (opened, tries > 100) == (0, True)


@crun_does_not("does not change device rules once a program has them")
@pytest.mark.parametrize("manager", MANAGERS)
def test_update(restricted: Callable[..., Restricted], manager: str) -> None:
    """From a list to a program, to another, and back; there is never more than one, and a daemon-reload is not missed."""
    made = restricted(DENY_ALL, manager=manager)
    ours = int(manager == "cgroupfs")
    assert made.programs() == ours
    for name, programs in (
        ("deny after allow", 1),
        ("all but one", 1),
        ("an allow", ours),
        ("all", 0),
        ("default", ours),
    ):
        rules, expected = RULES[name]
        made.update(*rules)
        assert (name, made.seen(), made.programs()) == (name, expected, programs)
        if manager == "systemd":
            assert systemctl("show", "-P", "NeedDaemonReload", made.unit) == "no"
            systemctl("daemon-reload")
            assert made.seen() == expected


@crun_does_not("does not change device rules once a program has them")
def test_an_update_that_asks_for_nothing(restricted: Callable[..., Restricted]) -> None:
    made = restricted(*ONE_OF_TEN)
    made.update()
    made.update(*ONE_OF_TEN)
    assert (made.seen(), made.programs()) == ("full:rw+m one:rw+m two:m other:m disk:m", 1)
    made.run("update", "--resources", "-", made.name, input="{}", check=True)
    assert made.programs() == 1


@crun_does_not("has the words of its own")
@pytest.mark.parametrize("manager", MANAGERS)
def test_where_no_program_can_be_loaded(runtime: str, container: Container, manager: str) -> None:
    """It is known before anything is done, and nothing is done."""
    container.config["linux"]["resources"] = {"devices": FULL_DENIED}
    container.bundle.sh("true")
    bounded = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--property=SystemCallFilter=~bpf:EPERM"]
    command: list[str | pathlib.Path] = [
        *bounded,
        runtime,
        f"--cgroup-manager={manager}",
        "create",
        "--bundle",
        container.bundle.path,
        container.name,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert (done.returncode, done.stderr) == (
        1,
        "pyoci: cannot restrict devices by a program: Operation not permitted\n",
    )
    assert not pathlib.Path(f"/run/pyoci/{container.name}").exists()
