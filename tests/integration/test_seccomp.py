"""Seccomp filters, as the program that they confine meets them.

Seen red:
    calls that are newer than the profile   nothing put before libseccomp's program (and by crun, which knows no newer)
    every architecture                      all of them given to libseccomp: too long for the kernel
    who and how                             no CAP_SYS_ADMIN effective after the change of user
    a filter that allows the program alone  close_range after the filter (and by crun)
    a kept program that is damaged          its checksum, its owner and its mode not looked at
"""

from __future__ import annotations

import base64
import errno
import json
import os
import pathlib
import shutil
import struct
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.conftest import Bundle, Run
from tests.integration.seccomp_scene import REFUSED, SAID, SIGSYS, filtered, rule


@pytest.fixture
def python(bundle: Bundle) -> Callable[[str], Bundle]:
    """Return what makes the container run a script with the machine's own Python."""
    for name in ("lib", "lib64"):
        (bundle.rootfs / name).symlink_to(f"usr/{name}")
    (bundle.rootfs / "usr").mkdir()
    options = ["rbind", "ro"]
    bundle.config["mounts"].append({"destination": "/usr", "type": "bind", "source": "/usr", "options": options})

    def script(text: str) -> Bundle:
        (bundle.rootfs / "script").write_text(PRELUDE + text)
        return bundle.args("/usr/bin/python3", "-ISB", "/script")

    return script


PRELUDE = """
import ctypes, errno, json, os, platform
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    return libc.syscall(number, *map(ctypes.c_long, args)) and errno.errorcode.get(ctypes.get_errno(), "OK")
"""


def printed(run: Run, bundle: Bundle, container_id: str) -> Any:
    done = run("run", "--bundle", bundle.path, container_id)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


PERSONALITY = 135
UNKNOWN = 20000


def test_every_operator(run: Run, bundle: Bundle, container_id: str, python: Any) -> None:
    """SEC1; values of 64 bits. A call whose arguments fit no rule is let through, and fails by itself."""
    rules = []
    for errnum, op in enumerate(["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"], 100):
        # kcmp(2): the first argument chooses the rule, the third is compared; without it EINVAL comes from the kernel
        compared = {"index": 3, "value": 1 << 40, "op": f"SCMP_CMP_{op}"}
        if op == "MASKED_EQ":
            compared = {"index": 3, "value": 0xF << 40, "valueTwo": 5 << 40, "op": "SCMP_CMP_MASKED_EQ"}
        chosen = {"index": 2, "value": errnum, "op": "SCMP_CMP_EQ"}
        rules.append(rule("ERRNO", "kcmp", errnoRet=errnum, args=[chosen, compared]))
    filtered(bundle, *rules)
    python("""
big = 1 << 40
def verdict(which, value):
    ctypes.set_errno(0)
    libc.syscall(*map(ctypes.c_long, (312, os.getpid(), os.getpid(), which, value, 0)))
    return ctypes.get_errno() == which
print(json.dumps([[verdict(which, value) for value in (0, big - 1, big, big + 1, 5 << 40 | 7)] for which in range(100, 107)]))
""")
    assert printed(run, bundle, container_id) == [
        [True, True, False, True, True],
        [True, True, False, False, False],
        [True, True, True, False, False],
        [False, False, True, False, False],
        [False, False, True, True, True],
        [False, False, False, True, True],
        [False, False, False, False, True],
    ]


@pytest.mark.parametrize(("default", "old", "new"), [
    ({}, "EPERM", "ENOSYS"),
    ({"defaultErrnoRet": errno.EPERM}, "EPERM", "ENOSYS"),
    ({"defaultErrnoRet": errno.EXFULL}, "EXFULL", "EXFULL"),
    ({"defaultErrnoRet": errno.ENOSYS}, "ENOSYS", "ENOSYS"),
])  # fmt: skip
def test_calls_that_are_newer_than_the_profile(
    run: Run, bundle: Bundle, container_id: str, python: Any, default: dict[str, int], old: str, new: str
) -> None:
    """A profile cannot have decided on a call that its author did not know, and programs try the newest first.

    EPERM would end them, ENOSYS sends them the way of older kernels. A profile that says another errno means it.
    """
    profile = json.loads(pathlib.Path("/usr/share/containers/seccomp.json").read_text())
    names = {name for call in profile["syscalls"] for name in call["names"] if call["action"] == "SCMP_ACT_ALLOW"}
    # a profile of the time of Linux 5.10: epoll_pwait2 (441) is its newest
    newer = {"quotactl_fd", "memfd_secret", "process_mrelease", "futex_waitv", "set_mempolicy_home_node", "cachestat"}
    newer |= {"fchmodat2", "map_shadow_stack", "futex_wake", "futex_wait", "futex_requeue", "mseal", "statmount"}
    newer |= {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "mount_setattr", "listmount"}
    newer |= {"lsm_get_self_attr", "lsm_set_self_attr", "lsm_list_modules", "syncfs_new", "setxattrat", "getxattrat"}
    newer |= {"listxattrat", "removexattrat", "personality", "ptrace", "uretprobe", "open_tree_attr"}
    filtered(bundle, rule("ALLOW", *(names - newer)), default="ERRNO", **default)
    python(f"""
print(json.dumps([call({PERSONALITY}, 0xffffffff), call(101, 99), call(442), call(500), call({UNKNOWN})]))
""")
    assert printed(run, bundle, container_id) == [old, old, new, new, new]


def test_calls_of_other_architectures_are_killed(run: Run, bundle: Bundle, container_id: str, python: Any) -> None:
    """P8. x32 and i386, each with a call that the filter allows on x86_64."""
    filtered(bundle, rule("ERRNO", "acct"))
    for way in ("libc.syscall(0x40000000 | 39)", INT80):
        python(way)
        assert run("run", "--bundle", bundle.path, container_id).returncode == 128 + SIGSYS, way
    filtered(bundle, rule("ERRNO", "acct"), architectures=["SCMP_ARCH_X86"])
    python(INT80)
    assert run("run", "--bundle", bundle.path, container_id).returncode == 0


INT80 = """
import mmap
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex("53b814000000cd805bc3"))  # push rbx; mov eax, 20 (getpid); int 0x80; pop rbx; ret
assert ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))() == os.getpid()
"""

EVERY = """X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X
    PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB""".split()


def test_every_architecture(run: Run, bundle: Bundle, container_id: str) -> None:
    """FT3: what `features` lists is accepted, all of it at once and with a profile of the usual size."""
    profile = json.loads(pathlib.Path("/usr/share/containers/seccomp.json").read_text())
    calls = [{key: call[key] for key in ("names", "action", "args") if call.get(key)} for call in profile["syscalls"]]
    filtered(bundle, *calls, default="ERRNO", architectures=[f"SCMP_ARCH_{name}" for name in EVERY]).args("true")
    assert json.loads(run("features", check=True).stdout)["linux"]["seccomp"]["archs"] == [
        f"SCMP_ARCH_{name}" for name in sorted(EVERY)
    ]
    run("run", "--bundle", bundle.path, container_id, check=True)


@pytest.mark.parametrize(("action", "wanted"), [
    ("ERRNO", 7), ("TRACE", 38), ("LOG", 0), ("ALLOW", 0),
    ("KILL", -SIGSYS), ("KILL_THREAD", -SIGSYS), ("KILL_PROCESS", -SIGSYS), ("TRAP", -SIGSYS),
])  # fmt: skip
def test_every_action(run: Run, bundle: Bundle, container_id: str, python: Any, action: str, wanted: int) -> None:
    number = {"errnoRet": 7} if action in ("ERRNO", "TRACE") else {}
    filtered(bundle, rule(action, "sched_yield", **number), default="LOG" if action == "ALLOW" else "ALLOW")
    python("""
child = os.fork()
if not child:
    os._exit(libc.syscall(24) and ctypes.get_errno())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    assert printed(run, bundle, container_id) == wanted


@pytest.mark.parametrize("flags", [
    [], ["SECCOMP_FILTER_FLAG_TSYNC"], ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
    ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
])  # fmt: skip
@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_who_and_how(
    run: Run, bundle: Bundle, container_id: str, flags: list[str], user: int, no_new_privileges: bool
) -> None:
    """The filter stands for everybody, and takes nothing from the capabilities of whom it is for."""
    bundle.config["process"]["user"] = {"uid": user, "gid": user}
    bundle.config["process"]["noNewPrivileges"] = no_new_privileges
    filtered(bundle, rule("ERRNO", "mkdir", "mkdirat", errnoRet=REFUSED), flags=flags)
    bundle.sh("mkdir /new; grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status")
    done = run("run", "--bundle", bundle.path, container_id)
    assert done.stderr == SAID
    assert done.stdout.split() == ["NoNewPrivs:", str(int(no_new_privileges)), "Seccomp:", "2"]


def test_program_that_is_brought(run: Run, bundle: Bundle, container_id: str) -> None:
    """mkdir and mkdirat fail with ENOMEDIUM; it takes the place of linux.seccomp, by which nothing would run."""
    load, unlike, like, refuse, allow = (
        (0x20, 0, 0, 0),
        (0x15, 0, 1, 83),
        (0x15, 0, 1, 258),
        (6, 0, 0, 0x5007B),
        (6, 0, 0, 0x7FFF0000),
    )
    program = b"".join(struct.pack("=HBBI", *part) for part in (load, unlike, refuse, like, refuse, allow))
    bundle.config["annotations"] = {"run.oci.seccomp_bpf_data": base64.b64encode(program).decode()}
    filtered(bundle, default="KILL_PROCESS").sh("grep Seccomp: /proc/self/status; mkdir /new")
    done = run("run", "--bundle", bundle.path, container_id)
    assert (done.stdout.split(), done.stderr) == (["Seccomp:", "2"], SAID)


def test_filter_that_allows_the_program_alone(run: Run, bundle: Bundle, container_id: str) -> None:
    """Nothing but the execve of the init is needed, whatever becomes of other calls."""
    bundle.config["process"]["noNewPrivileges"] = True
    needed = ["execve", "write", "exit_group", "brk", "mmap", "arch_prctl", "set_tid_address", "set_robust_list"]
    needed += ["rseq", "prlimit64", "readlinkat", "readlink", "getrandom", "mprotect", "getuid", "getgid", "ioctl"]
    needed += ["fstat", "newfstatat", "geteuid", "getegid", "prctl"]
    filtered(bundle, rule("ALLOW", *needed), default="KILL_PROCESS").args("echo", "there")
    assert run("run", "--bundle", bundle.path, container_id).stdout == "there\n"


# -- what is kept


def test_kept_program_that_is_damaged_or_not_ours(run: Run, bundle: Bundle, container_id: str) -> None:
    """The filter stands all the same."""
    filtered(bundle, rule("ERRNO", "mkdir", "mkdirat", errnoRet=REFUSED)).sh("mkdir /new")
    cache = pathlib.Path("/run/pyoci/.seccomp")
    shutil.rmtree(cache, ignore_errors=True)

    def assert_filtered() -> None:
        assert run("run", "--bundle", bundle.path, container_id).stderr == SAID

    assert_filtered()
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    allow = struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)
    for data in (b"", whole[:-8], whole[:32] + allow, allow):
        kept.write_bytes(data)
        assert_filtered()
        assert kept.read_bytes() == whole
    for owner, mode in ((1000, 0o600), (0, 0o666)):
        os.chown(kept, owner, owner)
        kept.chmod(mode)
        assert_filtered()
        assert (kept.stat().st_uid, kept.stat().st_mode & 0o777) == (0, 0o600)
    kept.unlink()
    kept.symlink_to("/dev/zero")
    assert_filtered()
    assert not kept.is_symlink()


def test_many_at_once(runtime: str, bundle: Bundle, container_id: str) -> None:
    """Those that meet a profile for the first time together disturb nobody."""
    filtered(bundle, rule("ERRNO", "mkdir", "mkdirat", errnoRet=REFUSED), rule("ERRNO", f"only_{container_id}"))
    bundle.sh("mkdir /new")
    command: list[str | pathlib.Path] = [runtime, "--cgroup-manager=disabled", "run", "--bundle", bundle.path]
    running = [
        subprocess.Popen([*command, f"{container_id}-{index}"], stderr=subprocess.PIPE, text=True) for index in range(6)
    ]
    assert [process.communicate(timeout=20)[1] for process in running] == [SAID] * 6
    assert not list(pathlib.Path("/run/pyoci/.seccomp").glob("*.tmp"))
