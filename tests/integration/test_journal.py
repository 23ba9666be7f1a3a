"""What the journal has of a container: entries of what becomes of it, what its program prints, and the log."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any

import pytest

from tests.integration.conftest import CRUN, Container, Run

ours = pytest.mark.skipif(CRUN, reason="crun tells the journal nothing of this")
CATALOG = pathlib.Path("/usr/lib/systemd/catalog/pyoci.catalog")


def journal(*matches: str) -> list[dict[str, Any]]:
    """Return the entries of this boot that match, all their fields."""
    subprocess.run(["journalctl", "--sync"], check=True, timeout=10)
    command = ["journalctl", "--boot", "--output=json", "--all", *matches]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return [json.loads(line) for line in done.stdout.splitlines()]


def lines(run: Run, name: str, *options: str) -> list[str]:
    """Return what `pyoci logs` shows of a container, messages alone."""
    subprocess.run(["journalctl", "--sync"], check=True, timeout=10)
    return run("logs", "--output=cat", *options, name, check=True).stdout.splitlines()


@ours
def test_what_becomes_of_it(container: Container) -> None:
    name, scope = container.name, f"pyoci-{container.name}.scope"
    container.create("exit 0", "--journal=events")
    container.start()
    container.delete()
    entries = journal(f"CONTAINER_ID={name}")
    assert [entry["CONTAINER_EVENT"] for entry in entries] == ["created", "started", "deleted"]
    for entry in entries:
        assert entry["CONTAINER_NAME"] == name
        assert entry["CONTAINER_BUNDLE"] == str(container.bundle.path)
        assert entry["MESSAGE"] == f"container `{name}` {entry['CONTAINER_EVENT']}"
    # as an administrator asks for them
    of_unit = subprocess.run(["journalctl", "--boot", f"--unit={scope}"], capture_output=True, text=True, timeout=10)
    assert f"container `{name}` deleted" in of_unit.stdout


@ours
@pytest.mark.parametrize(("script", "status", "code", "told"), [
    ("exit 0", 0, "exited", "0"),
    ("exit 3", 3, "exited", "3"),
    ("kill -KILL 1; exit 7", 7, "exited", "7"),  # the first process of a pid namespace is immune
])  # fmt: skip
def test_how_it_died(container: Container, script: str, status: int, code: str, told: str) -> None:
    container.bundle.sh(script)
    done = container.run("run", "--journal=events", "--bundle", container.bundle.path, container.name)
    assert done.returncode == status
    [entry] = journal(f"CONTAINER_ID={container.name}", "CONTAINER_EVENT=died")
    assert (entry["EXIT_CODE"], entry["EXIT_STATUS"]) == (code, told)


@ours
def test_nobody_asked(container: Container) -> None:
    assert container.says("echo hello") == "hello"
    assert journal(f"CONTAINER_ID={container.name}") == []


@ours
def test_catalog(container: Container) -> None:
    container.says("exit 0", "--journal=events")
    subprocess.run(["journalctl", "--update-catalog"], check=True, timeout=30)
    command = ["journalctl", "--boot", "--catalog", f"CONTAINER_ID={container.name}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    assert f"Subject: Container {container.name} has been created" in shown
    assert f"Nothing is left of the container {container.name}." in shown


@ours
@pytest.mark.parametrize("how", ["run --detach", "create"])
def test_what_it_prints(container: Container, run: Run, how: str) -> None:
    """Each stream with its own priority, and each line under the unit of who wrote it.

    A container chooses no priority: what it calls an emergency would be on every terminal.
    """
    name, scope = container.name, f"pyoci-{container.name}.scope"
    container.bundle.sh("echo hello; echo oops >&2; echo '<0>careful'")
    done = run(*how.split(), "--journal=output", "--bundle", container.bundle.path, name, check=True)
    if how == "create":
        container.start()
    run("delete", "--force", name)
    assert done.stdout + done.stderr == ""
    entries = journal(f"SYSLOG_IDENTIFIER={name}")
    assert sorted((entry["MESSAGE"], entry["PRIORITY"]) for entry in entries) == [
        ("<0>careful", "6"), ("hello", "6"), ("oops", "3")
    ]  # fmt: skip
    assert {entry["_SYSTEMD_UNIT"] for entry in entries} == {scope}
    assert sorted(lines(run, name)) == ["<0>careful", "hello", "oops"]
    assert lines(run, name, "--lines=1") == lines(run, name)[-1:]


@ours
def test_by_pipes_where_we_stay(container: Container, run: Run) -> None:
    """Then /dev/stdout can be opened, as the logs of many images are; and nothing is lost at the end."""
    container.bundle.sh("echo opened >/dev/stdout; echo oops >/dev/stderr; seq 1 5000")
    starter = ["systemd-run", "--quiet", "--wait", "--collect", "--property=Delegate=yes"]
    command = ["pyoci", "--cgroup-manager=split", "run", "--journal=output", "--bundle", str(container.bundle.path)]
    subprocess.run([*starter, *command, container.name], check=True, timeout=30)
    entries = journal(f"SYSLOG_IDENTIFIER={container.name}")
    assert {("opened", "6"), ("oops", "3")} <= {(entry["MESSAGE"], entry["PRIORITY"]) for entry in entries}
    told = [entry["MESSAGE"] for entry in entries if entry["PRIORITY"] == "6"]
    assert told == ["opened", *map(str, range(1, 5001))]


@ours
def test_a_terminal_has_its_own_output(container: Container) -> None:
    container.config["process"]["terminal"] = True
    container.bundle.write()
    done = container.run("run", "--journal=output", "--bundle", container.bundle.path, container.name)
    assert (done.returncode, done.stderr) == (
        1, "pyoci: process.terminal is true: what it prints is for a terminal, not for the journal\n"
    )  # fmt: skip


@pytest.mark.parametrize(("target", "fields"), [
    ("journald:mine", {"ID": "mine"}),
    ("syslog:mine", {"SYSLOG_IDENTIFIER": "mine"}),
])  # fmt: skip
def test_the_log_names_what_was_asked_for(run: Run, container_id: str, target: str, fields: dict[str, str]) -> None:
    """F003, F004; crun takes the container's id for the former, whatever is asked (D15)."""
    assert run(f"--log={target}-{container_id}", "start", container_id).returncode == 1
    matches = [f"{field}={value}-{container_id}" for field, value in fields.items()]
    if CRUN and "ID" in fields:
        pytest.skip("D15")
    assert any("does not exist" in entry["MESSAGE"] or CRUN for entry in journal(*matches))
