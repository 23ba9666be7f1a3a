"""The one table of options, and the front door's parser which reads it; click's commands come from it too.

This runs on every call, so it is plain data and a loop: no click here.
An option is a row `(dest, forms, kind, value, help)`. `value` depends on the kind: the name shown for
what a TEXT, PATH or NUMBER takes; `a|b|c` for a CHOICE, the first being the default; the word a SETS
option puts into `dest`; what a SWITCH is shown to take.
"""

from __future__ import annotations

from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    Row = tuple[str, tuple[str, ...], str, str, str]
    Argument = tuple[str, str, str | None]
    Values = dict[str, object]
    Command = tuple[Values, str, Values]  # the global options, the verb, its options and arguments

FLAG = "flag"
TEXT = "text"
PATH = "path"  # text that may not be empty
MANY = "many"  # text; each time the option is given adds one
NUMBER = "number"  # decimal, 0 … 2³¹−1
CHOICE = "choice"
SETS = "sets"
TRISTATE = "tristate"  # `--opt`, `--opt=true` or `--opt true`
SWITCH = "switch"  # `--opt`, or `--opt=false`; "" when it is not given
VERSION = "version"
HELP = "help"
USAGE = "usage"

WORDLESS = (FLAG, SETS, VERSION)
TRISTATES = ("true", "false", "auto")
SWITCHES = {"true": "true", "yes": "true", "1": "true", "false": "false", "no": "false", "0": "false"}
REST = "…"  # the default of an argument that takes all words that are left
EACH = "*"  # the same, but options may stand between them


class Verb(Record):
    """One command. An argument is `(dest, METAVAR, default)`, required when its default is None.

    One that is shown as `a|b` takes these words alone.
    With an argument that takes the REST, options end at the first word that is none: what follows is not ours.
    """

    name: str
    group: str
    summary: str
    text: str
    example: str
    arguments: tuple[Argument, ...]
    options: tuple[Row, ...]

    @property
    def permute(self) -> bool:
        """May options stand after the arguments."""
        return not any(default == REST for _, _, default in self.arguments)


HELP_ROWS: tuple[Row, ...] = (
    ("help", ("-h", "-?", "--help"), HELP, "", "Show this page and exit."),
    ("usage", ("--usage",), USAGE, "", "Show the form of the command in one line and exit."),
)

# A table is read by rows.
# fmt: off
GLOBALS: tuple[Row, ...] = (
    ("given_root", ("--root",), PATH, "DIR",
     "Keep the state of containers in DIR: /run/pyoci for root, else $XDG_RUNTIME_DIR/pyoci."),
    ("manager", ("--cgroup-manager",), CHOICE, "auto|systemd|cgroupfs|split|disabled",
     "Who makes cgroups. `auto` takes a plain path in cgroupsPath as cgroupfs, anything else as a scope of systemd."
     " `split` halves the one that we are in, as a service does it: no other is asked for."),
    ("manager", ("--systemd-cgroup",), SETS, "systemd", "The same as --cgroup-manager=systemd."),
    ("machine_annotation", ("--machine-annotation",), FLAG, "",
     "Let the annotation org.pyoci.machine name a machine as --machine does. It may have come with an image."),
    ("rootless", ("--rootless",), TRISTATE, "true|false|auto", "Accepted for compatibility; found out by itself."),
    ("log", ("--log",), PATH, "[file:]PATH|journald:[ID]|syslog:[ID]",
     "Send the log there. Errors are shown on standard error too."),
    ("log_format", ("--log-format",), CHOICE, "text|json", "The form of a line in the log."),
    ("log_level", ("--log-level",), CHOICE, "error|warning|debug", "The least important line that is logged."),
    ("log_level", ("--debug",), SETS, "debug", "The same as --log-level=debug; shows the traceback of a bug."),
    ("version", ("-v", "-V", "--version"), VERSION, "", "Show the version and what it was built with, and exit."),
    *HELP_ROWS,
)

CONFIG: Row = ("config", ("-f", "--config"), PATH, "FILE", "Read FILE in place of the bundle's config.json.")
PRESERVE_FDS: Row = ("preserve_fds", ("--preserve-fds",), NUMBER, "N",
                     "Leave N more file descriptors, from 3 on, open in the container.")
NO_PIVOT: Row = ("no_pivot", ("--no-pivot",), FLAG, "",
                 "Enter the root filesystem by chroot: for a host that itself runs from a ramdisk.")
NO_NEW_KEYRING: Row = ("no_new_keyring", ("--no-new-keyring",), FLAG, "",
                       "Keep the caller's session keyring in the container.")

CONSOLE_SOCKET: Row = ("console_socket", ("--console-socket",), PATH, "SOCKET",
                       "Send the terminal's file descriptor to whoever listens on SOCKET.")
PIDFD_SOCKET: Row = ("pidfd_socket", ("--pidfd-socket",), PATH, "SOCKET",
                     "Send a pidfd of the process to whoever listens on SOCKET.")

PROPERTY: Row = ("property", ("--property",), MANY, "NAME=VALUE",
                 "Set a property of the scope, as in the file of a unit: KillSignal=INT, RuntimeMaxSec=1h.")
JOURNAL: Row = ("journal", ("--journal",), CHOICE, "none|events|output|all",
                "Send to the journal what becomes of the container, what its program prints, or both.")
CREDENTIALS: tuple[Row, ...] = (
    ("credential", ("--credential",), MANY, "NAME:PATH",
     "Let it read what is in the file PATH as the credential NAME: in memory, below $CREDENTIALS_DIRECTORY."),
    ("credentials", ("--credentials",), FLAG, "",
     "The same for all credentials of the service that we are, those in our own $CREDENTIALS_DIRECTORY."),
)
MACHINE: Row = ("machine", ("--machine",), TEXT, "NAME",
                "Have machined list it as NAME, to every user of the host, which may then find its addresses by NAME.")

CREATE: tuple[Row, ...] = (
    ("bundle", ("-b", "--bundle"), PATH, "DIR", "The bundle: a directory with config.json. Default: here."),
    CONFIG,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    ("pid_file", ("--pid-file",), PATH, "FILE", "Write the process id of the container's init to FILE."),
    PRESERVE_FDS,
    ("sockets", ("--socket",), MANY, "[NAME=]ADDRESS",
     "Listen on ADDRESS and hand the socket over as a .socket unit would: path, @NAME, PORT, IP:PORT, vsock:CID:PORT."),
    NO_PIVOT,
    NO_NEW_KEYRING,
    PROPERTY,
    JOURNAL,
    MACHINE,
    *CREDENTIALS,
    ("no_subreaper", ("--no-subreaper",), FLAG, "", "Do not collect orphans of the container while waiting for it."),
)

ID: tuple[Argument, ...] = (("id", "ID", None),)
RUN, LOOK, PREPARE = "Run containers", "Look at containers", "Prepare a bundle"

# What clients call a container's life long, and what is asked for most; the other verbs are in verbs.py.
HOT: dict[str, Verb] = {verb.name: verb for verb in (
    Verb("create", RUN, "Make a container and leave it waiting for `start`.",
         "Everything of the container is set up: its scope, namespaces, mounts and limits. Its program does"
         " not run yet. Standard input, output and error become the container's.",
         "pyoci create --bundle /srv/web --pid-file /run/web.pid web", ID, CREATE),
    Verb("start", RUN, "Let a created container's program run.",
         "Returns when the program is running; nothing is printed.",
         "pyoci start web", ID, ()),
    Verb("run", RUN, "Create a container, start it and wait for its end.",
         "Signals are passed on to the container; SIGTERM as the signal that its image names in the annotation"
         " org.opencontainers.image.stopSignal. The exit status is the program's, 128 + the signal's number"
         " when a signal ended it, and 1 when the container could not be run.",
         "pyoci run --bundle /srv/web web", ID,
         (("detach", ("-d", "--detach"), FLAG, "", "Return when the program is running."),
          ("keep", ("--keep",), FLAG, "", "Do not delete the container at its end."),
          ("notify", ("--notify",), CHOICE, "container|runtime|none",
           "Who tells systemd, which waits for it, that the service is ready: the container's program, or the"
           " runtime as soon as that runs."), *CREATE)),
    Verb("exec", RUN, "Run one more program in a container.",
         "It gets the environment, user and rights of the container's own program, with the changes that options"
         " ask for, or is the process that a file describes. The exit status is the program's, 128 + the signal's"
         " number when a signal ended it, and 1 when it could not be run.",
         "pyoci exec --tty --env LANG=C web sh", (*ID, ("command", "COMMAND", REST)),
         (("process", ("-p", "--process"), PATH, "FILE",
           "Run the process that FILE describes, as `process` in config.json does; `-` is standard input."),
          ("tty", ("-t", "--tty"), SWITCH, "[=true|false]", "Give it a terminal."),
          ("detach", ("-d", "--detach"), FLAG, "", "Return when the program is running."),
          ("user", ("-u", "--user"), TEXT, "UID[:GID]", "Run as this user and group; numbers only."),
          ("additional_gids", ("-g", "--additional-gids"), MANY, "GID,…", "Add these groups."),
          ("cwd", ("--cwd",), PATH, "DIR", "Run in DIR."),
          ("env", ("-e", "--env"), MANY, "NAME=VALUE", "Set an environment variable."),
          ("cap", ("-c", "--cap"), MANY, "CAPABILITY", "Have these capabilities instead of the container's."),
          ("no_new_privs", ("--no-new-privs",), FLAG, "", "Let it gain no privileges by what it executes."),
          ("apparmor", ("--apparmor",), TEXT, "PROFILE", "Confine it by this AppArmor profile."),
          ("process_label", ("--process-label",), TEXT, "LABEL", "Run it under this SELinux label."),
          ("cgroup", ("--cgroup",), PATH, "PATH", "Put it into this cgroup below the container's own."),
          ("ignore_paused", ("--ignore-paused",), FLAG, "", "In a paused container, wait until it is resumed."),
          CONSOLE_SOCKET,
          PIDFD_SOCKET,
          ("pid_file", ("--pid-file",), PATH, "FILE", "Write the process id of the program to FILE."),
          PRESERVE_FDS,
          # podman and others write it so
          ("no_subreaper", ("--no-subreaper",), FLAG, "", "Accepted for compatibility."))),
    Verb("kill", RUN, "Send a signal to a container.",
         "SIGNAL is a name with or without SIG, or a number; SIGTERM when it is left out.",
         "pyoci kill web HUP", (*ID, ("signal", "SIGNAL", "SIGTERM")),
         (("all", ("-a", "--all"), FLAG, "", "Signal every process of the container, not just the first."),
          ("regex", ("-r", "--regex"), FLAG, "", "ID is a regular expression: signal each container it matches."))),
    Verb("delete", RUN, "Remove what is left of a container.",
         "The container must have stopped, or never have been started.",
         "pyoci delete --force web", ID,
         (("force", ("-f", "--force"), FLAG, "", "Kill it first; no error when there is no such container."),
          ("own_unit", ("--own-unit",), FLAG, "",
           "Leave it alone when it runs elsewhere than in the unit that this is called in, by ExecStopPost= say."),
          ("regex", ("-r", "--regex"), FLAG, "", "ID is a regular expression: delete each container it matches."))),
    Verb("state", LOOK, "Show the state of a container as JSON.",
         "The form is the one of the OCI runtime specification.",
         "pyoci state web", ID, ()),
    Verb("list", LOOK, "List the containers.",
         "Those below --root: other roots have other containers.",
         "pyoci list --format json", (),
         (("format", ("-f", "--format"), CHOICE, "table|json", "The form of the list."),
          ("quiet", ("-q", "--quiet"), FLAG, "", "Show ids only, one on a line."))),
)}
# fmt: on


def defaults(rows: tuple[Row, ...]) -> Values:
    """Return what the options are when none is given."""
    values: Values = {}
    for dest, _, kind, value, _ in rows:
        if kind == CHOICE:
            values[dest] = value.partition("|")[0]
        elif kind == TRISTATE:
            values[dest] = "auto"
        elif kind == NUMBER:
            values[dest] = 0
        elif kind in (FLAG, VERSION):
            values[dest] = False
        elif kind == MANY:
            values[dest] = []
        elif kind not in (SETS, HELP, USAGE):
            values[dest] = ""
    return values


def convert(kind: str, value: str, word: str) -> object:
    """Return what the option makes of `word`, or None when it is not one it takes."""
    if kind == CHOICE:
        return word if word in value.split("|") else None
    if kind == TRISTATE:
        return word if word in TRISTATES else None
    if kind == SWITCH:
        return SWITCHES.get(word)
    if kind == NUMBER:
        # int() alone takes `1_0`, ` 1` and the digits of every script
        number = int(word) if word.isascii() and word.isdigit() and len(word) < 11 else -1
        return number if 0 <= number < 1 << 31 else None
    return word if word or kind != PATH else None


def split(args: list[str], rows: tuple[Row, ...], *, permute: bool) -> tuple[Values, list[str]] | None:
    """Return the options' values and the words that are none; None when that fails, or help is asked for.

    The forms are getopt_long's, but for abbreviated long options: what is unambiguous today is not when
    the next option comes. With `permute` options may stand between and after the other words; without it
    they end at the first. Nothing is complained of here: click has the words for that.
    """
    values = defaults(rows)
    forms = {form: row for row in rows for form in row[1]}
    rest: list[str] = []
    todo = args[::-1]
    while todo:
        word = todo.pop()
        if word == "--":
            return values, rest + todo[::-1]
        if word[:1] != "-" or word == "-":
            rest.append(word)
            if permute:
                continue
            return values, rest + todo[::-1]
        long = word[1] == "-"
        name, given, word = word.partition("=") if long else (word[:2], word[2:], word[2:])
        row = forms.get(name)
        if row is None or row[2] in (HELP, USAGE):
            return None
        dest, _, kind, value, _ = row
        if kind in WORDLESS or (kind == SWITCH and (not given or not long)):
            values[dest] = value if kind == SETS else "true" if kind == SWITCH else True
            if given and (long or word[0] == "-"):
                return None
            if given:
                todo.append("-" + word)  # `-fq` is `-f -q`
            continue
        if not given:
            if kind == TRISTATE:
                word = todo.pop() if todo and todo[-1] in TRISTATES else "true"
            elif todo:
                word = todo.pop()
            else:
                return None
        got = convert(kind, value, word)
        if got is None:
            return None
        values[dest] = [*values[dest], got] if kind == MANY else got  # type: ignore[misc]
    return values, rest


def arguments(words: list[str], wanted: tuple[Argument, ...]) -> Values | None:
    """Return the arguments by name; None when there are too few or too many."""
    if len(words) > len(wanted) and wanted[-1:] and wanted[-1][2] not in (REST, EACH) or words and not wanted:
        return None
    values: Values = {}
    for index, (dest, name, default) in enumerate(wanted):
        if default == REST:
            values[dest] = words[index + 1 :] if words[index : index + 1] == ["--"] else words[index:]
        elif default == EACH:
            values[dest] = words[index:]
        elif index < len(words):
            if "|" in name and words[index] not in name.split("|"):
                return None
            values[dest] = words[index]
        elif default is None:
            return None
        else:
            values[dest] = default
    return values
