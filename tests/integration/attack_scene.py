"""What the attack tests share: a place outside the container that must stay as it is, and names that change places."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

from tests.integration.conftest import Bundle

SOAK = os.environ.get("SOAK") == "1"
INTERPRETER = pathlib.Path("/usr/bin/python3")
PROOF = "the container's own"


def tries(normally: int) -> Iterator[int]:
    """Count the tries: under `make soak` as many as it asks for, and it is said how far the race has come.

    At the end of the race, or when a try hits, it is said how many there were.
    """
    wanted = int(os.environ.get("TRIES") or (10_000 if SOAK else normally))
    race = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition("::")[2].removesuffix(" (call)")
    began, number, ended = time.monotonic(), 0, "HIT at"

    def say(text: str) -> None:
        print(text, file=sys.__stderr__ if SOAK else sys.stderr, flush=True)

    try:
        for number in range(1, wanted + 1):
            if SOAK and number % 2000 == 0 and number < wanted:
                say(f"{race}: {number} …")
            yield number
        ended = "over after"
    finally:
        say(f"{race}: {ended} {number} tries, {time.monotonic() - began:.1f} s")


class Outside:
    """A directory of the host's, with things in it that nobody may change, add to or take from."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        (path / "directory/inner").mkdir(parents=True)
        (path / "file").write_text("the host's own")
        (path / "directory/marker").write_text("the host's own")
        self.before = list(self.contents())

    def contents(self) -> Iterator[tuple[object, ...]]:
        """Yield what there is: names, kinds, owners, times of change, and what is in the files."""
        for path in sorted([self.path, *self.path.rglob("*")]):
            found = path.lstat()
            data = path.read_bytes() if stat.S_ISREG(found.st_mode) else b""
            yield str(path), oct(found.st_mode), found.st_uid, found.st_gid, found.st_rdev, found.st_mtime_ns, data

    def assert_untouched(self) -> None:
        """Fail when anything changed."""
        assert list(self.contents()) == self.before


# Exchanges names until it is told to stop; says how often. An even number of times: then all is where it was.
SWAPS = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
names = [os.fsencode(name) for name in sys.argv[1:]]
pairs = [(-100, one, -100, other, 2) for one, other in zip(names[::2], names[1::2])]  # AT_FDCWD, RENAME_EXCHANGE
swaps, over = 0, []
signal.signal(signal.SIGTERM, lambda *_: over.append(True))
print("ready", flush=True)
while not over:
    for _ in range(50):
        for pair in pairs:
            if libc.renameat2(*pair):
                sys.exit(f"{pair}: {os.strerror(ctypes.get_errno())}")
    swaps += 50
print(swaps)
"""


class Swapper:
    """While it is entered, a process lets the two names of each pair change places as fast as that goes."""

    def __init__(self, *pairs: tuple[pathlib.Path, pathlib.Path]) -> None:
        self.command = [sys.executable, "-ISc", SWAPS, *(str(name) for pair in pairs for name in pair)]

    def __enter__(self) -> Swapper:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        swaps, complaint = self.process.communicate(timeout=10)
        assert not complaint, complaint
        assert int(swaps) >= 50


def lean(bundle: Bundle) -> Bundle:
    """Make the bundle fit for `--cgroup-manager=disabled`, with a root filesystem that can be written."""
    del bundle.config["linux"]["resources"]
    bundle.config["root"]["readonly"] = False
    return bundle.write()


def without_mount(bundle: Bundle, *targets: str) -> None:
    """Take mounts out of the config."""
    bundle.config["mounts"] = [entry for entry in bundle.config["mounts"] if entry["destination"] not in targets]


def replace(path: pathlib.Path, target: str | os.PathLike[str]) -> pathlib.Path:
    """Put a symlink in the place of a directory or file."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)
    return path


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Fail when the runtime did not refuse, or not in one line, or not with one of the words (if there are any)."""
    assert done.returncode != 0, done
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.isprintable() or done.stderr[:-1].isprintable(), done.stderr
    assert not words or any(word in done.stderr for word in words), done.stderr


def installed(runtime: str) -> list[pathlib.Path]:
    """Return the executables of the runtime under test, the interpreter among them."""
    init = pathlib.Path(runtime).parents[1] / "lib/pyoci/pyoci_systemd/init/pyoci-init"
    return [path for path in (INTERPRETER.resolve(), pathlib.Path(runtime), init) if path.exists()]


def checksums(runtime: str) -> dict[str, str]:
    """Return the checksum of each executable."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in installed(runtime)}


def leaking(*command: str | os.PathLike[str], source: str | os.PathLike[str], first: int, last: int) -> list[str]:
    """Return a command that runs `command` with `source` open on every descriptor from `first` to `last`."""
    script = (
        "import os, sys\n"
        "source, first, last = os.open(sys.argv[1], os.O_RDONLY), int(sys.argv[2]), int(sys.argv[3])\n"
        "for fd in range(first, last + 1):\n"
        "    if fd != source:\n"
        "        os.dup2(source, fd)\n"
        "os.set_inheritable(source, True)\n"
        "if not first <= source <= last:\n"
        "    os.close(source)\n"
        "os.execv(sys.argv[4], sys.argv[4:])\n"
    )
    words = [sys.executable, "-ISc", script, source, str(first), str(last), *command]
    return [os.fspath(word) for word in words]
