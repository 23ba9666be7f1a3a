"""Command lines and what they say: the front door and click read every row alike."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd import log
from pyoci_systemd.cli import commands
from pyoci_systemd.cli.options import (
    CHOICE,
    EACH,
    FLAG,
    GLOBALS,
    HELP,
    HELP_ROWS,
    MANY,
    NUMBER,
    PATH,
    REST,
    SETS,
    SWITCH,
    TEXT,
    TRISTATE,
    USAGE,
    VERSION,
)
from pyoci_systemd.cli.verbs import VERBS
from pyoci_systemd.main import understand
from pyoci_systemd.settings import Options

# words, global options that differ from their defaults, verb, its options that differ and its arguments
RIGHT: list[tuple[str, Any, str, Any]] = [
    # podman, through conmon
    ("--systemd-cgroup --log-format=json --log F create --bundle B --pid-file P ID",
     {"manager": "systemd", "log_format": "json", "log": "F"}, "create", {"bundle": "B", "pid_file": "P", "id": "ID"}),
    ("--systemd-cgroup --log-format=json --log F --cgroup-manager disabled create --bundle B --pid-file P --no-pivot"
     " --no-new-keyring --preserve-fds 2 --console-socket S ID",
     {"manager": "disabled", "log_format": "json", "log": "F"}, "create",
     {"bundle": "B", "pid_file": "P", "no_pivot": True, "no_new_keyring": True, "preserve_fds": 2,
      "console_socket": "S", "id": "ID"}),
    ("--debug start ID", {"log_level": "debug"}, "start", {"id": "ID"}),
    ("kill --all ID 9", {}, "kill", {"all": True, "id": "ID", "signal": "9"}),
    ("delete --force ID", {}, "delete", {"force": True, "id": "ID"}),
    # docker and containerd
    ("--root /run/containerd/runc/k8s.io --log B/log.json --log-format json --systemd-cgroup create --bundle B"
     " --pid-file B/init.pid --console-socket /tmp/pty1/pty.sock ID",
     {"given_root": "/run/containerd/runc/k8s.io", "log": "B/log.json", "log_format": "json", "manager": "systemd"},
     "create", {"bundle": "B", "pid_file": "B/init.pid", "console_socket": "/tmp/pty1/pty.sock", "id": "ID"}),
    ("--root R --log L --log-format json start ID",
     {"given_root": "R", "log": "L", "log_format": "json"}, "start", {"id": "ID"}),
    ("--root R --log L --log-format json kill ID 15",
     {"given_root": "R", "log": "L", "log_format": "json"}, "kill", {"id": "ID", "signal": "15"}),
    ("--root R --log L --log-format json delete ID",
     {"given_root": "R", "log": "L", "log_format": "json"}, "delete", {"id": "ID"}),
    # buildah and CRI-O
    ("create --bundle B --pid-file P NAME", {}, "create", {"bundle": "B", "pid_file": "P", "id": "NAME"}),
    ("state NAME", {}, "state", {"id": "NAME"}),
    ("--root=R --systemd-cgroup create --bundle B --pid-file P ID",
     {"given_root": "R", "manager": "systemd"}, "create", {"bundle": "B", "pid_file": "P", "id": "ID"}),
    ("--root R kill ID KILL", {"given_root": "R"}, "kill", {"id": "ID", "signal": "KILL"}),
    ("--root R kill -a ID 9", {"given_root": "R"}, "kill", {"all": True, "id": "ID", "signal": "9"}),
    ("features", {}, "features", {}),
    # a person
    ("run ID", {}, "run", {"id": "ID"}),
    ("run -d --keep -b B -f C ID", {}, "run", {"detach": True, "keep": True, "bundle": "B", "config": "C", "id": "ID"}),
    ("run --no-subreaper ID", {}, "run", {"no_subreaper": True, "id": "ID"}),
    ("kill ID", {}, "kill", {"id": "ID", "signal": "SIGTERM"}),
    ("kill -r ^web HUP", {}, "kill", {"regex": True, "id": "^web", "signal": "HUP"}),
    ("exec ID CMD", {}, "exec", {"id": "ID", "command": ["CMD"]}),
    ("exec -t -u 1:2 -e A=B -e C=D ID ls -l -t", {}, "exec",
     {"tty": "true", "user": "1:2", "env": ["A=B", "C=D"], "id": "ID", "command": ["ls", "-l", "-t"]}),
    ("exec --tty=no ID ls", {}, "exec", {"tty": "false", "id": "ID", "command": ["ls"]}),
    ("exec ID -- ls --", {}, "exec", {"id": "ID", "command": ["ls", "--"]}),
    ("--root=R exec --pid-file P --process J --detach --preserve-fds 1 --console-socket S ID", {"given_root": "R"}, "exec",
     {"pid_file": "P", "process": "J", "detach": True, "preserve_fds": 1, "console_socket": "S", "id": "ID"}),
    ("pause ID", {}, "pause", {"id": "ID"}),
    ("resume ID", {}, "resume", {"id": "ID"}),
    ("ps --format json ID", {}, "ps", {"format": "json", "id": "ID", "ps_options": []}),
    ("ps ID", {}, "ps", {"format": "table", "id": "ID", "ps_options": []}),
    ("ps ID -f json", {}, "ps", {"format": "table", "id": "ID", "ps_options": ["-f", "json"]}),
    ("ps ID -eo pid,args --no-headers", {}, "ps", {"id": "ID", "ps_options": ["-eo", "pid,args", "--no-headers"]}),
    ("events --interval 5s --stats ID", {}, "events", {"interval": "5s", "stats": True, "id": "ID"}),
    ("events --state ID", {}, "events", {"state": True, "id": "ID"}),
    ("stats", {}, "stats", {"ids": []}),
    ("stats A --no-stream B --format json", {}, "stats", {"ids": ["A", "B"], "no_stream": True, "format": "json"}),
    ("stats --stream --interval=1m -- -A", {}, "stats", {"stream": True, "interval": "1m", "ids": ["-A"]}),
    ("mounts add ID FILE", {}, "mounts", {"action": "add", "id": "ID", "file": "FILE"}),
    ("mounts remove ID -", {}, "mounts", {"action": "remove", "id": "ID", "file": "-"}),
    ("list", {}, "list", {}),
    ("list -q", {}, "list", {"quiet": True}),
    ("list --format json", {}, "list", {"format": "json"}),
    ("spec", {}, "spec", {}),
    ("spec --rootless -b B -f F", {}, "spec", {"rootless": True, "bundle": "B", "file": "F"}),
    ("plan", {}, "plan", {"bundle": ".", "id": ""}),
    ("plan --json B -f C", {}, "plan", {"json": True, "bundle": "B", "config": "C", "id": ""}),
    ("plan B ID", {}, "plan", {"bundle": "B", "id": "ID"}),
    # the forms of getopt_long
    ("list -fjson", {}, "list", {"format": "json"}),
    ("list -qfjson", {}, "list", {"quiet": True, "format": "json"}),
    ("list -qf json", {}, "list", {"quiet": True, "format": "json"}),
    ("list --format=table", {}, "list", {}),
    ("delete -fr ^web", {}, "delete", {"force": True, "regex": True, "id": "^web"}),
    ("delete ID --force", {}, "delete", {"force": True, "id": "ID"}),
    ("kill ID -a 9", {}, "kill", {"all": True, "id": "ID", "signal": "9"}),
    ("kill -- ID -a", {}, "kill", {"id": "ID", "signal": "-a"}),
    ("kill ID -- -9", {}, "kill", {"id": "ID", "signal": "-9"}),
    ("-- state ID", {}, "state", {"id": "ID"}),
    ("state -", {}, "state", {"id": "-"}),
    ("create -b --keep ID", {}, "create", {"bundle": "--keep", "id": "ID"}),
    ("create -b=B ID", {}, "create", {"bundle": "=B", "id": "ID"}),
    ("create --bundle=A=B ID", {}, "create", {"bundle": "A=B", "id": "ID"}),
    ("create -b A -b B ID", {}, "create", {"bundle": "B", "id": "ID"}),
    ("create --preserve-fds=0 ID", {}, "create", {"id": "ID"}),
    ("create --preserve-fds 2147483647 ID", {}, "create", {"preserve_fds": 2147483647, "id": "ID"}),
    ("create --preserve-fds 007 ID", {}, "create", {"preserve_fds": 7, "id": "ID"}),
    # of two that say the same, the last is right
    ("--cgroup-manager disabled --systemd-cgroup list", {"manager": "systemd"}, "list", {}),
    ("--systemd-cgroup --cgroup-manager=cgroupfs list", {"manager": "cgroupfs"}, "list", {}),
    ("--debug --log-level=warning list", {"log_level": "warning"}, "list", {}),
    ("--log-level warning --debug list", {"log_level": "debug"}, "list", {}),
    # an optional value, also as a word of its own
    ("--rootless list", {"rootless": "true"}, "list", {}),
    ("--rootless=false list", {"rootless": "false"}, "list", {}),
    ("--rootless true list", {"rootless": "true"}, "list", {}),
    ("--rootless auto --debug list", {"log_level": "debug"}, "list", {}),
    ("--root --rootless list", {"given_root": "--rootless"}, "list", {}),
    ("--log journald:ctr list", {"log": "journald:ctr"}, "list", {}),
    # services
    ("--cgroup-manager=split run --journal=all --notify=runtime --credentials --bundle B ID", {"manager": "split"}, "run",
     {"journal": "all", "notify": "runtime", "credentials": True, "bundle": "B", "id": "ID"}),
    ("--machine-annotation create --machine=web ID", {"machine_annotation": True}, "create", {"machine": "web", "id": "ID"}),
    ("create --credential a:/b --credential c:d ID", {}, "create", {"credential": ["a:/b", "c:d"], "id": "ID"}),
    ("delete --force --own-unit ID", {}, "delete", {"force": True, "own_unit": True, "id": "ID"}),
    ("unit web --socket 80 --socket @web --credential a:/b --after c.service --user", {}, "unit",
     {"sockets": ["80", "@web"], "load_credentials": ["a:/b"], "after": ["c.service"], "of_user": True, "id": "web"}),
    ("logs -fn 5 ID", {}, "logs", {"follow": True, "lines": "5", "id": "ID"}),
    ("create --config \udcff \udcfe", {}, "create", {"config": "\udcff", "id": "\udcfe"}),
]  # fmt: skip

# words, and a part of the one line that says what is wrong with them
WRONG = [
    ("", "missing command"),
    ("--debug", "missing command"),
    ("killl ID", "unknown command `killl`; did you mean `kill`?"),
    ("frob ID", "unknown command `frob`"),
    ("--frobnicate list", "unknown option `--frobnicate`"),
    ("--bundle B create ID", "unknown option `--bundle`"),
    ("create --systemd-cgroup ID", "unknown option `--systemd-cgroup`"),
    ("run --detatch ID", "unknown option `--detatch`; did you mean `--detach`?"),
    ("run --det ID", "unknown option `--det`"),
    ("run -x ID", "unknown option `-x`"),
    ("delete -fx ID", "unknown option `-x`"),
    ("list -q-", "unknown option `--`"),
    ("list -q-f", "unknown option `--`"),
    ("list -q-quiet", "unknown option `--`"),
    ("create", "missing argument ID"),
    ("create --bundle", "option `--bundle` requires an argument"),
    ("create ID -b", "option `-b` requires an argument"),
    ("--log", "option `--log` requires an argument"),
    ("mounts", "missing argument add|remove"),
    ("mounts add", "missing argument ID"),
    ("mounts add ID", "missing argument FILE"),
    ("mounts add ID FILE FILE", "unexpected argument `FILE`"),
    ("mounts change ID FILE", "`mounts` takes `add` or `remove`, not `change`"),
    ("mounts add|remove ID FILE", "`mounts` takes `add` or `remove`, not `add|remove`"),
    ("create A B", "unexpected argument `B`"),
    ("list ID", "unexpected argument `ID`"),
    ("run --keep=yes ID", "option `--keep` takes no value"),
    ("run --keep=d ID", "option `--keep` takes no value"),
    ("run --keep= ID", "option `--keep` takes no value"),
    ("--systemd-cgroup=1 list", "option `--systemd-cgroup` takes no value"),
    ("create --bundle= ID", "option `--bundle` takes a path, not ``"),
    ("--root= list", "option `--root` takes a path, not ``"),
    ("list --format xml", "option `--format` takes `table` or `json`, not `xml`"),
    ("list --format=", "option `--format` takes `table` or `json`, not ``"),
    ("list --format table|json", "option `--format` takes `table` or `json`"),
    ("--cgroup-manager v1 list", "option `--cgroup-manager` takes `auto` or `systemd`"),
    ("--log-level info list", "option `--log-level` takes `error`"),
    ("--rootless=maybe list", "option `--rootless` takes `true` or `false` or `auto`, not `maybe`"),
    ("--rootless maybe list", "unknown command `maybe`"),
    *[(f"create --preserve-fds {n} ID", f"takes a number from 0 to 2147483647, not `{n}`")
      for n in ("-1", "1_0", "+1", "0x1", "two", "1.5", "\u0663", "2147483648", "99999999999999999999")],
    ("create --preserve-fds= ID", "takes a number"),
    ("events", "missing argument ID"),
    ("stats --format xml", "option `--format` takes `table` or `json`, not `xml`"),
    ("exec", "missing argument ID"),
    ("exec --tty=maybe ID ls", "option `--tty` takes `true` or `false`, not `maybe`"),
    ("exec --env", "option `--env` requires an argument"),
]  # fmt: skip


def settled(values: dict[str, object]) -> dict[str, object]:
    """Return all global options, those that are not named at their defaults."""
    plain: dict[str, object] = {
        "given_root": "", "manager": "auto", "rootless": "auto", "log": "", "log_format": "text",
        "log_level": "error", "version": False, "machine_annotation": False,
    }  # fmt: skip
    return {**plain, **values}


CREATE = {
    "bundle": "", "config": "", "console_socket": "", "pidfd_socket": "", "pid_file": "", "preserve_fds": 0, "no_pivot": False,
    "no_new_keyring": False, "no_subreaper": False, "sockets": [], "property": [], "journal": "none", "credential": [],
    "credentials": False,
    "machine": "",
}  # fmt: skip
PLAIN: dict[str, dict[str, object]] = {
    "create": CREATE,
    "start": {},
    "run": {**CREATE, "detach": False, "keep": False, "notify": "container"},
    "exec": {
        "process": "",
        "tty": "",
        "detach": False,
        "user": "",
        "additional_gids": [],
        "cwd": "",
        "env": [],
        "cap": [],
        "no_new_privs": False,
        "apparmor": "",
        "process_label": "",
        "cgroup": "",
        "ignore_paused": False,
        "console_socket": "",
        "pidfd_socket": "",
        "pid_file": "",
        "preserve_fds": 0,
        "no_subreaper": False,
        "command": [],
    },
    "pause": {},
    "resume": {},
    "ps": {"format": "table"},
    "events": {"interval": "", "stats": False, "state": False},
    "stats": {"format": "table", "interval": "", "stream": False, "no_stream": False},
    "mounts": {},
    "state": {},
    "kill": {"all": False, "regex": False, "signal": "SIGTERM"},
    "delete": {"force": False, "own_unit": False, "regex": False},
    "list": {"format": "table", "quiet": False},
    "spec": {"bundle": "", "file": "", "rootless": False},
    "plan": {
        "config": "",
        "json": False,
        "preserve_fds": 0,
        "no_pivot": False,
        "no_new_keyring": False,
        "property": [],
        "machine": "",
        "credential": [],
        "credentials": False,
    },
    "logs": {"follow": False, "lines": "", "since": "", "output": ""},
    "unit": {
        "bundle": "",
        "sockets": [],
        "restart": "on-failure",
        "notify": "runtime",
        "watchdog": "",
        "stop_timeout": "",
        "load_credentials": [],
        "after": [],
        "of_user": False,
        "remove": False,
    },
    "features": {},
}


@pytest.mark.parametrize("verb", dict.fromkeys(row[2] for row in RIGHT))
@pytest.mark.parametrize("read", [understand, commands.understand], ids=["front door", "click"])
def test_right(read, verb):  # type: ignore[no-untyped-def]
    rows = [row for row in RIGHT if row[2] == verb]
    expected = {line: (settled(values), verb, {**PLAIN[verb], **chosen}) for line, values, _, chosen in rows}
    assert {line: read(line.split(" ")) for line in expected} == expected


@pytest.mark.parametrize(("line", "message"), WRONG, ids=[ascii(row[0]) for row in WRONG])
def test_wrong(line: str, message: str) -> None:
    args = line.split(" ") if line else []
    assert understand(args) is None
    with pytest.raises(commands.Usage) as caught:
        commands.understand(args)
    assert message in caught.value.message
    assert caught.value.status == 2
    assert "`pyoci" in caught.value.hint


def test_hint_names_the_verb() -> None:
    with pytest.raises(commands.Usage) as caught:
        commands.understand(["kill"])
    assert caught.value.hint == "try `pyoci kill --help`"


def test_mistake_after_the_globals_finds_its_log() -> None:
    """A client that named a log reads the reason there, also for a verb we do not know."""
    try:
        assert understand(["--log", "F", "--log-format", "json", "frob", "ID"]) is None
        assert (log._log.target, log._log.form) == ("F", "json")
        assert understand(["--log", "G", "kill", "ID"]) is not None
        assert (log._log.target, log._log.container) == ("G", "ID")
    finally:
        log.use(log.Log())


KINDS = {
    FLAG: "bool", NUMBER: "int", TEXT: "str", PATH: "str", CHOICE: "str", SWITCH: "str", MANY: "list[str]",
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS.values(), ids=lambda verb: str(verb.name))
def test_options_type_names_the_table(verb) -> None:  # type: ignore[no-untyped-def]
    """A verb that misspells an option is refused by mypy: Options declares each, of the right type."""
    for dest, _, kind, _, _ in verb.options:
        assert Options.__annotations__[dest] == KINDS[kind]
    for dest, _, default in verb.arguments:
        assert Options.__annotations__[dest] == ("list[str]" if default in (REST, EACH) else "str")


def test_options_type_names_nothing_else() -> None:
    dests = {row[0] for verb in VERBS.values() for row in (*verb.options, *verb.arguments)}
    assert set(Options.__annotations__) == dests


@pytest.mark.parametrize("rows", [GLOBALS, *((*v.options, *HELP_ROWS) for v in VERBS.values())])
def test_forms_are_unique(rows) -> None:  # type: ignore[no-untyped-def]
    forms = [form for row in rows for form in row[1]]
    assert len(forms) == len(set(forms))
    assert all(row[4].endswith(".") for row in rows), "a help text is a sentence"
    assert {row[2] for row in rows} <= {*KINDS, SETS, TRISTATE, HELP, USAGE, VERSION}
