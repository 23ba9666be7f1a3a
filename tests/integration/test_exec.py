"""`exec` as its callers see it: every option, who the process becomes, and what is left when something fails.

What crun 1.21 does otherwise is skipped for it (`ours`), with the difference in a comment.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import stat
import subprocess
import time
from typing import Any

import pytest

from tests.integration.attack_scene import leaking
from tests.integration.exec_scene import OURS, Box, Wait, alive, box, cgroup, fields, freeze, one_line, ours, settled

__all__ = ["box"]

PROCESS: dict[str, Any] = {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def process_file(where: pathlib.Path, **changes: Any) -> pathlib.Path:
    """Write a process for --process."""
    path = where / "process.json"
    path.write_text(json.dumps({**PROCESS, "env": [PATH], **changes}))
    return path


# -- the environment


def environment(box: Box, *options: str) -> list[str]:
    """Return the environment of an exec, without what its shell adds: it has none."""
    done = box.exec(*options, "--", "cat", "/proc/self/environ", env={**os.environ, "CALLER": "1", "HOME": "/caller"})
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.rstrip("\0").split("\0")


def test_the_environment_is_the_containers(box: Box) -> None:
    box.config["process"]["env"] = [PATH, "A=config", "B=config"]
    box.up()
    assert sorted(environment(box, "--env", "A=option", "-e", "C=x=y", "-e", "D=")) == sorted(
        [PATH, "A=option", "B=config", "C=x=y", "D=", "HOME=/root"]
    )


@ours  # crun takes NAME alone for one of its own environment
@pytest.mark.parametrize("word", ["A", "=", "=x", ""])
def test_what_is_no_assignment_is_refused(box: Box, word: str) -> None:
    one_line(box.up().exec("--env", word, "--", "true"), "--env")


@pytest.mark.parametrize(
    ("passwd", "uid", "home"),
    [
        ("root:x:0:0:root:/root:/bin/sh\nuser:x:7:7::/u/user:/bin/sh\n", 7, "/u/user"),
        ("user:x:7:7::/one:/bin/sh\nother:x:7:7::/two:/bin/sh\n", 7, "/one"),
        ("7:x:0:0::/named:/bin/sh\n", 7, "/"),  # the name is a number
        ("user:x:07:7::/u/user:/bin/sh", 7, "/u/user"),
        ("user:x:4294967303:7::/wrapped:/bin/sh\n", 7, "/"),
        ("user:x: 7:7::/space:/bin/sh\nuser:x:+7:7::/plus:/bin/sh\nuser:x:7x:7::/rest:/bin/sh\n", 7, "/"),
        ("user:x:7\nuser:x:7:7\n\n:::::::\nuser:x:7:7::/last", 7, "/last"),
        ("user:x:7:7::relative:/bin/sh\n", 7, "/"),
        ("user:x:7:7:::/bin/sh\n", 7, "/"),
        ("x" * 100_000 + "\nuser:x:7:7::/late:/bin/sh\n", 7, "/late"),
        ("", 7, "/"),
    ],
)
@ours  # crun reads it with the C library, which takes some of these lines otherwise
def test_home_is_the_containers_passwds(box: Box, passwd: str, uid: int, home: str) -> None:
    (box.bundle.rootfs / "etc/passwd").write_text(passwd)
    box.up()
    assert f"HOME={home}" in environment(box, "--user", str(uid))
    assert "HOME=/given" in environment(box, "--user", str(uid), "--env", "HOME=/given")
    assert "HOME=" in environment(box, "--user", str(uid), "--env", "HOME=")


@pytest.mark.parametrize("trap", ["fifo", "directory", "dangling", "endless", "outside", "missing"])
def test_a_passwd_that_is_a_trap(box: Box, tmp_path: pathlib.Path, trap: str) -> None:
    passwd = box.bundle.rootfs / "etc/passwd"
    passwd.unlink()
    (tmp_path / "passwd").write_text("root:x:0:0::/of-the-host:/bin/sh\n")
    if trap == "fifo":
        if not OURS:
            pytest.skip("crun opens the FIFO and waits for ever")
        os.mkfifo(passwd)
    elif trap == "directory":
        passwd.mkdir()
    elif trap != "missing":
        targets = {
            "dangling": "/nowhere",
            "endless": "/dev/zero",
            "outside": "../../../../.." + str(tmp_path / "passwd"),
        }
        passwd.symlink_to(targets[trap])
    assert "HOME=/" in environment(box.up())


# -- who it is


@pytest.mark.parametrize(
    ("word", "who"),
    [
        ("1", "1:5"),
        ("1:2", "1:2"),
        ("0:0", "0:0"),
        ("4294967294:4294967294", "4294967294:4294967294"),
        # crun takes all of these, some as root: strtol and no look at what it left (CVE-2026-30892)
        *(
            (word, "")
            for word in ("+1", " 1", "1 ", "1_0", "１", "-1", "4294967295", "4294967296", "1:", ":1", "1:2:3")
        ),
        *((word, "") for word in ("root", "0x1", "1:+2", "1:root", "1\n", "99999999999999999999", ":", "1,2")),
    ],
)
def test_a_user_is_numbers(box: Box, word: str, who: str) -> None:
    if not OURS and (not who or word == "1"):
        pytest.skip("crun is not strict, and takes group 0 for the one that is left out")
    # CVE-2016-3697: the name of another is no number
    (box.bundle.rootfs / "etc/passwd").write_text("1:x:0:0::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n")
    box.config["process"]["user"] = {"uid": 0, "gid": 5}
    done = box.up().exec("--user", word, "--", "sh", "-c", "echo $(id -u):$(id -g)")
    if who:
        assert done.stdout == f"{who}\n", done
    else:
        one_line(done, "--user")


def test_a_user_that_is_given_has_no_groups_of_the_containers(box: Box) -> None:
    box.config["process"]["user"] = {"uid": 3, "gid": 5, "additionalGids": [10, 20]}
    box.up()
    assert box.sh("id -u; id -g; id -G").split("\n") == ["3", "5", "5 10 20", ""]
    assert box.sh("id -G", "--user", "7:8") == "8\n"


@ours  # crun has no -g
def test_groups_are_added(box: Box) -> None:
    box.config["process"]["user"] = {"uid": 3, "gid": 5, "additionalGids": [10]}
    box.up()
    assert box.sh("id -G", "-g", "20,30", "--additional-gids", "40").split() == "5 10 20 30 40".split()
    assert box.sh("id -G", "--user", "7:8", "-g", "20").split() == "8 20".split()
    for word in ("a", "", "1,", "-1", "4294967295", "1, 2"):
        one_line(box.exec("-g", word, "--", "true"), "--additional-gids")


def test_the_umask_is_the_containers(box: Box) -> None:
    box.config["process"]["user"] = {"uid": 0, "gid": 0, "umask": 0o27}
    box.up()
    assert box.sh("umask") == "0027\n"


def test_working_directory(box: Box) -> None:
    box.config["process"]["cwd"] = "/etc"
    closed = box.bundle.rootfs / "closed"
    closed.mkdir(mode=0o700)
    home = box.bundle.rootfs / "theirs"
    home.mkdir(mode=0o700)
    os.chown(home, 7, 7)
    (box.bundle.rootfs / "file").touch()
    (box.bundle.rootfs / "link").symlink_to("tmp")
    box.up()
    assert box.sh("pwd -P") == "/etc\n"
    assert box.sh("pwd -P", "--cwd", "/tmp") == "/tmp\n"
    assert box.sh("pwd -P", "--cwd", "/link/..//root") == "/root\n"
    assert box.sh("pwd -P", "--cwd", "/theirs", "--user", "7:7") == "/theirs\n"
    for where, who, why in (
        ("/absent", "0", "No such file or directory"),
        ("/file", "0", "Not a directory"),
        # crun makes the directory when it is absent, and says `Permission denied` in other words
        ("/proc/self/fd/3", "0", ""),
    ):
        if OURS or where == "/file":
            one_line(box.exec("--cwd", where, "--user", who, "--", "true"), why)
    assert not (box.bundle.rootfs / "absent").exists()


@ours  # crun takes `tmp` for `/tmp`
@pytest.mark.parametrize("where", ["tmp", ".", ""])
def test_a_working_directory_that_is_not_absolute(box: Box, where: str) -> None:
    done = box.up().exec("--cwd", where, "--", "true")
    assert done.returncode in (1, 2) and len(done.stderr.splitlines()) == 1


def test_a_working_directory_that_only_root_may_enter(box: Box) -> None:
    # as with other runtimes: the directory is tried as root too, and the program is in it without having the way there
    closed = box.bundle.rootfs / "closed"
    closed.mkdir(mode=0o700)
    box.up()
    done = box.exec("--cwd", "/closed", "--user", "8:8", "--", "sh", "-c", "ls . 2>/dev/null || echo closed")
    assert (done.returncode, done.stdout) == (0, "closed\n"), done


# -- what it may


def status(box: Box, *options: str) -> dict[str, str]:
    done = box.exec(*options, "--", "cat", "/proc/self/status")
    assert done.returncode == 0, done
    return fields(done.stdout)


def sets(seen: dict[str, str]) -> list[int]:
    """Return inheritable, permitted, effective, bounding and ambient."""
    return [int(seen[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]


CHOWN, KILL, NET_RAW = 1 << 0, 1 << 5, 1 << 13


def test_capabilities_are_those_asked_for(box: Box) -> None:
    box.config["process"]["capabilities"] = {
        "bounding": ["CAP_KILL"],
        "permitted": ["CAP_KILL"],
        "effective": ["CAP_KILL"],
    }
    box.config["process"]["noNewPrivileges"] = False
    box.up()
    assert sets(status(box)) == [0, KILL, KILL, KILL, 0]
    if not OURS:
        pytest.skip("crun makes what is asked for ambient too")  # CVE-2022-29162
    both = CHOWN | NET_RAW
    assert sets(status(box, "--cap", "CAP_CHOWN", "--cap", "net_raw")) == [0, both, both, both, 0]
    # of another user's nothing is left after the execve: it is not ambient
    assert sets(status(box, "--cap", "CAP_CHOWN", "--user", "7:7")) == [0, 0, 0, CHOWN, 0]
    one_line(box.exec("--cap", "CAP_FLY", "--", "true"), "--cap", "CAP_FLY")


@pytest.mark.parametrize("own", [False, True])
def test_no_new_privileges(box: Box, own: bool) -> None:
    box.config["process"]["noNewPrivileges"] = own
    box.up()
    assert status(box)["NoNewPrivs"] == str(int(own))
    assert status(box, "--no-new-privs")["NoNewPrivs"] == "1"


@pytest.mark.parametrize("no_new_privs", [False, True])
@pytest.mark.parametrize("by_file", [False, True])
def test_the_containers_filter_is_on_it(box: Box, tmp_path: pathlib.Path, no_new_privs: bool, by_file: bool) -> None:
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7}
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    box.config["process"]["noNewPrivileges"] = no_new_privs
    box.up()
    script = "grep ^Seccomp: /proc/self/status; mkdir /tmp/x"
    if by_file:
        path = process_file(tmp_path, args=["sh", "-c", script], noNewPrivileges=no_new_privs)
        done = box.exec("--process", path, "--")
    else:
        done = box.exec("--", "sh", "-c", script)
    assert "2" in done.stdout and "Argument list too long" in done.stderr, done


def test_limits_and_score(box: Box, tmp_path: pathlib.Path) -> None:
    box.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    box.config["process"]["oomScoreAdj"] = 300
    box.up()
    assert box.sh("ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj").split() == ["100", "200", "300"]
    limits = [{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]
    script = ["sh", "-c", "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj"]
    path = process_file(tmp_path, args=script, rlimits=limits, oomScoreAdj=500)
    assert box.exec("--process", path, "--").stdout.split() == ["50", "60", "500"]


# -- what it has open


SEEN = "for fd in $(ls /proc/$$/fd); do readlink /proc/$$/fd/$fd; done | tail -n +4"


@pytest.mark.parametrize(("options", "env", "kept"), [((), {}, 0), (("--preserve-fds", "2"), {}, 2), ((), {"LISTEN_FDS": "3"}, 0), (("--preserve-fds", "1"), {"LISTEN_FDS": "2", "LISTEN_PID": "1"}, 1)])  # fmt: skip
def test_nothing_else_is_open(box: Box, tmp_path: pathlib.Path, options: Any, env: dict[str, str], kept: int) -> None:
    if not OURS and env:
        pytest.skip("crun does not add LISTEN_FDS")
    box.up()
    command = leaking(box.runtime, "exec", *options, box.id, "sh", "-c", SEEN, source=tmp_path, first=3, last=20)
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=10, env={**os.environ, **env}
    )
    assert (done.stdout.splitlines(), done.stderr) == ([str(tmp_path)] * kept, "")


# -- the pid file


@pytest.mark.parametrize("detach", [False, True])
def test_pid_file(box: Box, tmp_path: pathlib.Path, detach: bool) -> None:
    box.up()
    path = tmp_path / "pid"
    options = ["--detach"] if detach else []
    command = ["sleep", "1000"] if detach else ["true"]
    assert box.exec(*options, "--pid-file", path, "--", *command).returncode == 0
    text = path.read_text()
    assert text.isdigit() and stat.S_IMODE(path.stat().st_mode) == 0o644 or not OURS
    if detach:
        assert cgroup(int(text)) == box.cgroup
        assert pathlib.Path(f"/proc/{text}/cmdline").read_bytes() == b"sleep\x001000\0"


def test_pid_file_that_cannot_be_written(box: Box, tmp_path: pathlib.Path) -> None:
    box.up()
    one_line(box.exec("--detach", "--pid-file", tmp_path / "absent/pid", "--", "sleep", "1000"))
    assert settled(lambda: box.processes() == [box.pid])


@ours  # crun leaves it there
def test_pid_file_of_what_could_not_be_executed(box: Box, tmp_path: pathlib.Path) -> None:
    broken = box.bundle.rootfs / "bin/broken"
    broken.write_text("neither a script nor a program")
    broken.chmod(0o755)
    box.up()
    one_line(box.exec("--pid-file", tmp_path / "pid", "--", "/bin/broken"), 'exec: "/bin/broken": exec format error')
    assert not (tmp_path / "pid").exists()
    one_line(box.exec("--pid-file", tmp_path / "pid", "--", "/bin/absent"))
    assert not list(tmp_path.glob("pid*"))


# -- the cgroup

WHERE = "while [ ! -e /tmp/go ]; do sleep 0.01; done"


@pytest.mark.parametrize("manager", ["systemd", "cgroupfs"])
def test_a_cgroup_below(box: Box, tmp_path: pathlib.Path, manager: str) -> None:
    box.up(f"--cgroup-manager={manager}")
    own = box.cgroup
    (own / "one/two").mkdir(parents=True)
    try:
        for word, place in (("one", own / "one"), ("/one/two/", own / "one/two"), ("/", own)):
            if not OURS and word != "one":
                continue
            box.exec("--detach", "--cgroup", word, "--pid-file", tmp_path / "pid", "--", "sleep", "1000", check=True)
            assert cgroup(int((tmp_path / "pid").read_text())) == place
        for word in ("absent", "../container", "..", "one/../one", "one/.."):
            one_line(box.exec("--cgroup", word, "--", "true"), *(["--cgroup"] if OURS else []))
    finally:
        box.run("delete", "--force", box.id, check=True)


@ours  # crun goes wherever the caller is
def test_a_cgroup_below_none(box: Box) -> None:
    del box.config["linux"]["resources"]
    one_line(box.up("--cgroup-manager=disabled").exec("--cgroup", "one", "--", "true"), "--cgroup")


def test_the_first_process_has_moved(box: Box, tmp_path: pathlib.Path) -> None:
    # as a systemd in a container does. Its controllers would turn away who comes to the container's own cgroup, but
    # the test machine has none
    box.up()
    pid, own = box.pid, box.cgroup
    (own / "init.scope").mkdir()
    (own / "init.scope/cgroup.procs").write_text(str(pid))
    box.exec("--detach", "--pid-file", tmp_path / "pid", "--", "sleep", "1000", check=True)
    assert cgroup(int((tmp_path / "pid").read_text())) == own / "init.scope"
    box.run("delete", "--force", box.id, check=True)
    assert not own.exists()


# -- which containers


def test_a_created_container(box: Box) -> None:
    box.make()
    assert box.sh("echo in; readlink /proc/self/ns/pid") == f"in\n{os.readlink(f'/proc/{box.pid}/ns/pid')}\n"
    assert box.state()["status"] == "created"
    box.run("start", box.id, check=True)


def test_a_stopped_container(box: Box) -> None:
    box.up()
    box.run("kill", box.id, "KILL", check=True)
    assert settled(lambda: box.state()["status"] == "stopped")
    one_line(box.exec("--", "true"), *(["container not running"] if OURS else []))


def test_an_unknown_container(box: Box) -> None:
    one_line(
        box.run("exec", "nobody-knows-it", "true"), *(["container `nobody-knows-it` does not exist"] if OURS else [])
    )


def test_a_paused_container(box: Box) -> None:
    box.up()
    directory = box.cgroup
    freeze(directory, True)
    one_line(box.exec("--", "true"), "paused")
    assert settled(lambda: box.processes() == [box.pid])
    freeze(directory, False)


@ours  # crun has no --ignore-paused
@pytest.mark.parametrize("killed", [False, True])
def test_a_paused_container_is_waited_for(box: Box, killed: bool) -> None:
    box.up()
    directory = box.cgroup
    freeze(directory, True)
    with box.popen("--ignore-paused", "--", "echo", "in", stdout=subprocess.PIPE) as waiting:
        assert settled(lambda: len(box.processes()) == 2)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.3)
        if killed:
            waiting.kill()
            waiting.wait(5)
        freeze(directory, False)
        out, _ = waiting.communicate(timeout=5)
    assert (waiting.returncode, out) == ((-9, b"") if killed else (0, b"in\n"))
    assert settled(lambda: box.processes() == [box.pid])


@pytest.mark.parametrize("manager", ["systemd", "cgroupfs", "disabled"])
@pytest.mark.parametrize("kind", ["usual", "user", "pid", "network", "few"])
def test_namespaces(box: Box, manager: str, kind: str) -> None:
    linux = box.config["linux"]
    if kind == "user":
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
        subprocess.run(["chown", "-R", "-h", "100000:200000", box.bundle.rootfs], check=True)
        for path in (box.bundle.path, *box.bundle.path.parents):
            path.chmod(0o755) if str(path).startswith("/tmp/pytest") else None
    if kind in ("pid", "network"):
        linux["namespaces"].remove({"type": kind})
        box.config["mounts"] = [entry for entry in box.config["mounts"] if entry["destination"] != "/sys"]
        box.config["mounts"] = [entry for entry in box.config["mounts"] if not entry["destination"].startswith("/sys")]
    if kind == "few":
        linux["namespaces"] = [{"type": "mount"}]
        box.config.pop("hostname")
        box.config["mounts"] = [
            m for m in box.config["mounts"] if m["destination"] not in ("/sys", "/sys/fs/cgroup", "/dev/mqueue")
        ]
    if manager == "disabled":
        del linux["resources"]
    box.up(f"--cgroup-manager={manager}")
    pid = box.pid
    names = ["user", "mnt", "pid", "net", "ipc", "uts"]
    links = box.sh(f"cd /proc/self/ns && for n in {' '.join(names)}; do readlink $n; done").split()
    assert links == [os.readlink(f"/proc/{pid}/ns/{name}") for name in names]
    assert box.sh("id -u; id -g").split() == ["0", "0"]
    if manager != "disabled":
        assert box.sh("cat /proc/self/cgroup", *[]).splitlines()[-1][3:] == (
            "/" if kind != "few" else "/" + str(box.cgroup.relative_to("/sys/fs/cgroup"))
        )
    box.run("delete", "--force", box.id, check=True)


# -- how it ends


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)])  # fmt: skip
def test_exit_codes(box: Box, script: str, code: int) -> None:
    done = box.up().exec("--", "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("absent", 'exec: "absent": stat absent: no such file or directory'),
        ("/absent", 'exec: "/absent": stat /absent: no such file or directory'),
        ("/etc/passwd/x", 'exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory'),
        ("/etc", 'exec: "/etc": permission denied'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
        ("passwd-in-path", 'exec: "passwd-in-path": permission denied'),
        ("", ""),
    ],
)
def test_what_cannot_be_executed(box: Box, command: str, message: str, detach: bool) -> None:
    (box.bundle.rootfs / "bin/passwd-in-path").touch(mode=0o644)
    box.up()
    done = box.exec(*(["--detach"] if detach else []), "--", command)
    if OURS:
        one_line(done, message)
    else:
        assert done.returncode != 0  # crun says `open executable` or `executable file not found in $PATH`
    assert settled(lambda: box.processes() == [box.pid])


# -- what it is by a file

TOO_MUCH = {"args": ["true"], "cwd": "/", "unknown": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("{", ()),
        ("[]", ()),
        ("null", ()),
        ("{}", ()),
        ('{"args": ["true"]}', ("cwd",)),
        ('{"args": [], "cwd": "/"}', ("args",)),
        ('{"args": "true", "cwd": "/"}', ("args",)),
        ('{"args": [1], "cwd": "/"}', ("args[0]",)),
        ('{"args": ["true"], "cwd": "tmp"}', ("cwd",)),
        ('{"args": ["true"], "cwd": "/", "env": "A=b"}', ("env",)),
        ('{"args": ["true"], "cwd": "/", "user": "root"}', ("user",)),
        ('{"args": ["true"], "cwd": "/", "user": {"uid": true}}', ("uid",)),
        ('{"args": ["true"], "cwd": "/", "user": {"uid": -1, "gid": 0}}', ("uid",)),
        ('{"args": ["true"], "cwd": "/", "terminal": "yes"}', ("terminal",)),
        ('{"args": ["true"], "cwd": "/", "oomScoreAdj": 5000}', ("oomScoreAdj",)),
        ('{"args": ["true\\u0000"], "cwd": "/"}', ("args[0]",)),
        ('{"args": ["true"], "cwd": "/", "cwd": "/tmp"}', ("cwd",)),
    ],
)
@pytest.mark.parametrize("stdin", [False, True])
@ours  # crun reads no standard input, and takes much for what it is not
def test_a_file_that_is_wrong(box: Box, tmp_path: pathlib.Path, text: str, words: tuple[str, ...], stdin: bool) -> None:
    path = tmp_path / "process.json"
    path.write_text(text)
    box.up()
    done = box.exec("--process", "-", "--", input=text) if stdin else box.exec("--process", path, "--")
    one_line(done, *words) if "\n" not in done.stderr[:-1] else None
    assert (done.returncode, done.stdout) == (1, "")
    assert ("standard input" if stdin else str(path)) in done.stderr, done.stderr


@ours
def test_a_file_by_standard_input(box: Box) -> None:
    text = json.dumps({**PROCESS, "args": ["sh", "-c", "pwd; id -u; echo $A; cat"], "cwd": "/tmp", "env": [PATH, "A=b"], "user": {"uid": 7, "gid": 8}})  # fmt: skip
    done = box.up().exec("--process", "-", "--", input=text)
    assert (done.stdout.split(), done.returncode) == (["/tmp", "7", "b"], 0), done


def test_a_file_is_all_there_is(box: Box, tmp_path: pathlib.Path) -> None:
    box.config["process"]["env"].append("OWN=1")
    box.up()
    path = process_file(tmp_path, args=["cat", "/proc/self/environ"], env=[PATH, "HOME=/h"])
    assert sorted(box.exec("--process", path, "--").stdout.rstrip("\0").split("\0")) == ["HOME=/h", PATH]


@ours
def test_nothing_to_run(box: Box, tmp_path: pathlib.Path) -> None:
    box.up()
    one_line(box.exec("--"), "nothing to run")
    one_line(box.exec("--process", process_file(tmp_path), "--", "true"), "--process")
    one_line(box.exec("--process", tmp_path / "absent", "--"), "No such file or directory")


# -- many at a time, and those that are killed


def test_many_at_a_time(box: Box) -> None:
    box.up()
    many = [box.popen("--", "sh", "-c", f"cat; exit {n}", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for n in range(20)]  # fmt: skip
    for number, one in enumerate(many):
        out, _ = one.communicate(f"{number}\n".encode(), timeout=20)
        assert (one.returncode, out) == (number, f"{number}\n".encode())
    assert settled(lambda: box.processes() == [box.pid])


@pytest.mark.parametrize("delay", [0, 0.01, 0.02, 0.03, 0.05])
def test_the_container_dies_meanwhile(box: Box, delay: float) -> None:
    box.up()
    many = [box.popen("--", "sleep", "1000", stderr=subprocess.PIPE) for _ in range(4)]
    time.sleep(delay)
    box.run("delete", "--force", box.id, check=True)
    for one in many:
        _, said = one.communicate(timeout=10)
        assert one.returncode in (1, 137), said
        assert (len(said.splitlines()) == 1) == (one.returncode == 1) and b"internal" not in said, said


@ours  # strace counts our calls
@pytest.mark.parametrize("at", range(0, 100, 4))
def test_killed_at_any_moment(box: Box, tmp_path: pathlib.Path, at: int) -> None:
    box.up()
    pid, log = box.pid, tmp_path / "strace"
    command = ["strace", "-qq", "-o", str(log), box.runtime, "exec", "--detach", "--pid-file", str(tmp_path / "pid"), box.id, "sleep", "1000"]  # fmt: skip
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=20)
    calls = [line.partition("(")[0] for line in log.read_text().splitlines() if "(" in line]
    begun = next(i for i, call in enumerate(calls) if call in ("socketpair", "pidfd_open"))
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    (tmp_path / "pid").unlink()
    assert settled(lambda: box.processes() == [pid])
    chosen = begun + (len(calls) - begun) * at // 100
    name, nth = calls[chosen], calls[: chosen + 1].count(calls[chosen])
    command[1:1] = ["-e", f"inject={name}:signal=KILL:when={nth}"]
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=20)
    # either all of it is there, with its pid file, or nothing
    committed = settled((tmp_path / "pid").exists, 0.2)
    left = [pid, int((tmp_path / "pid").read_text())] if committed else [pid]
    assert settled(lambda: box.processes() in ([pid], left)), (name, nth, left, box.processes())
    if not committed:
        assert box.processes() == [pid]


# -- the foreground


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1", "WINCH", "RTMIN+3"])
def test_signals_are_passed_on(box: Box, name: str) -> None:
    box.up()
    word = "34" if name == "RTMIN+3" else name
    number = signal.SIGRTMIN if name == "RTMIN+3" else getattr(signal, f"SIG{name}")
    script = f"trap 'echo got; exit 9' {word}; echo ready; while :; do sleep 0.02; done"
    with box.popen("--", "sh", "-c", script, stdout=subprocess.PIPE) as inside:
        assert inside.stdout
        assert inside.stdout.readline() == b"ready\n"
        inside.send_signal(number)
        out, _ = inside.communicate(timeout=10)
    assert (inside.returncode, out) == (9, b"got\n")


def test_input_and_output(box: Box) -> None:
    box.up()
    data = os.urandom(1 << 20)
    with box.popen("--", "sh", "-c", "cat; cat /proc/self/status >&2", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as inside:  # fmt: skip
        out, err = inside.communicate(data, timeout=20)
    assert (inside.returncode, out == data, err.startswith(b"Name:\tcat")) == (0, True, True)


def test_a_reader_that_leaves(box: Box) -> None:
    box.up()
    with box.popen("--", "yes", stdout=subprocess.PIPE) as inside:
        assert inside.stdout
        assert inside.stdout.read(2) == b"y\n"
        inside.stdout.close()
        assert inside.wait(10) in (1, 128 + signal.SIGPIPE)


def test_detached(box: Box) -> None:
    box.up()
    script = "echo early; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo late; cat"
    with box.popen("--detach", "--", "sh", "-c", script, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as inside:
        assert inside.wait(10) == 0
        assert inside.stdout and inside.stdin
        assert inside.stdout.readline() == b"early\n"
        assert len(box.processes()) > 1
        (box.bundle.rootfs / "tmp/go").touch()
        assert inside.stdout.readline() == b"late\n"
        inside.stdin.write(b"more")
        inside.stdin.close()
        inside.stdin = None
        assert inside.stdout.read() == b"more"
    assert settled(lambda: box.processes() == [box.pid])


@ours
def test_a_helper_that_stays_holds_nothing(box: Box, wait_until: Wait) -> None:
    # its orphan goes on: the exec ends with its own process all the same
    box.up()
    done = box.exec("--", "sh", "-c", "sleep 1000 >/dev/null 2>&1 </dev/null & echo $!")
    assert done.returncode == 0
    assert len(box.processes()) == 2 and all(map(alive, box.processes()))
