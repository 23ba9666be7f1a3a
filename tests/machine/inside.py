"""Boot a machine, install what `make stage` left in build/stage, do one thing inside, end the machine.

    python3 -m tests.machine.inside SUITE test [PYTEST OPTION...]
    python3 -m tests.machine.inside SUITE shell
    python3 -m tests.machine.inside SUITE run COMMAND...     in the checkout, which is /src

SUITE is a Debian suite, or `vm` for Debian 13 in a virtual machine with a kernel of its own.
RUNTIME names another runtime than /usr/bin/pyoci to test or show, such as crun.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

from tests.machine import debian
from tests.machine.machine import Machine, MachineError, booted
from tests.machine.vm import VM

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
# The C part knows no Python version, and the host's sanitizer libraries are not in the machine; nor is another machine.
NATIVE_TESTS = [
    f"--ignore-glob=tests/{tests}*"
    for tests in ("unit/test_init", "thorough/test_init", "thorough/test_launcher", "thorough/test_shutdown")
]
BYTE_CODE = "pycache_prefix=/var/cache/pyoci-tests"


def main() -> int:
    """Boot, install, do it, end; return the exit status of what was done."""
    name, verb, *rest = sys.argv[1:]
    kind, suite = (VM, "trixie") if name == "vm" else (Machine, name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with booted(kind(f"{verb}-{name}-{os.getpid()}"), suite, [f"{CHECKOUT}:/src"]) as machine:
            command = pytest(name, rest) if verb == "test" else rest
            install(machine, suite, command)
            if verb == "shell":
                return machine.shell()
            return in_checkout(machine, *command)
    except (MachineError, subprocess.SubprocessError) as error:
        print(f"machine: {error}", file=sys.stderr)
        return 1


def install(machine: Machine, suite: str, command: list[str]) -> None:
    """Put the staged installation into the machine, byte-compiled by the Python of its tree.

    A virtual machine gets it from outside, where that is some 30 times faster; and with it the byte code of the tests
    that `command` is to run there.
    """
    if not (CHECKOUT / "build/stage").is_dir():
        return
    if isinstance(machine, VM):
        packed = ["unshare", "--mount", "--propagation", "private", "sh", "tests/machine/compiled.sh"]
        with subprocess.Popen(
            [*packed, str(debian.tree(suite)), "build/stage", *(command if BYTE_CODE in command else ())],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        ) as compiled:
            unpack = machine.command(
                ["tar", "--extract", "--warning=no-timestamp", "--no-overwrite-dir", "--directory=/"]
            )
            failed = subprocess.run(unpack, stdin=compiled.stdout, timeout=300).returncode or compiled.wait(60)
    else:
        script = "cp -a --no-preserve=ownership build/stage/. / && make --silent compile ROOT=/"
        failed = in_checkout(machine, "sh", "-c", script)
    if failed:
        raise MachineError("the installation in the machine failed")


def in_checkout(machine: Machine, *command: str) -> int:
    """Run `command` in /src, told where it is and which runtime it is about."""
    soak = {"SOAK": "1"} if os.environ.get("SOAK") == "1" else {}
    tries = {"TRIES": os.environ["TRIES"]} if os.environ.get("TRIES") else {}
    told = {
        **soak,
        **tries,
        "PYOCI_MACHINE": "vm" if isinstance(machine, VM) else "1",
        "RUNTIME": os.environ.get("RUNTIME") or "/usr/bin/pyoci",
        "PYTHONDONTWRITEBYTECODE": "1",
        "THOROUGH": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
    }
    return machine.run("sh", "-c", 'cd /src && exec "$@"', "sh", *command, env=told, timeout=86400 if soak else 1500)


def pytest(name: str, options: list[str]) -> list[str]:
    """Return the command that runs the integration tests, and the unit tests if Python is not the host's.

    Files among the options are run instead: to look for tests in all of them takes the virtual machine long.
    """
    compiled = ["-X", BYTE_CODE] if name == "vm" else []
    command = ["python3", *compiled, "-m", "pytest", "-p", "no:cacheprovider", "-rfEs", "--color=no", *options]
    if any(option.startswith("tests/") for option in options):
        return command
    command += ["tests/integration"]
    if name != "vm" and not (debian.tree(name) / f"usr/lib/python3.{sys.version_info.minor}").is_dir():
        command += ["tests/unit", "tests/thorough", *NATIVE_TESTS]
    return command


if __name__ == "__main__":
    sys.exit(main())
