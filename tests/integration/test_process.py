"""What a program is, seen by itself and in /proc: scheduler, priorities, affinity, memory policy, limits, keys.

Seen red:
    scheduler, I/O priority, memory policy    the op left out; `nice` not handed on
    limits and priorities in user namespaces  done by the init itself
    affinity                                  `every_cpu` left out, and done without a cgroup, too
    session keyring                           the op left out
"""

from __future__ import annotations

import os
import pathlib
import resource
import subprocess
from typing import Any

import pytest

from tests.integration.attack_scene import assert_refused, lean
from tests.integration.conftest import Bundle, Run
from tests.integration.needs import HAS, SLOWER, needs
from tests.integration.program_scene import (
    OURS,
    WHERE,
    in_user_namespace,
    listed,
    on_first_cpu,
    ours,
    seen,
    two_cpus,
    with_tools,
)

POLICIES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "other": ({"policy": "SCHED_OTHER", "nice": 7}, ["SCHED_OTHER", "priority: 0", "nice 7"]),
    "negative": ({"policy": "SCHED_OTHER", "nice": -7}, ["SCHED_OTHER", "priority: 0", "nice -7"]),
    "batch": ({"policy": "SCHED_BATCH", "nice": 3}, ["SCHED_BATCH", "priority: 0", "nice 3"]),
    "idle": ({"policy": "SCHED_IDLE"}, ["SCHED_IDLE", "priority: 0", "nice 0"]),
    "fifo": ({"policy": "SCHED_FIFO", "priority": 10}, ["SCHED_FIFO", "priority: 10"]),
    "round robin, not for children": (
        {"policy": "SCHED_RR", "priority": 99, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        ["SCHED_RR|SCHED_RESET_ON_FORK", "priority: 99"],
    ),
    "deadline": (
        {
            "policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 10000000, "period": 20000000,
            "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM"],
        },
        ["SCHED_DEADLINE|SCHED_RESET_ON_FORK", "priority: 0", "parameters: 1000000/10000000/20000000"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
@pytest.mark.parametrize(("asked", "expected"), POLICIES.values(), ids=POLICIES)
def test_scheduler(
    run: Run, bundle: Bundle, container_id: str, asked: dict[str, Any], expected: list[str], user: bool
) -> None:
    if asked["policy"] == "SCHED_DEADLINE" and not OURS:
        pytest.skip("crun 1.21 resets the affinity after the policy, which is EBUSY")
    if user:
        in_user_namespace(bundle)
    with_tools(bundle).config["process"]["scheduler"] = asked
    # without RESET_ON_FORK a deadline task cannot fork: chrt looks at its parent
    lines = seen(run, bundle, container_id, "chrt -p $$; echo \"nice $(cut -d' ' -f19 /proc/$$/stat)\"")
    assert [line for line in lines if line.endswith(tuple(f" {word}" for word in expected)) or line in expected], lines
    for word in expected:
        assert any(line.endswith(word) for line in lines), (word, lines)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "period too short": ({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1024}, "Invalid argument"),
    "fifo without priority": ({"policy": "SCHED_FIFO"}, "process.scheduler.priority must be between 1 and 99"),
}


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
@pytest.mark.parametrize(("asked", "message"), REFUSED.values(), ids=REFUSED)
@ours  # in its own words
def test_scheduler_that_cannot_be(
    run: Run, bundle: Bundle, container_id: str, asked: dict[str, Any], message: str, user: bool
) -> None:
    if user:
        in_user_namespace(bundle)
    bundle.config["process"]["scheduler"] = asked
    assert_refused(run("run", "--bundle", bundle.write().path, container_id), message)


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
@pytest.mark.parametrize(("kind", "level", "said"), [
    ("RT", 2, "realtime: prio 2"), ("BE", 7, "best-effort: prio 7"), ("IDLE", 0, "idle"),
])  # fmt: skip
def test_io_priority(run: Run, bundle: Bundle, container_id: str, kind: str, level: int, said: str, user: bool) -> None:
    if user:
        in_user_namespace(bundle)
    with_tools(bundle).config["process"]["ioPriority"] = {"class": f"IOPRIO_CLASS_{kind}", "priority": level}
    assert seen(run, bundle, container_id, "/usr/bin/ionice -p $$; /usr/bin/ionice") == [said, said]


@pytest.mark.skipif(not pathlib.Path("/proc/self/numa_maps").exists(), reason="the kernel knows no memory nodes")
@pytest.mark.parametrize(("asked", "said"), [
    ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
    ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
    ({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, "interleave=relative:0"),
    ({"mode": "MPOL_PREFERRED", "nodes": "0"}, "prefer:0"),
    ({"mode": "MPOL_PREFERRED"}, "local"),
    ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, "prefer (many):0"),
    ({"mode": "MPOL_LOCAL"}, "local"),
    ({"mode": "MPOL_DEFAULT"}, "default"),
])  # fmt: skip
@ours  # crun 1.21 does not know it
def test_memory_policy(run: Run, bundle: Bundle, container_id: str, asked: dict[str, Any], said: str) -> None:
    bundle.config["linux"]["memoryPolicy"] = asked
    lines = seen(run, bundle, container_id, "cat /proc/self/numa_maps")
    # the address, the policy, and then what is mapped
    assert {line.split(" ", 1)[1].removesuffix("\n")[: len(said)] for line in lines} == {said}


@ours
def test_memory_of_a_node_that_is_not_there(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "1000-1001"}
    done = run("run", "--bundle", bundle.write().path, container_id)
    assert_refused(done, "take memory by MPOL_BIND of the nodes 1000-1001: Invalid argument")


# -- affinity


@two_cpus
@ours  # crun since 1.22
def test_affinity_of_the_caller_is_undone(runtime: str, bundle: Bundle, container_id: str) -> None:
    bundle.sh(WHERE)
    (line,) = on_first_cpu(runtime, "run", "--bundle", bundle.path, container_id)
    assert listed(line) == os.sched_getaffinity(0)


@two_cpus
def test_affinity_stays_where_no_cgroup_says_what_it_is(runtime: str, bundle: Bundle, container_id: str) -> None:
    lean(bundle).sh(WHERE)
    (line,) = on_first_cpu(runtime, "--cgroup-manager=disabled", "run", "--bundle", bundle.path, container_id)
    assert listed(line) == {min(os.sched_getaffinity(0))}


# -- limits, umask, score


LIMITS = {
    "AS": ("address space", 1 << 40, 1 << 41),
    "CORE": ("core file size", 0, 1),
    "CPU": ("cpu time", 1000, 2000),
    "DATA": ("data size", 1 << 40, 1 << 50),
    "FSIZE": ("file size", 1 << 30, 1 << 31),
    "LOCKS": ("file locks", 10, 20),
    "MEMLOCK": ("locked memory", 1 << 20, 1 << 40),
    "MSGQUEUE": ("msgqueue size", 1000, 1 << 30),
    "NICE": ("nice priority", 20, 40),
    "NOFILE": ("open files", 100, 1 << 19),
    "NPROC": ("processes", 1000, 2000000),
    "RSS": ("resident set", 1 << 30, 1 << 31),
    "RTPRIO": ("realtime priority", 10, 99),
    "RTTIME": ("realtime timeout", 1000, 2000),
    "SIGPENDING": ("pending signals", 1000, 2000000),
    "STACK": ("stack size", 1 << 23, 1 << 26),
}


CAN_RAISE = HAS["CAP_SYS_RESOURCE"]()


def inherited(name: str) -> int:
    """Return the hard limit that the machine gives."""
    hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}", 10))[1]  # the module has no RLIMIT_LOCKS
    return hard if hard != resource.RLIM_INFINITY else 1 << 63


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_every_limit(run: Run, bundle: Bundle, container_id: str, user: bool) -> None:
    """Soft and hard to the letter (PRC5); above those of the runtime as far as root of this machine may."""
    if user:
        in_user_namespace(bundle)
    asked = {}
    for name, (_, soft, hard) in LIMITS.items():
        most = hard if CAN_RAISE else min(hard, inherited(name))
        asked[name] = (min(soft, most), most)
    limits = [{"type": f"RLIMIT_{name}", "soft": soft, "hard": hard} for name, (soft, hard) in asked.items()]
    bundle.config["process"]["rlimits"] = limits
    found = {}
    for line in seen(run, bundle, container_id, "cat /proc/self/limits")[1:]:
        # Max NAME  SOFT  HARD  UNIT, in columns of 26 and 21
        found[line[4:26].strip()] = (line[26:47].strip(), line[47:68].strip())
    assert {name: found[LIMITS[name][0]] for name in asked} == {
        name: (str(soft), str(hard)) for name, (soft, hard) in asked.items()
    }


@needs("CAP_SYS_RESOURCE")
@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_limit_above_the_runtime_s(runtime: str, bundle: Bundle, container_id: str, user: bool) -> None:
    if user:
        in_user_namespace(bundle)
    bundle.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 2000, "hard": 2000}]
    bundle.sh("ulimit -Hn")
    command = ["prlimit", "--nofile=1000:1000", runtime, "run", "--bundle", str(bundle.path), container_id]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20 * SLOWER)
    assert (done.stdout, done.returncode) == ("2000\n", 0), done


@pytest.mark.parametrize(("umask", "said"), [(None, "0022"), (0o27, "0027"), (0, "0000"), (0o777, "0777")])  # F138
def test_umask(run: Run, bundle: Bundle, container_id: str, umask: int | None, said: str) -> None:
    if umask is not None:
        bundle.config["process"]["user"]["umask"] = umask
    assert seen(run, bundle, container_id, "umask") == [said]


@pytest.mark.parametrize(("asked", "said"), [(None, 300), (0, 0), (500, 500), (1000, 1000)])
@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
def test_oom_score(
    runtime: str, bundle: Bundle, container_id: str, asked: int | None, said: int, user: bool
) -> None:  # PRC8
    """Whatever a unit's OOMScoreAdjust= gave the runtime stays when nothing is asked."""
    if user:
        in_user_namespace(bundle)
    bundle.config["process"].pop("oomScoreAdj", None)
    if asked is not None:
        bundle.config["process"]["oomScoreAdj"] = asked
    bundle.sh("cat /proc/self/oom_score_adj")
    command = ["choom", "-n", "300", "--", runtime, "run", "--bundle", str(bundle.path), container_id]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20 * SLOWER)
    assert (done.stdout, done.returncode) == (f"{said}\n", 0), done


# -- personality, capabilities


@pytest.mark.parametrize(("domain", "same"), [("LINUX", True), ("LINUX32", False)])
def test_personality(run: Run, bundle: Bundle, container_id: str, domain: str, same: bool) -> None:
    bundle.config["linux"]["personality"] = {"domain": domain}
    (machine,) = seen(run, bundle, container_id, "uname -m")
    assert (machine == os.uname().machine) is same


@ours  # crun 1.21 takes an unknown name for an error (spec: PRC7)
def test_capability_that_cannot_be_had_is_a_warning(run: Run, bundle: Bundle, container_id: str) -> None:
    for names in bundle.config["process"]["capabilities"].values():
        names += ["CAP_UNHEARD_OF"]
    bundle.args("grep", "CapBnd", "/proc/self/status")
    done = run("--log-level=warning", "run", "--bundle", bundle.path, container_id, check=True)
    assert "process.capabilities.bounding: unknown capability `CAP_UNHEARD_OF`" in done.stderr
    assert done.stdout.startswith("CapBnd:")


# -- what is run


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("cwd", ["/real/deep", pytest.param("/link/deep", marks=ours)])  # crun makes none for a link
def test_working_directory_that_the_image_does_not_bring(
    run: Run, bundle: Bundle, container_id: str, readonly: bool, cwd: str
) -> None:
    bundle.config["root"]["readonly"] = readonly
    (bundle.rootfs / "link").symlink_to("/real")
    bundle.config["process"]["cwd"] = cwd
    assert seen(run, bundle, container_id, "pwd; stat -c '%a %u' .") == ["/real/deep", "755 0"]


@ours  # crun puts it into its own environment first: an entry without a name or value is lost, and the last one wins
def test_environment_is_the_config_s(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.config["process"]["env"] = ["A=1", "NOTHING", "TWO=lines\nhere", "=x", "A=2"]
    bundle.args("/bin/cat", "/proc/self/environ")
    done = run("run", "--bundle", bundle.path, container_id, check=True)
    assert done.stdout.split("\0") == ["A=1", "NOTHING", "TWO=lines\nhere", "=x", "A=2", "HOME=/root", ""]


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (65534, "/"), (4711, "/")])
def test_home(run: Run, bundle: Bundle, container_id: str, uid: int, home: str) -> None:
    bundle.config["process"]["env"] = ["PATH=/bin"]
    bundle.config["process"]["user"] = {"uid": uid, "gid": 0}
    assert seen(run, bundle, container_id, "echo $HOME") == [home]


def test_program_is_looked_for_in_the_container_s_path(run: Run, bundle: Bundle, container_id: str) -> None:
    for directory, text, mode in (
        ("a", "no", 0o644),
        ("b", "#!/bin/sh\necho b\n", 0o755),
        ("c", "#!/bin/sh\necho c\n", 0o755),
    ):
        (bundle.rootfs / directory).mkdir()
        (bundle.rootfs / directory / "tool").write_text(text)
        (bundle.rootfs / directory / "tool").chmod(mode)
    bundle.config["process"]["env"] = ["PATH=/nowhere:/a:/b:/c"]
    bundle.args("tool")
    assert run("run", "--bundle", bundle.path, container_id, check=True).stdout == "b\n"


# -- keys


@pytest.mark.parametrize("user", [False, True], ids=["", "user namespace"])
@ours  # crun names it by the id alone
def test_session_keyring(run: Run, bundle: Bundle, container_id: str, user: bool) -> None:
    if user:
        in_user_namespace(bundle)
    bundle.config["linux"]["maskedPaths"].remove("/proc/keys")
    lines = seen(run, bundle, container_id, "cat /proc/keys")
    # serial flags usage timeout permissions uid gid type description
    (keyring,) = [line.split() for line in lines if f"_ses.{container_id}:" in line]
    assert keyring[4] == "3f130000"  # nobody may search it by its name


@ours
def test_no_new_keyring(run: Run, bundle: Bundle, container_id: str) -> None:
    bundle.config["linux"]["maskedPaths"].remove("/proc/keys")
    bundle.sh("cat /proc/keys")
    done = run("run", "--no-new-keyring", "--bundle", bundle.path, container_id, check=True)
    assert container_id not in done.stdout
