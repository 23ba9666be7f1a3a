"""`pyoci ps`: the processes of a container."""

from __future__ import annotations

import sys

from ..errors import Error, because
from ..jsonio import dumps
from . import identity, members
from .store import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Options, Settings

FORMS = ("table", "json")


def main(settings: Settings, options: Options) -> int:
    """Print the process ids of the host, or what ps(1) says of them. Returns the exit status; raises Error."""
    container = Container(settings.root, identity.check(options.id))
    if container.status() not in ("created", "running", "paused"):
        raise Error(f"cannot list the processes of `{container.id}`: container not running")
    form, asked = options.format, options.ps_options
    word = " ".join(asked).removeprefix("--format").removeprefix("-f").lstrip("= ")
    if word in FORMS:
        form, asked = word, []  # crun takes its option here, too, and ps(1) knows no such words
    if asked and form == "json":
        raise Error("ps: options of ps(1) have no effect on `--format json`", status=2)
    try:
        pids = members.pids(container.known)
    except OSError as error:
        raise because(f"cannot list the processes of `{container.id}`", error) from None
    if asked:
        sys.stdout.write("\n".join(chosen(said(asked), pids)) + "\n")
    elif form == "json":
        sys.stdout.write(dumps(sorted(pids), 2) + "\n")
    else:
        sys.stdout.write("PID\n" + "".join(f"{pid}\n" for pid in sorted(pids)))
    return 0


def said(asked: list[str]) -> list[str]:
    """Return the lines of ps(1). Raises Error."""
    import os
    import subprocess

    try:
        # wide: a table that is cut to the width of a terminal may lose what we look for
        done = subprocess.run(["ps", *asked], capture_output=True, env={**os.environ, "LC_ALL": "C", "COLUMNS": "4096"})
    except OSError as error:
        raise because("cannot run `ps`", error) from None
    if done.returncode:
        complaint = done.stderr.decode("utf-8", "replace").strip().split("\n")[0].removeprefix("error: ")
        raise Error(f"ps: {complaint or 'it found nothing'}")
    return done.stdout.decode("utf-8", "surrogateescape").splitlines()


def chosen(lines: list[str], pids: set[int]) -> list[str]:
    """Return the header and the lines of these processes. Raises Error for a table without the column PID."""
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise Error("ps: no column `PID` in what these options show", hint="add `-o pid`")
    column = titles.index("PID")

    def ours(line: str) -> bool:
        cells = line.split()
        return len(cells) > column and cells[column].isdigit() and int(cells[column]) in pids

    return [lines[0], *(line for line in lines[1:] if ours(line))]
