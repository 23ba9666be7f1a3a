"""What is refused: one line that names the culprit, exit status 1 (2 for a command line that is wrong), and no trace.

Almost every row is run with a JSON log, in which clients must find exactly one line: the one of standard error. Units,
cgroups, mounts, processes and state are watched by the leak check of each test, the bundle here.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.integration.conftest import Bundle, Run
from tests.unit.bad_configs import CASES, drop, put
from tests.unit.bad_documents import Bad
from tests.unit.bad_members import CASES as CASES_OF_MEMBERS

pytestmark = pytest.mark.skipif(
    pathlib.Path(os.environ.get("RUNTIME") or "pyoci").name != "pyoci",
    reason="what is refused, and the words, are ours",
)

ATTEMPTS = 8
Refuse = Callable[..., str]
Arg = str | os.PathLike[str]


def processor_time() -> float:
    """Return the seconds of processors that our children have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds() -> float:
    """Return what a refusal may take: 0.2 s where the bare interpreter starts in 12 ms, more where that takes longer."""
    took = []
    for _ in range(10):
        began = processor_time()
        subprocess.run([sys.executable, "-ISc", "pass"], check=True, timeout=20)
        took.append(processor_time() - began)
    return 0.2 * max(1.0, min(took) / 0.012)


def files(path: pathlib.Path) -> set[str]:
    """Return what lies in a bundle, but for its root filesystem."""
    return {entry.name for entry in path.iterdir()}


@pytest.fixture
def refuse(run: Run, tmp_path: pathlib.Path) -> Refuse:
    """Return what runs a command that must be refused, and returns the one line that says why."""
    log = tmp_path / "log.json"

    def call(*args: Arg, status: int = 1, logged: bool = True, quick: bool = True, **how: Any) -> str:
        words = ["--log", log, "--log-format", "json", *args] if logged else args
        for _ in range(ATTEMPTS):
            before = files(tmp_path)
            began, used = time.monotonic(), processor_time()
            done = run(*words, **how)
            # where others want the processors too, the time that we wait for one is not ours
            took = min(time.monotonic() - began, processor_time() - used)
            line = one_line(done, status)
            if logged:
                assert the_entry(log) == line
            assert files(tmp_path) == before
            if took <= 0.2 or not quick or took <= seconds():
                return line
        pytest.fail(f"took {took:.3f} s: {line}")

    return call


def the_entry(log: pathlib.Path) -> str:
    """Return the message of the one entry of a JSON log, and take it away."""
    [entry] = log.read_text().splitlines()
    log.unlink()
    told: dict[str, str] = json.loads(entry)
    assert set(told) == {"msg", "level", "time"}
    assert told["level"] == "error"
    return told["msg"]


def one_line(done: subprocess.CompletedProcess[str], status: int) -> str:
    """Return the line without the name of the command in front."""
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr.endswith("\n") and done.stderr.count("\n") == 1, done.stderr[:2000]
    assert done.stderr.startswith("pyoci: "), done.stderr
    line = done.stderr.removeprefix("pyoci: ").rstrip("\n")
    assert line.isprintable() and "Traceback" not in line and "internal error" not in line, line
    assert not line.endswith((".", "Success")), line
    return line


def named(rows: tuple[Any, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.name.replace(" ", "-"))


# -- config.json


@named(CASES)
def test_a_bad_config_is_refused(refuse: Refuse, container_id: str, tmp_path: pathlib.Path, row: Bad) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    (bundle / "config.json").write_bytes(row.document())
    said = refuse("create", "--bundle", bundle, container_id)
    assert row.says in said
    assert "config.json" in said
    assert files(bundle) == {"config.json", "rootfs"}


# one of each section: unit tests have them all
SECTIONS = tuple(
    bad[0] for path, bad in CASES_OF_MEMBERS.items() if path.count(".") < 2 or path.startswith("linux.resources")
)


@named(SECTIONS)
def test_a_bad_member_is_refused(refuse: Refuse, container_id: str, tmp_path: pathlib.Path, row: Bad) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_bytes(row.document())
    said = refuse("create", "--bundle", tmp_path, container_id)
    assert said.startswith("config.json: ")
    assert row.says in said or " is required" in row.says


SOME = tuple(case for case in CASES if case.name in ("missing comma", "no root.path", "true for uid", "no args"))


@pytest.mark.parametrize("verb", ["run", "plan"])
@named(SOME)
def test_every_verb_that_reads_a_config_refuses_it(
    refuse: Refuse, container_id: str, tmp_path: pathlib.Path, verb: str, row: Bad
) -> None:
    config = tmp_path / "other.json"
    config.write_bytes(row.document())
    args = ["run", "--bundle", tmp_path, container_id] if verb == "run" else ["plan", tmp_path]
    assert row.says in refuse(*args, "--config", config)


# -- ids

WITH_AN_ID = ("create", "run", "start", "state", "kill", "delete")
MALFORMED = {
    "": "the container id is empty",
    ".": "must not begin with `.`",
    "..": "must not begin with `.`",
    "../up": "must not begin with `.`",
    ".hidden": "must not begin with `.`",
    "/etc": "`/`",
    "a/b": "`/`",
    "a b": "` `",
    "a\nb": r"`\n`",
    "a\x1b[31mb": r"`\x1b`",
    "a:b": "`:`",
    "a%b": "`%`",
    "a@b": "`@`",
    "a\\b": "`\\`",
    "a*": "`*`",
    "é": "`é`",
    "a\udcffb": "which is not allowed",
    "a" * 201: "is longer than 200 characters",
    "a" * 5000: "is longer than 200 characters",
}


@pytest.mark.parametrize("container", MALFORMED, ids=lambda text: ascii(text[:12]))
def test_a_malformed_id_is_refused(refuse: Refuse, bundle: Bundle, container: str) -> None:
    assert MALFORMED[container] in refuse("create", "--bundle", bundle.path, container)


@pytest.mark.parametrize("verb", WITH_AN_ID[1:])
@pytest.mark.parametrize("container", ["", "..", "../up", "a/b", "a\nb", "a" * 201], ids=lambda text: ascii(text[:12]))
def test_every_verb_refuses_a_malformed_id(refuse: Refuse, tmp_path: pathlib.Path, verb: str, container: str) -> None:
    (tmp_path / "config.json").write_bytes(Bad("", put("process.args", ["true"]), "").document())
    (tmp_path / "rootfs").mkdir()
    force = ["--force"] if verb == "delete" else []
    assert MALFORMED[container] in refuse(verb, *force, container, cwd=tmp_path)


@pytest.mark.parametrize(
    "args",
    [["start"], ["state"], ["kill"], ["kill", "--all"], ["delete"]],
    ids=lambda args: "".join(args),
)
def test_an_unknown_id_does_not_exist(refuse: Refuse, args: list[str]) -> None:
    assert refuse(*args, "nobody") == "container `nobody` does not exist"


@pytest.mark.parametrize("verb", ["start", "state", "kill", "delete"])
def test_an_id_is_unknown_below_a_root_that_is_not_there(refuse: Refuse, tmp_path: pathlib.Path, verb: str) -> None:
    assert refuse("--root", tmp_path / "missing", verb, "nobody") == "container `nobody` does not exist"


def test_what_is_not_there_is_deleted_by_force(run: Run) -> None:
    done = run("delete", "--force", "nobody", check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("verb", ["kill", "delete"])
@pytest.mark.parametrize("expression", ["(", "[a", "a**", "a{99999999999}", r"\8"])
def test_a_bad_regular_expression_is_refused(refuse: Refuse, verb: str, expression: str) -> None:
    said = refuse(verb, "--regex", expression)
    assert f"`{expression}` is not a regular expression" in said


@pytest.mark.parametrize(
    "signal", ["", "FOO", "SIG", "0", "65", "99999999999", "1.5", "TERM ", "RTMAX+1", "RTMIN+31", "RTMIN-1", "ALRM\n"]
)
def test_an_unknown_signal_is_refused(refuse: Refuse, signal: str) -> None:
    assert refuse("kill", "nobody", signal).startswith("unknown signal `")


# -- the command line


class Words(NamedTuple):
    name: str
    args: tuple[str, ...]
    says: str


COMMAND_LINES = (
    Words("no id to create", ("create",), "missing argument ID"),
    Words("no id to start", ("start",), "missing argument ID"),
    Words("no id to kill", ("kill",), "missing argument ID"),
    Words("no id of state", ("state",), "missing argument ID"),
    Words("two ids", ("create", "a", "b"), "unexpected argument `b`"),
    Words("two states", ("state", "a", "b"), "unexpected argument `b`"),
    Words("an id to list", ("list", "a"), "unexpected argument `a`"),
    Words("unknown verb", ("crate", "a"), "unknown command `crate`; did you mean `create`"),
    Words("verb to come", ("checkpoint", "a"), "unknown command `checkpoint`"),
    Words("unknown option", ("create", "--bundel", "x", "a"), "unknown option `--bundel`; did you mean `--bundle`?"),
    Words("unknown letter", ("delete", "-x", "a"), "`-x`"),
    Words("bundle without value", ("create", "a", "--bundle"), "`--bundle` requires an argument"),
    Words("empty bundle", ("create", "--bundle=", "a"), "takes a path"),
    Words("empty pid file", ("create", "--pid-file", "", "a"), "takes a path"),
    Words("descriptors in words", ("create", "--preserve-fds", "two", "a"), "not `two`"),
    Words("negative descriptors", ("create", "--preserve-fds=-1", "a"), "not `-1`"),
    Words("too many descriptors", ("create", "--preserve-fds", "2147483648", "a"), "not `2147483648`"),
    Words("force with a value", ("delete", "--force=yes", "a"), "takes no value"),
    Words("unknown format", ("list", "--format", "xml"), "takes `table` or `json`, not `xml`"),
)
GLOBAL_MISTAKES = (
    Words("no verb", (), ""),
    Words("unknown global option", ("--verbose", "list"), "unknown option `--verbose`"),
    Words("empty root", ("--root=", "list"), "takes a path"),
    Words("unknown manager", ("--cgroup-manager", "openrc", "list"), "not `openrc`"),
    Words("unknown level", ("--log-level=loud", "list"), "not `loud`"),
    Words("unknown log format", ("--log-format", "xml", "list"), "not `xml`"),
    Words("root without value", ("--root",), "`--root` requires an argument"),
)


@named(COMMAND_LINES)
def test_a_wrong_command_line_is_explained(refuse: Refuse, row: Words) -> None:
    # click takes its time to explain: nobody waits for it but the person who mistyped
    assert row.says in refuse(*row.args, status=2, quick=False)


@named(GLOBAL_MISTAKES)
def test_a_wrong_global_option_is_explained(refuse: Refuse, row: Words) -> None:
    assert row.says in refuse(*row.args, status=2, quick=False, logged=False)


def test_descriptors_have_a_limit(refuse: Refuse, bundle: Bundle, container_id: str) -> None:
    said = refuse("create", "--bundle", bundle.path, "--preserve-fds", "70000", container_id)
    assert said == "--preserve-fds: more than 65536 file descriptors"


@pytest.mark.parametrize("args", [["state", "nobody"], ["state", "../up"], ["plan", "/nope"], ["kill", "x", "FOO"]])
def test_without_a_log_it_is_told_on_standard_error(refuse: Refuse, args: list[str]) -> None:
    assert refuse(*args, logged=False)


def test_json_without_a_log_goes_to_standard_error(run: Run) -> None:
    done = run("--log-format", "json", "state", "nobody")
    [line] = done.stderr.splitlines()
    assert (done.returncode, done.stdout, json.loads(line)["msg"]) == (1, "", "container `nobody` does not exist")


def test_a_log_that_cannot_be_written_is_told_besides(run: Run, tmp_path: pathlib.Path) -> None:
    done = run("--log", tmp_path / "no/log", "state", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    about_log, about_id = done.stderr.splitlines()
    assert about_log == f"pyoci: cannot log to `{tmp_path}/no/log`: No such file or directory"
    assert about_id == "pyoci: container `nobody` does not exist"


# -- what the config, valid as it is, asks of this machine


class Asked(NamedTuple):
    """A change to a good config, or to its bundle, that makes `create` (and `run`) fail."""

    name: str
    change: Callable[[Bundle], object]
    says: str


def config(path: str, value: object) -> Callable[[Bundle], object]:
    return lambda bundle: put(path, value)(bundle.config)


def args(*words: str) -> Callable[[Bundle], object]:
    return config("process.args", list(words))


def mount(**members: object) -> Callable[[Bundle], object]:
    return lambda bundle: bundle.config["mounts"].append(members)


def namespace(kind: str, **members: object) -> Callable[[Bundle], object]:
    def change(bundle: Bundle) -> None:
        others = [entry for entry in bundle.config["linux"]["namespaces"] if entry["type"] != kind]
        bundle.config["linux"]["namespaces"] = [*others, {"type": kind, **members}]

    return change


def users(uids: list[tuple[int, int, int]]) -> Callable[[Bundle], object]:
    def change(bundle: Bundle) -> None:
        namespace("user")(bundle)
        for member, ranges in (("uidMappings", uids), ("gidMappings", [(0, 100000, 65536)])):
            bundle.config["linux"][member] = [
                {"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in ranges
            ]

    return change


def script(name: str, text: str, mode: int = 0o755) -> Callable[[Bundle], object]:
    """Put a file into the container's /tmp and make it what the container runs."""

    def change(bundle: Bundle) -> None:
        path = bundle.rootfs / "tmp" / name
        path.write_text(text)
        path.chmod(mode)
        args(f"/tmp/{name}")(bundle)

    return change


def also(*changes: Callable[[Bundle], object]) -> Callable[[Bundle], object]:
    return lambda bundle: [change(bundle) for change in changes]


BIND = {"type": "bind", "options": ["bind"]}
NO_ENTRY, NO_DIRECTORY = "No such file or directory", "Not a directory"

ASKED = (
    Asked("missing executable", args("/nope"), 'exec: "/nope": stat /nope: no such file or directory'),
    Asked("missing command", args("nope"), 'exec: "nope": stat nope: no such file or directory'),
    Asked("relative executable", args("./nope"), 'exec: "./nope": stat ./nope: no such file or directory'),
    Asked("empty command", args(""), 'exec: "": stat : no such file or directory'),
    Asked("a file on the way", args("/etc/passwd/x"), 'exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory'),
    Asked("not executable", args("/etc/passwd"), 'exec: "/etc/passwd": permission denied'),
    Asked("a directory to run", args("/etc"), 'exec: "/etc": permission denied'),
    Asked("a device to run", args("/dev/null"), 'exec: "/dev/null": permission denied'),
    Asked(
        "not executable for this user",
        also(script("mine", "#!/bin/sh\n", 0o700), config("process.user", {"uid": 1000, "gid": 1000})),
        'exec: "/tmp/mine": permission denied',
    ),
    Asked("too long a name", args("/" + "x" * 300), "file name too long"),
    Asked("too long a path", args("/x" * 3000), "file name too long"),
    Asked(
        "newline in the name",
        args("/a\nb"),
        r'exec: "/a\nb": stat /a\nb: no such file or directory',
    ),
    Asked("no PATH", also(args("true"), config("process.env", ["PATH="])), 'exec: "true": stat true: no such file'),
    Asked("cwd is a file", config("process.cwd", "/etc/passwd"), f"`/etc/passwd`: {NO_DIRECTORY}"),
    Asked("cwd below a file", config("process.cwd", "/etc/passwd/x"), f"`/etc/passwd/x`: {NO_DIRECTORY}"),
    Asked(
        "missing bind source", mount(destination="/mnt", source="/nope", **BIND), f"bind `/nope` to `/mnt`: {NO_ENTRY}"
    ),
    Asked(
        "missing relative source",
        mount(destination="/mnt", source="nope", **BIND),
        f"/bundle/nope` to `/mnt`: {NO_ENTRY}",
    ),
    Asked("file on a directory", mount(destination="/etc", source="/etc/hostname", **BIND), "`/etc`: "),
    Asked("directory on a file", mount(destination="/etc/passwd", source="/etc", **BIND), "`/etc/passwd`: "),
    Asked("mount below a file", mount(destination="/etc/passwd/x", source="/etc", **BIND), "`/etc/passwd/x`: "),
    Asked(
        "unknown filesystem",
        mount(destination="/mnt", type="nofs", source="x"),
        "mount nofs `x` on `/mnt`: No such device",
    ),
    Asked(
        "unknown mount option",
        mount(destination="/mnt", type="tmpfs", source="tmpfs", options=["sise=1m"]),
        "sise=1m",
    ),
    Asked(
        "bad value of a mount option",
        mount(destination="/mnt", type="tmpfs", source="tmpfs", options=["size=banana"]),
        "size=banana",
    ),
    Asked("no block device", mount(destination="/mnt", source="/dev/null", type="ext4"), "`/mnt`: "),
    Asked("namespace of nobody", namespace("network", path="/run/netns/nope"), f"`/run/netns/nope`: {NO_ENTRY}"),
    Asked("namespace is a file", namespace("network", path="/etc/passwd"), "Invalid argument"),
    Asked("namespace of another kind", namespace("network", path="/proc/1/ns/uts"), "Invalid argument"),
    Asked("no mount namespace", lambda b: b.config["linux"].update(namespaces=[{"type": "uts"}]), "mount namespace"),
    Asked("user namespace without mappings", namespace("user"), "linux.uidMappings"),
    Asked("mappings that overlap", users([(0, 1000, 10), (5, 5000, 10)]), "uid_map: Invalid argument"),
    Asked(
        "more than 340 mappings", users([(2 * n, 100000 + n, 1) for n in range(341)]), "linux.uidMappings: 341 ranges"
    ),
    Asked("root is not mapped", users([(1, 100000, 10)]), "process.user.uid: 0 is not among linux.uidMappings"),
    # this init dies so early that systemd adopts a zombie: nothing must be made in the cgroup where it stood
    Asked("root filesystem out of reach", users([(0, 100000, 10)]), "as the root filesystem: Permission denied"),
    Asked(
        "user is not mapped",
        also(users([(0, 100000, 10)]), config("process.user", {"uid": 5000, "gid": 0})),
        "process.user.uid: 5000 is not among linux.uidMappings",
    ),
    Asked(
        "group is not mapped",
        also(users([(0, 100000, 10)]), config("process.user", {"uid": 9, "gid": 65536})),
        "process.user.gid: 65536 is not among linux.gidMappings",
    ),
    Asked(
        "additional group is not mapped",
        also(users([(0, 100000, 10)]), config("process.user", {"uid": 9, "gid": 9, "additionalGids": [1, 77777]})),
        "process.user.additionalGids: 77777 is not among linux.gidMappings",
    ),
    Asked(
        "limit over the kernel's",
        config("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]),
        "RLIMIT_NOFILE",
    ),
    Asked("unknown sysctl", config("linux.sysctl", {"net.nope": "1"}), "net/nope` to `1`: "),
    Asked("bad value of a sysctl", config("linux.sysctl", {"net.ipv4.ip_forward": "yes"}), "Invalid argument"),
    Asked("device below a file", config("linux.devices", [{"type": "p", "path": "/etc/passwd/x"}]), "`/etc/passwd/x`"),
    Asked("AppArmor", config("process.apparmorProfile", "x"), "process.apparmorProfile: AppArmor is not enabled"),
    Asked("SELinux", config("process.selinuxLabel", "x"), "process.selinuxLabel: SELinux is not enabled"),
    Asked("resctrl", config("linux.intelRdt", {"l3CacheSchema": "L3:0=f"}), "linux.intelRdt: no resctrl filesystem"),
    Asked("label of mounts", config("linux.mountLabel", "x"), "linux.mountLabel: SELinux is not enabled"),
    Asked("no such slice", config("linux.cgroupsPath", "machine:x:y"), "`machine` is not the name of a slice"),
    Asked(
        "slice with dashes", config("linux.cgroupsPath", "a--b.slice:x:y"), "`a--b.slice` is not the name of a slice"
    ),
    Asked("slice that begins with a dash", config("linux.cgroupsPath", "-a.slice:x:y"), "-a.slice"),
    Asked("slice of a slice", config("linux.cgroupsPath", "a/b.slice:x:y"), "is neither a path nor"),
    Asked("scope without a name", config("linux.cgroupsPath", "system.slice::"), "linux.cgroupsPath"),
    Asked("scope of 300 letters", config("linux.cgroupsPath", "system.slice:x:" + "y" * 300), "is longer than 255"),
    Asked(
        "property that is the plan's",
        config("annotations", {"org.systemd.property.Slice": "'x.slice'"}),
        "`org.systemd.property.Slice`: it must not be set",
    ),
    Asked(
        "property of another type",
        config("annotations", {"org.systemd.property.TimeoutStopUSec": "'soon'"}),
        "`'soon'` is not of the D-Bus type `t`",
    ),
    Asked(
        "property with a bad value",
        config("annotations", {"org.systemd.property.CollectMode": "'sometimes'"}),
        "CollectMode",
    ),
    Asked(
        "dependency that is no unit",
        config("annotations", {"org.systemd.property.After": "['../x']"}),
        "../x",
    ),
    Asked("handler", config("annotations", {"run.oci.handler": "wasm"}), 'run.oci.handler: there is no handler "wasm"'),
    Asked("plugins for seccomp", config("annotations", {"run.oci.seccomp.plugins": "/a.so"}), "plugins are not loaded"),
    Asked("no program", config("annotations", {"run.oci.seccomp_bpf_data": "?"}), "seccomp_bpf_data: not base64"),
    Asked("root filesystem missing", config("root.path", "nope"), f"/bundle/nope`: {NO_ENTRY}"),
    Asked("root filesystem a file", config("root.path", "config.json"), f"/bundle/config.json`: {NO_DIRECTORY}"),
    Asked("root filesystem below a file", config("root.path", "config.json/x"), NO_DIRECTORY),
    Asked(
        "root filesystem in a circle",
        also(lambda bundle: (bundle.path / "ring").symlink_to("ring"), config("root.path", "ring")),
        "Too many levels of symbolic links",
    ),
    Asked("terminal to nobody", config("process.terminal", True), "`--console-socket` must say where"),
)


@named(ASKED)
def test_what_cannot_be_given_is_refused(refuse: Refuse, bundle: Bundle, container_id: str, row: Asked) -> None:
    row.change(bundle)
    bundle.write()
    before = files(bundle.path)
    said = refuse("create", "--bundle", bundle.path, "--pid-file", bundle.path / "pid", container_id)
    assert row.says in said
    assert files(bundle.path) == before


RUN_TOO = tuple(row for row in ASKED if row.name in ("missing executable", "not executable", "missing bind source"))
LATE = (
    Asked("script without interpreter", script("lost", "#!/nope\n"), 'exec: "/tmp/lost": no such file or directory'),
    Asked("no program at all", script("text", "hello\n"), 'exec: "/tmp/text": exec format error'),
)
DETACHED = (Asked("terminal to nobody, detached", config("process.terminal", True), "--console-socket"),)


@pytest.mark.parametrize("detach", [(), ("--detach",)], ids=["attached", "detached"])
@named((*RUN_TOO, *LATE))
def test_run_refuses_it_too(
    refuse: Refuse, bundle: Bundle, container_id: str, row: Asked, detach: tuple[str, ...]
) -> None:
    row.change(bundle)
    bundle.write()
    before = files(bundle.path)
    said = refuse("run", *detach, "--bundle", bundle.path, "--pid-file", bundle.path / "pid", container_id)
    assert row.says in said
    assert files(bundle.path) == before


@named(DETACHED)
def test_run_detached_refuses_it(refuse: Refuse, bundle: Bundle, container_id: str, row: Asked) -> None:
    row.change(bundle)
    bundle.write()
    assert row.says in refuse("run", "--detach", "--bundle", bundle.path, container_id)


@named(LATE)
def test_start_tells_what_only_execve_finds(
    run: Run, refuse: Refuse, bundle: Bundle, container_id: str, row: Asked
) -> None:
    row.change(bundle)
    bundle.write()
    run("create", "--bundle", bundle.path, container_id, check=True)
    assert row.says in refuse("start", container_id, logged=False, quick=False)
    # it has failed once and for all
    assert refuse("start", container_id) == f"cannot start `{container_id}`: container is stopped"
    run("delete", container_id, check=True)


# -- the bundle, and the files that are named on the command line


def test_a_missing_bundle_is_named(refuse: Refuse, tmp_path: pathlib.Path, container_id: str) -> None:
    said = refuse("create", "--bundle", tmp_path / "nope", container_id)
    assert said == f"bundle `{tmp_path}/nope`: No such file or directory"


def test_a_bundle_that_is_a_file_is_named(refuse: Refuse, tmp_path: pathlib.Path, container_id: str) -> None:
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file" in refuse("create", "--bundle", tmp_path / "file", container_id)


def test_a_bundle_without_config_is_named(refuse: Refuse, tmp_path: pathlib.Path, container_id: str) -> None:
    assert f"`{tmp_path}/config.json`: {NO_ENTRY}" in refuse("create", "--bundle", tmp_path, container_id)


def put_nothing(path: pathlib.Path) -> None:
    """Leave it missing."""


def put_socket(path: pathlib.Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))


def put_ring(path: pathlib.Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (put_nothing, NO_ENTRY),
        (pathlib.Path.mkdir, "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (put_socket, "No such device or address"),
        (put_ring, "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.symlink_to("/proc/self/mem"), "put/output error"),
    ],
    ids=["missing", "directory", "fifo", "socket", "ring", "device", "unreadable"],
)
def test_a_config_that_cannot_be_read_is_named(
    refuse: Refuse, bundle: Bundle, container_id: str, make: Callable[[pathlib.Path], object], says: str
) -> None:
    path = bundle.path / "odd"
    make(path)
    said = refuse("create", "--bundle", bundle.path, "--config", path, container_id)
    assert f"`{path}`" in said and says in said


@pytest.mark.parametrize("verb", ["create", "run"])
@pytest.mark.parametrize(
    ("where", "says"),
    [("no/pid", NO_ENTRY), ("config.json/pid", NO_DIRECTORY), ("rootfs", "Is a directory"), ("p" * 300, "too long")],
    ids=["missing", "below-a-file", "directory", "long"],
)
def test_a_pid_file_that_cannot_be_written_is_named(
    refuse: Refuse, bundle: Bundle, container_id: str, where: str, says: str, verb: str
) -> None:
    bundle.args("sleep", "1000")
    before = files(bundle.path)
    said = refuse(verb, "--bundle", bundle.path, "--pid-file", bundle.path / where, container_id)
    assert says in said and f"{bundle.path / where}" in said
    assert files(bundle.path) == before


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("no/socket", NO_ENTRY),
        ("rootfs", "Connection refused"),
        ("config.json", "Connection refused"),
        ("s" * 120, "too long"),
        ("dead", "Connection refused"),
    ],
    ids=["missing", "directory", "file", "long", "nobody-listens"],
)
def test_a_console_socket_without_listener_is_named(
    refuse: Refuse, bundle: Bundle, container_id: str, where: str, says: str
) -> None:
    bundle.config["process"]["terminal"] = True
    bundle.write()
    put_socket(bundle.path / "dead")
    said = refuse("create", "--bundle", bundle.path, "--console-socket", bundle.path / where, container_id)
    assert says in said and where in said


def test_a_console_socket_is_for_terminals(refuse: Refuse, bundle: Bundle, container_id: str) -> None:
    said = refuse("create", "--bundle", bundle.path, "--console-socket", bundle.path / "x", container_id)
    assert said == "--console-socket is for a container whose process.terminal is true"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--bundle", "/nope"], f"cannot write `/nope/config.json`: {NO_ENTRY}"),
        (["--bundle", "/etc/passwd"], f"cannot write `/etc/passwd/config.json`: {NO_DIRECTORY}"),
        (["--file", "/etc"], "cannot write `/etc`: Is a directory"),
        (["--file", "/dev/full"], "cannot write `/dev/full`: No space left on device"),
    ],
    ids=["missing", "file", "directory", "full"],
)
def test_spec_says_where_it_cannot_write(refuse: Refuse, args: list[str], says: str) -> None:
    assert refuse("spec", *args) == says


def test_spec_does_not_write_over_a_config(refuse: Refuse, bundle: Bundle) -> None:
    assert refuse("spec", "--bundle", bundle.path) == f"`{bundle.path}/config.json` exists"


# -- the state root


@pytest.fixture
def no_room(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Return a filesystem that can be made read-only, or filled."""
    path = tmp_path / "mounted"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("inside", [False, True], ids=["root", "container"])
def test_a_read_only_root_is_named(
    refuse: Refuse, bundle: Bundle, container_id: str, no_room: pathlib.Path, inside: bool
) -> None:
    root = no_room / "state"
    if inside:
        root.mkdir(mode=0o700)
    subprocess.run(["mount", "-o", "remount,ro", no_room], check=True)
    said = refuse("--root", root, "create", "--bundle", bundle.path, container_id)
    assert f"`{root}" in said and "Read-only file system" in said


def test_a_full_root_is_named(refuse: Refuse, bundle: Bundle, container_id: str, no_room: pathlib.Path) -> None:
    (no_room / "fill").write_bytes(b"x" * 4096)
    said = refuse("--root", no_room / "state", "create", "--bundle", bundle.path, container_id)
    assert f"`{no_room}/state" in said and "No space left on device" in said
    assert list((no_room / "state").iterdir()) == []


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_root_that_is_a_file_is_named(refuse: Refuse, bundle: Bundle, container_id: str, verb: str) -> None:
    root = bundle.path / "config.json"
    said = refuse("--root", root, verb, "--bundle", bundle.path, container_id)
    assert f"`{root}" in said and NO_DIRECTORY in said


@pytest.mark.parametrize("verb", ["delete", "list"])
def test_a_root_that_is_a_file_is_named_by_the_others(refuse: Refuse, bundle: Bundle, verb: str) -> None:
    root = bundle.path / "config.json"
    said = refuse("--root", root, verb, *(["nobody"] if verb != "list" else []))
    assert f"`{root}" in said and NO_DIRECTORY in said


@pytest.mark.parametrize(
    ("mode", "owner"), [(0o777, 0), (0o770, 0), (0o700, 1000)], ids=["world", "group", "someone-else"]
)
def test_a_root_of_others_is_refused(
    refuse: Refuse, bundle: Bundle, container_id: str, tmp_path: pathlib.Path, mode: int, owner: int
) -> None:
    root = tmp_path / "state"
    root.mkdir()
    root.chmod(mode)
    os.chown(root, owner, 0)
    said = refuse("--root", root, "create", "--bundle", bundle.path, container_id)
    assert said == f"the state root `{root}` can be written by others"
    assert (stat.S_IMODE(root.stat().st_mode), list(root.iterdir())) == (mode, [])


# -- systemd out of reach


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("unix:path=/nope", "/nope"),
        ("unix:path=/etc/passwd", "/etc/passwd"),
        ("tcp:host=localhost", "tcp"),
        ("x", "`x`"),
    ],
    ids=["missing", "file", "tcp", "nonsense"],
)
def test_a_bus_that_is_not_there_is_named(
    refuse: Refuse, bundle: Bundle, container_id: str, address: str, says: str
) -> None:
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": address}
    # a broker that is just being restarted is waited for, so that may take its time
    said = refuse("create", "--bundle", bundle.path, container_id, env=environment, quick=False, logged=False)
    assert says in said


# -- in the wrong state


def test_each_state_has_its_refusals(run: Run, refuse: Refuse, bundle: Bundle, container_id: str) -> None:
    bundle.args("sleep", "1000")
    run("create", "--bundle", bundle.path, container_id, check=True)
    assert "already exists" in refuse("create", "--bundle", bundle.path, container_id)
    run("start", container_id, check=True)
    assert "already started" in refuse("start", container_id)
    assert refuse("delete", container_id) == f"cannot delete `{container_id}`: container is running"
    assert "already exists" in refuse("run", "--bundle", bundle.path, container_id)
    run("kill", container_id, "KILL", check=True)
    stopped = f"cannot kill `{container_id}`: container not running"
    deadline = time.monotonic() + 5
    while run("kill", container_id, "CONT").returncode == 0:
        assert time.monotonic() < deadline
    assert refuse("kill", container_id, "TERM") == stopped
    assert refuse("start", container_id) == f"cannot start `{container_id}`: container is stopped"
    assert "already exists" in refuse("create", "--bundle", bundle.path, container_id)
    run("delete", container_id, check=True)


def test_a_container_without_process_cannot_be_started(
    run: Run, refuse: Refuse, bundle: Bundle, container_id: str
) -> None:
    drop("process")(bundle.config)
    bundle.write()
    run("create", "--bundle", bundle.path, container_id, check=True)
    assert refuse("start", container_id) == f"cannot start `{container_id}`: its config.json has no process"
    run("delete", "--force", container_id, check=True)


@pytest.mark.parametrize("verb", ["list", "features", "state", "plan"])
def test_output_that_is_lost_is_an_error(run: Run, runtime: str, bundle: Bundle, container_id: str, verb: str) -> None:
    if verb == "state":
        run("create", "--bundle", bundle.path, container_id, check=True)
    words = {"state": [container_id], "plan": [str(bundle.path)]}.get(verb, [])
    with open("/dev/full", "w") as full:
        done = subprocess.run([runtime, verb, *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=20)
    said = "pyoci: cannot write to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)
    run("delete", "--force", container_id, check=True)
