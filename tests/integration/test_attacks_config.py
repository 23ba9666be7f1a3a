"""Words that would mean more than they say: ids, unified resources, annotations, and newlines and NULs everywhere.

Seen red:
    an id is no path                    the check of ids left out: a decoy beside the state root was deleted
    a unified key names one file        its pattern left out
    an annotation is no way round       the allow-list of properties left out
    an annotation starts no other unit  Wants, Requires and BindsTo allowed
    a line stays a line                 newlines let through into what a unit is told
    no text holds a NUL                 the pattern of texts left out
    no text is half a character         lone surrogates let through by the JSON loader
    a path that is no text              refused as late as by the state that could not be written
"""

from __future__ import annotations

import copy
import json
import os
import pathlib
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.attack_scene import assert_refused
from tests.integration.conftest import Bundle, Run

pytestmark = pytest.mark.skipif(
    pathlib.Path(os.environ.get("RUNTIME") or "pyoci").name != "pyoci", reason="what is refused is ours"
)

BAD_IDS = [
    b"", b".", b"..", b"...", b".hidden", b"../decoy", b"x/../../decoy", b"./decoy", b"../state/../decoy", b"decoy/..",
    b"a/b", b"/etc", b"/", b"a//b", b"a/", b"a b", b" a", b"a ", b"a\t", b"a\n", b"\na", b"a\rb", b"\x1b[31m", b"a:b",
    b"a@b", b"a\\b", b"a%b", b"a%2e", b"a*", b"a?", b"[a]", b"{a}", b"~", b"$HOME", b"`id`", b"$(id)", b"a;b", b"a|b",
    b"a&b", b"a<b", b"a>b", b"a'b", b'a"b', b"a!b", b"a#b", b"a,b", b"a=b", b"a^b",
    "ä".encode(), "１".encode(), "\u202e".encode(), "\u2028".encode(), b"\xff", b"\x80a", b"a\x7f", b"x" * 201, b"x" * 5000,
]  # fmt: skip
VERBS = ["create", "run", "start", "state", "kill", "delete", "delete --force"]


@pytest.mark.parametrize("verb", VERBS)
def test_an_id_is_no_path(runtime: str, bundle: Bundle, tmp_path: pathlib.Path, verb: str) -> None:
    state, decoy = tmp_path / "state", tmp_path / "decoy"
    for directory in (state, decoy, state / "decoy"):
        directory.mkdir(mode=0o700)
        (directory / "state.json").write_text('{"id": "decoy"}')
    bundle.write()
    before = sorted(tmp_path.rglob("*"))
    options = ["--bundle", str(bundle.path)] if verb in ("create", "run") else []
    for bad in BAD_IDS:
        command: list[str | bytes] = [runtime, "--root", str(state), *verb.split(), *options, "--", bad]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
        assert done.returncode != 0, bad
        assert done.stdout == b""
        line = done.stderr.decode()
        assert line.count("\n") == 1 and line[:-1].isprintable() and len(line) < 300, line
        assert "container id" in line, line
    assert sorted(tmp_path.rglob("*")) == before


UNIFIED_KEYS = [
    "../../x/cgroup.procs", "../cgroup.procs", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "cgroup.type",
    "cgroup.kill", "cgroup.freeze", "memory.max/../cgroup.procs", "/etc/passwd", "/sys/fs/cgroup/cgroup.procs",
    "memory/max", "memory..max", ".memory.max", "memory.max.", "memory", "", ".", "..", "memory.max\n", "memory.max\nx.y",
    "memory. max", "memory.max ", "memory.m\u00e4x", "\uff11.max", "Memory.max", "memory.max\\..", "memory.*", "a\u0000.b",
]  # fmt: skip


@pytest.mark.parametrize("key", UNIFIED_KEYS)
def test_a_unified_key_names_one_file(run: Run, bundle: Bundle, container_id: str, key: str) -> None:
    bundle.config["linux"]["resources"]["unified"] = {key: "1"}
    bundle.write()
    done = run("run", "--bundle", bundle.path, container_id)
    assert_refused(done, "linux.resources.unified[", "linux.resources.unified: ")
    assert "not supported yet" not in done.stderr


FORBIDDEN = {
    "ExecStopPost": "['/bin/touch', '/tmp/attacked']",
    "ExecStart": "['/bin/touch', '/tmp/attacked']",
    "ExecStop": "'/bin/touch /tmp/attacked'",
    "User": "'nobody'",
    "Slice": "'attacked.slice'",
    "PIDs": "[uint32 1]",
    "PIDFDs": "[uint32 1]",
    "Delegate": "false",
    "DevicePolicy": "'auto'",
    "DeviceAllow": "[('char-mem', 'rwm')]",
    "Controller": "':1.1'",
    "ControlGroup": "'/attacked'",
    "MemoryMax": "uint64 1",
    "Environment": "['A=b']",
    "RootDirectory": "'/'",
    "OnFailure": "['attacked.service']",
    "OnSuccess": "['attacked.service']",
    "SuccessAction": "'poweroff-force'",
    "FailureAction": "'poweroff-force'",
    "JobTimeoutAction": "'poweroff-force'",
    "Names": "['dbus.service']",
    "Documentation": "['file:/run/pyoci/other']",
    "SourcePath": "'/etc/passwd'",
    "BPFProgram": "[('egress', '/sys/fs/bpf/x')]",
    "": "1",
    "slice": "'attacked.slice'",
    "Slice ": "'attacked.slice'",
    "Slice=attacked.slice\nDescription": "'x'",
    "Description\nExecStopPost": "'/bin/touch /tmp/attacked'",
    "SliceSec": "1",
    "PIDsUSec": "1",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_an_annotation_is_no_way_round(run: Run, bundle: Bundle, container_id: str, name: str) -> None:
    bundle.config["annotations"] = {f"org.systemd.property.{name}": FORBIDDEN[name]}
    bundle.write()
    assert_refused(run("run", "--bundle", bundle.path, container_id), "annotations")


WRONG_VALUES = {
    "TimeoutStopUSec": ["-1", "1e3", "18446744073709551616", "uint64", "'1'", "１", "true", "1 2", "[1]", ""],
    "KillMode": ["none", "'none", "none'", "'a\\'b'", "'a' 'b'", "1", "['none']", ""],
    "SendSIGHUP": ["1", "'true'", "True", "yes", ""],
    "Before": ["'a.service'", "['a.service'", "['a', 1]", "[a]", ""],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG_VALUES for value in WRONG_VALUES[name]])
def test_an_annotation_is_of_its_type(run: Run, bundle: Bundle, container_id: str, name: str, value: str) -> None:
    bundle.config["annotations"] = {f"org.systemd.property.{name}": value}
    bundle.write()
    assert_refused(run("run", "--bundle", bundle.path, container_id), "annotations")


PULLED = "attacked.target"


@pytest.mark.parametrize("name", ["Wants", "Requires", "BindsTo"])
def test_an_annotation_starts_no_other_unit(run: Run, bundle: Bundle, container_id: str, name: str) -> None:
    # a scope pulls in what it wants: `poweroff.target` would be one of them
    unit = pathlib.Path("/run/systemd/system") / PULLED
    unit.parent.mkdir(exist_ok=True)
    unit.write_text("[Unit]\nDescription=what an annotation must not start\n")
    bundle.config["annotations"] = {f"org.systemd.property.{name}": f"['{PULLED}']"}
    bundle.args("sleep", "1000")
    try:
        run("run", "--detach", "--bundle", bundle.path, container_id)
        asked = ["systemctl", "is-active", PULLED]
        state = subprocess.run(asked, capture_output=True, text=True, timeout=10).stdout.strip()
    finally:
        run("delete", "--force", container_id, check=True)
        subprocess.run(["systemctl", "stop", PULLED], check=False, timeout=10, capture_output=True)
        unit.unlink()
        subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=20)
    assert state == "inactive"


EVIL = "\n[Scope]\nKillSignal=9\nSlice=attacked.slice\n#"
Change = Callable[[dict[str, Any]], None]


def annotated(key: str, value: str) -> Change:
    return lambda config: config.setdefault("annotations", {}).update({key: value})


LINES: dict[str, Change] = {
    "process.args": lambda config: config["process"].update(args=["sh", "-c", "sleep 1000", EVIL]),
    "process.env": lambda config: config["process"]["env"].append(f"A={EVIL}"),
    "an image's name": annotated("org.opencontainers.image.ref.name", EVIL),
    "a container's name": annotated("io.kubernetes.cri.container-name", EVIL),
    "another annotation": annotated("com.example.note", EVIL),
    "Description": annotated("org.systemd.property.Description", f"'x{EVIL}'"),
    "CollectMode": annotated("org.systemd.property.CollectMode", f"'inactive{EVIL}'"),
    "After": annotated("org.systemd.property.After", f"['a.service{EVIL}']"),
    "linux.cgroupsPath, the name": lambda config: config["linux"].update(cgroupsPath=f":pyoci:a{EVIL}"),
    "linux.cgroupsPath, the slice": lambda config: config["linux"].update(cgroupsPath=f"a{EVIL}.slice:pyoci:a"),
    "hostname": lambda config: config.update(hostname=f"a{EVIL}"),
}


@pytest.mark.parametrize("change", [*LINES.values(), None], ids=[*LINES, "the bundle"])
def test_a_line_stays_a_line(
    run: Run, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, change: Change | None
) -> None:
    """Whatever is in it: the file of the unit, which a reload reads again, holds no line that was not meant."""
    bundle.args("sleep", "1000")
    path = bundle.path
    if change:
        change(bundle.config)
        bundle.write()
    else:
        path = path.rename(tmp_path / "bundle\n[Scope]\nKillSignal=9\nSlice=attacked.slice\n#")
    done = run("run", "--detach", "--bundle", path, container_id)
    try:
        if done.returncode:
            assert len(done.stderr.splitlines()) == 1 and done.stderr[:-1].isprintable(), done
            return
        unit = json.loads(run("state", container_id, check=True).stdout)["systemd-scope"]
        told = [file for file in pathlib.Path("/run/systemd/transient").rglob("*") if unit in str(file)]
        lines = [line for file in told if file.is_file() for line in file.read_text().splitlines()]
        assert lines
        assert [line for line in lines if line.startswith(("KillSignal", "Slice=attacked"))] == []
    finally:
        run("delete", "--force", container_id, check=True)


def rich(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with a text in every section."""
    config = copy.deepcopy(config)
    config["domainname"] = "example.org"
    config["annotations"] = {"com.example.note": "x"}
    config["process"]["apparmorProfile"] = ""
    config["mounts"].append({"destination": "/tmp", "type": "bind", "source": "/tmp", "options": ["bind", "ro"]})
    linux = config["linux"]
    linux["cgroupsPath"] = "system.slice:pyoci:a"
    linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    linux["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3}]
    linux["rootfsPropagation"] = "private"
    linux["personality"] = {"domain": "LINUX"}
    linux["namespaces"].append({"type": "time", "path": "/proc/1/ns/time"})
    linux["resources"]["cpu"] = {"cpus": "0", "mems": "0"}
    linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["bdflush"], "action": "SCMP_ACT_ERRNO"}],
    }
    return config


def texts(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path to every text in a JSON value; to that of a key, with `key of` before its name."""
    if isinstance(value, dict):
        for key, member in value.items():
            if path[-1:] in (("annotations",), ("sysctl",), ("unified",)):
                yield (*path, "key of", key)
            yield from texts(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from texts(member, (*path, index))
    elif isinstance(value, str):
        yield path


def changed(config: dict[str, Any], path: tuple[str | int, ...], more: str) -> dict[str, Any]:
    """Return the config with something at the end of the text at a path."""
    config = copy.deepcopy(config)
    holder: Any = config
    if path[-2:-1] == ("key of",):
        for step in path[:-2]:
            holder = holder[step]
        holder[f"{path[-1]}{more}"] = holder.pop(path[-1])
    else:
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] += more
    return config


@pytest.mark.parametrize("more", ["\0", "\ud800", "\udfff"], ids=["NUL", "high surrogate", "low surrogate"])
@pytest.mark.parametrize("section", ["process", "linux", ""])
def test_no_text_holds_what_is_no_text(run: Run, bundle: Bundle, section: str, more: str) -> None:
    """A NUL ends a text for the kernel, half a character is none: both are refused wherever they stand."""
    config = rich(bundle.config)
    bundle.config = config
    bundle.write()
    run("plan", bundle.path, check=True)
    paths = [
        path
        for path in texts(config)
        if (path[0] == section) == bool(section) and (section or path[0] not in ("process", "linux"))
    ]
    seen: set[tuple[str | int, ...]] = set()
    accepted = []
    for path in paths:
        alike = tuple(step for step in path if not isinstance(step, int))
        if alike in seen:
            continue
        seen.add(alike)
        bundle.config = changed(config, path, more)
        bundle.write()
        done = run("plan", bundle.path)
        if done.returncode == 0 or len(done.stderr.splitlines()) != 1 or not done.stderr[:-1].isprintable():
            accepted.append((path, done.stderr))
    assert accepted == []
    assert len(seen) >= 5


@pytest.mark.parametrize("verb", ["create", "run", "plan"])
def test_a_path_that_is_no_text(run: Run, bundle: Bundle, tmp_path: pathlib.Path, container_id: str, verb: str) -> None:
    """JSON and the bus are UTF-8: what they could not say is refused before anything is made."""
    bundle.write()
    strange = bundle.path.rename(os.fsdecode(bytes(tmp_path) + b"/b\xff"))
    name = [container_id] if verb != "plan" else []
    by_bundle: list[str | os.PathLike[str]] = ["--bundle", strange] if name else [strange]
    shown = f"{tmp_path}/b\\udcff"
    for arguments, refused in ((by_bundle, shown), (["--config", strange / "config.json"], f"{shown}/config.json")):
        done = run(verb, *arguments, *name, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, f"pyoci: `{refused}`: the path is not UTF-8\n")
        assert json.loads(run("list", "--format=json", check=True).stdout) == []
