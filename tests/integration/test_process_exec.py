"""What a program is that joins a container: as the container's own, or as its process file says.

Seen red: `outside` left out, the keyring, the personality; `final` taken for `initial`.
"""

from __future__ import annotations

import json
import os
import resource

import pytest

from tests.integration.attack_scene import assert_refused, lean
from tests.integration.conftest import Bundle, Run
from tests.integration.program_scene import (
    WHERE,
    in_user_namespace,
    joined,
    listed,
    on_first_cpu,
    ours,
    two_cpus,
    with_tools,
)


@pytest.fixture
def running(run: Run, bundle: Bundle, container_id: str) -> str:
    """Return the name of a container in a user namespace that sleeps, with the machine's programs."""
    in_user_namespace(with_tools(bundle)).args("sleep", "1000")
    bundle.config["linux"]["personality"] = {"domain": "LINUX32"}
    bundle.config["linux"]["maskedPaths"].remove("/proc/keys")
    run("create", "--bundle", bundle.write().path, container_id, check=True)
    run("start", container_id, check=True)
    return container_id


def test_exec_has_priorities_and_limits_of_its_own(run: Run, bundle: Bundle, running: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    more = {
        "scheduler": {"policy": "SCHED_RR", "priority": 5},
        "ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 3},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": hard}],
    }
    script = "chrt -p $$; /usr/bin/ionice -p $$; ulimit -n; ulimit -Hn"
    lines = joined(run, bundle, running, script, **more)
    assert lines[0].endswith(" SCHED_RR")
    assert lines[1].endswith(" 5")
    assert lines[2:] == ["realtime: prio 3", "77", str(hard)]


@ours  # crun's `exec` leaves the caller's keyring and personality
def test_exec_is_the_container_s_like(run: Run, bundle: Bundle, running: str) -> None:
    lines = joined(run, bundle, running, "uname -m; cat /proc/keys")
    assert lines[0] != os.uname().machine
    assert [line for line in lines if f"_ses.{running}:" in line]


@two_cpus
@ours  # crun 1.21 does not know it
def test_exec_affinity(run: Run, runtime: str, bundle: Bundle, running: str) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    assert listed(joined(run, bundle, running, WHERE)[0]) == set(cpus)
    for final in cpus:
        asked = {"initial": str(cpus[0]), "final": str(final)}
        assert listed(joined(run, bundle, running, WHERE, execCPUAffinity=asked)[0]) == {final}
    (line,) = on_first_cpu(runtime, "exec", running, "sh", "-c", WHERE)
    assert listed(line) == set(cpus)


@two_cpus
@ours
def test_exec_affinity_without_a_cgroup(run: Run, bundle: Bundle, container_id: str) -> None:
    lean(bundle).args("sleep", "1000")
    quick = "--cgroup-manager=disabled"
    run(quick, "create", "--bundle", bundle.path, container_id, check=True)
    run("start", container_id, check=True)
    second = max(os.sched_getaffinity(0))
    (line,) = joined(run, bundle, container_id, WHERE, execCPUAffinity={"initial": str(second)})
    assert listed(line) == {second}


@ours
@pytest.mark.parametrize(("member", "name"), [("apparmorProfile", "AppArmor"), ("selinuxLabel", "SELinux")])
def test_exec_label_on_a_machine_without(run: Run, bundle: Bundle, running: str, member: str, name: str) -> None:
    process = {**bundle.config["process"], "args": ["true"], member: "x"}
    done = run("exec", "--process", "-", running, input=json.dumps(process))
    assert_refused(done, f"process.{member}: {name} is not enabled on this machine")
