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
CREDENTIALS: Row = ("credentials", ("--credentials",), FLAG, "",
                    "Let it read the credentials of the service that we are, those in $CREDENTIALS_DIRECTORY.")

CREATE: tuple[Row, ...] = (
    ("bundle", ("-b", "--bundle"), PATH, "DIR", "The bundle: a directory with config.json. Default: here."),
    CONFIG,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    ("pid_file", ("--pid-file",), PATH, "FILE", "Write the process id of the container's init to FILE."),
    PRESERVE_FDS,
    ("sockets", ("--socket",), MANY, "[NAME=]ADDRESS",
     "Listen on ADDRESS and hand the socket over as a .socket unit would: a path, @NAME, PORT or IP:PORT."),
    NO_PIVOT,
    NO_NEW_KEYRING,
    PROPERTY,
    JOURNAL,
    CREDENTIALS,
    ("no_subreaper", ("--no-subreaper",), FLAG, "", "Do not collect orphans of the container while waiting for it."),
)

ID: tuple[Argument, ...] = (("id", "ID", None),)
RUN, LOOK, PREPARE = "Run containers", "Look at containers", "Prepare a bundle"

VERBS: dict[str, Verb] = {verb.name: verb for verb in (
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
    Verb("pause", RUN, "Stop all processes of a container where they are.",
         "systemd does it, so `systemctl status` says that the scope is frozen.",
         "pyoci pause web", ID, ()),
    Verb("resume", RUN, "Let a paused container run on.",
         "Nothing happens when it is not paused.",
         "pyoci resume web", ID, ()),
    Verb("update", RUN, "Change the limits of a container that lives.",
         "What is not named stays as it is. Sizes are in bytes, or end in k, m, g or t; -1 lifts a limit."
         " systemd knows the new limits too: they outlive a daemon-reload.",
         "pyoci update --memory 512m --pids-limit 100 web", ID,
         (("resources", ("-r", "--resources"), PATH, "FILE",
           "Read limits from FILE, as linux.resources of config.json has them; `-` is standard input."),
          ("memory", ("--memory",), TEXT, "SIZE", "Memory."),
          ("memory_swap", ("--memory-swap",), TEXT, "SIZE", "Memory and swap together."),
          ("memory_reservation", ("--memory-reservation",), TEXT, "SIZE", "Memory that is protected from reclaim."),
          ("cpu_share", ("--cpu-share",), TEXT, "SHARES", "Weight among others: 2 to 262144, 1024 the default."),
          ("cpu_quota", ("--cpu-quota",), TEXT, "USEC", "Time on processors in each period."),
          ("cpu_period", ("--cpu-period",), TEXT, "USEC", "Length of a period: 100000 the default."),
          ("cpu_burst", ("--cpu-burst",), TEXT, "USEC", "Time that may be saved up for later periods."),
          ("cpu_idle", ("--cpu-idle",), TEXT, "0|1", "Run only when nothing else wants to."),
          ("cpuset_cpus", ("--cpuset-cpus",), TEXT, "LIST", "Processors, such as 0-2,7."),
          ("cpuset_mems", ("--cpuset-mems",), TEXT, "LIST", "Memory nodes."),
          ("pids_limit", ("--pids-limit",), TEXT, "N", "Processes and threads."),
          ("blkio_weight", ("--blkio-weight",), TEXT, "WEIGHT", "Weight among others at disks: 10 to 1000."),
          ("property", ("--property",), MANY, "NAME=VALUE",
           "Set a property of the scope that may change while it lives: IPAddressDeny=any."),
          ("cpu_rt_period", ("--cpu-rt-period",), TEXT, "USEC", "Of cgroup v1 only: refused."),
          ("cpu_rt_runtime", ("--cpu-rt-runtime",), TEXT, "USEC", "Of cgroup v1 only: refused."),
          ("kernel_memory", ("--kernel-memory",), TEXT, "SIZE", "Of cgroup v1 only: refused."),
          ("kernel_memory_tcp", ("--kernel-memory-tcp",), TEXT, "SIZE", "Of cgroup v1 only: refused."))),
    Verb("ps", LOOK, "List the processes of a container.",
         "Their ids are the host's. Options of ps(1) may follow the ID: the table is its, of these processes.",
         "pyoci ps web -eo pid,args", (*ID, ("ps_options", "OPTION-OF-PS", REST)),
         (("format", ("-f", "--format"), CHOICE, "table|json", "The form of the list."),)),
    Verb("state", LOOK, "Show the state of a container as JSON.",
         "The form is the one of the OCI runtime specification.",
         "pyoci state web", ID, ()),
    Verb("events", LOOK, "Tell what befalls a container, as JSON, one line each.",
         "Its statistics every interval, and each time that the kernel kills one of its processes for want of memory;"
         " until it stops. The form is runc's.",
         "pyoci events --interval 1s web", ID,
         (("interval", ("--interval",), TEXT, "TIME", "Print statistics so often: 5s, 100ms, 1m30s. Default: 5s."),
          ("stats", ("--stats",), FLAG, "", "Print statistics once, and exit."),
          ("state", ("--state",), FLAG, "", "Tell, too, when the container is started, paused, resumed and stopped."))),
    Verb("stats", LOOK, "Show what containers use of processors, memory and disks.",
         "Those that are named, or all that live. On a terminal the table is shown anew until it is interrupted or no"
         " container is left; elsewhere once. PSI is the share of the last 10 s in which something waited for a"
         " processor, for memory and for a disk.",
         "pyoci stats --no-stream web", (("ids", "ID", EACH),),
         (("format", ("-f", "--format"), CHOICE, "table|json", "The form of what is shown."),
          ("interval", ("--interval",), TEXT, "TIME", "Look so often: 5s, 100ms, 1m30s. Default: 1s."),
          ("stream", ("--stream",), FLAG, "", "Show it again and again."),
          ("no_stream", ("--no-stream",), FLAG, "", "Show it once."))),
    Verb("list", LOOK, "List the containers.",
         "Those below --root: other roots have other containers.",
         "pyoci list --format json", (),
         (("format", ("-f", "--format"), CHOICE, "table|json", "The form of the list."),
          ("quiet", ("-q", "--quiet"), FLAG, "", "Show ids only, one on a line."))),
    Verb("verify", LOOK, "Compare the limits of a container with what stands.",
         "Its config, its unit and the files of its cgroups are held side by side. The exit status is 1 when"
         " something differs, as after `systemctl set-property`.",
         "pyoci verify web", ID,
         (("repair", ("--repair",), FLAG, "", "Set right what differs, by the config."),
          ("json", ("--json",), FLAG, "", "Print JSON."))),
    Verb("logs", LOOK, "Show what the journal has of a container.",
         "What its program printed into the journal, as a service or with --journal, and what became of it."
         " journalctl shows it; a container that is gone still has its entries.",
         "pyoci logs --follow web", ID,
         (("follow", ("-f", "--follow"), FLAG, "", "Go on with what comes."),
          ("lines", ("-n", "--lines"), TEXT, "N", "Show the last N entries."),
          ("since", ("--since",), TEXT, "TIME", "Begin at TIME, as journalctl understands it."),
          ("output", ("-o", "--output"), TEXT, "FORM", "The form of an entry, one of journalctl's."))),
    Verb("mounts", RUN, "Add mounts to a running container, or remove them.",
         "FILE holds a list of mounts as `mounts` in config.json does; `-` is standard input. They are added in"
         " their order, all or none. What is removed is named by `destination` alone, the last of the list first:"
         " the same FILE takes away what it added.",
         "pyoci mounts add web volume.json",
         (("action", "add|remove", None), *ID, ("file", "FILE", None)), ()),
    Verb("spec", PREPARE, "Write a config.json to begin with.",
         "It runs a shell in `rootfs`. A file that exists is left alone, unless --file names it.",
         "pyoci spec --bundle /srv/web", (),
         (("bundle", ("-b", "--bundle"), PATH, "DIR", "Write into DIR. Default: here."),
          ("file", ("-f", "--file"), PATH, "PATH", "Write to PATH, and over what is there."),
          ("rootless", ("--rootless",), FLAG, "", "For a container of a user without privileges."))),
    Verb("plan", PREPARE, "Show what would be done to run a bundle, and do nothing.",
         "One sentence for each step of the init, and each property of the scope. ID names the container the"
         " plan is for.",
         "pyoci plan /srv/web", (("bundle", "BUNDLE", "."), ("id", "ID", "")),
         (CONFIG, ("json", ("--json",), FLAG, "", "Print JSON."), PRESERVE_FDS, NO_PIVOT, NO_NEW_KEYRING, PROPERTY,
          CREDENTIALS)),
    Verb("unit", PREPARE, "Fit the service `pyoci@ID` to a container.",
         "The shipped units run the bundle /var/lib/pyoci/ID (of a user, ~/.local/share/pyoci/ID). What is asked for"
         " here and is otherwise goes into drop-ins, in place of what was asked for before; they are printed,"
         " and what to do next.",
         "pyoci unit --bundle /srv/web --socket 80 --restart always web", ID,
         (("bundle", ("-b", "--bundle"), PATH, "DIR", "The bundle that it runs."),
          ("sockets", ("--socket",), MANY, "[datagram:]ADDRESS",
           "Start at the first connection to ADDRESS: a path, @NAME, PORT or IP:PORT."),
          ("restart", ("--restart",), CHOICE, "on-failure|always|no|on-success|on-abnormal|on-abort|on-watchdog",
           "When systemd starts it again."),
          ("notify", ("--notify",), CHOICE, "runtime|container|none",
           "Who says that it is ready: the runtime when the program runs, or the program."),
          ("watchdog", ("--watchdog",), TEXT, "SECONDS",
           "Restart it when its program does not report for so long; it then says itself that it is ready."),
          ("stop_timeout", ("--stop-timeout",), TEXT, "SECONDS", "Kill it when it has not stopped by then."),
          ("load_credentials", ("--credential",), MANY, "NAME:PATH",
           "Let it read the file PATH as the credential NAME."),
          ("after", ("--after",), MANY, "UNIT", "Start it after UNIT, and stop it before."),
          ("of_user", ("--user",), FLAG, "", "Of the user's own manager."),
          ("remove", ("--remove",), FLAG, "", "Remove the drop-ins."))),
    Verb("doctor", PREPARE, "Look for what stands in the way of containers on this machine.",
         "Looks at the kernel, cgroups, the bus, systemd and, for a user without privileges, at the session, delegation"
         " and ids. Each fault comes with the command that mends it. The exit status is 1 when there is one without"
         " which no container runs.",
         "pyoci doctor", (), (("json", ("--json",), FLAG, "", "Print JSON."),)),
    Verb("features", PREPARE, "Show what this runtime supports, as JSON.",
         "The form is the one of the OCI runtime specification.",
         "pyoci features", (), ()),
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
