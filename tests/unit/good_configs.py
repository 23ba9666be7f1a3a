"""Configs that must pass, in the manner of the clients that write them: data for unit and integration tests."""

from __future__ import annotations

import json
from typing import Any

from pyoci_systemd.spec.defaults import default_config

SYSCALLS = (
    "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime "
    "clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3 "
    "epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit "
    "exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown "
    "fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate "
    "futex futex_wait futex_waitv getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer "
    "getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage "
    "getsid getsockname getsockopt gettid gettimeofday getuid getxattr inotify_add_watch inotify_init inotify_init1 "
    "inotify_rm_watch io_cancel io_destroy ioctl ioprio_get ioprio_set kill landlock_add_rule lchown lgetxattr link "
    "linkat listen listxattr lremovexattr lseek lstat madvise map_shadow_stack membarrier memfd_create mincore "
    "mkdir mkdirat mlock mlock2 mlockall mmap mprotect mq_open mremap msgctl msgget msync munlock munmap "
    "name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 poll "
    "ppoll prctl pread64 preadv prlimit64 pselect6 pwrite64 read readlink recvfrom recvmmsg recvmsg rename "
    "renameat2 rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_yield seccomp select semget sendfile sendmmsg "
    "sendmsg sendto set_robust_list set_tid_address setgid setgroups setitimer setpgid setpriority setresgid "
    "setresuid setrlimit setsid setsockopt setuid setxattr shmat shmctl shmdt shmget shutdown sigaltstack socket "
    "socketpair splice stat statfs statx symlink sync sysinfo tee tgkill time timer_create timerfd_create times "
    "truncate umask uname unlink unlinkat utime utimensat vfork vmsplice wait4 waitid write writev "
).split()


def copy(config: Any) -> Any:
    """Return a deep copy of a JSON value."""
    return json.loads(json.dumps(config))


def crun() -> dict[str, Any]:
    """The form of `crun spec`: an old version, ambient capabilities, an empty inheritable list."""
    config: dict[str, Any] = copy(default_config())
    capabilities = config["process"]["capabilities"]
    capabilities |= {"inheritable": [], "ambient": list(capabilities["bounding"])}
    return config | {"ociVersion": "1.0.0", "hostname": "crun"}


def runc(rootless: bool) -> dict[str, Any]:
    """The form of `runc spec`."""
    config: dict[str, Any] = copy(default_config(rootless, 1000, 1000))
    return config | {"ociVersion": "1.2.0", "hostname": "runc"}


def seccomp() -> dict[str, Any]:
    """A profile of the shape that docker and podman hand on."""
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "flags": None,
        "syscalls": [
            {"names": list(SYSCALLS), "action": "SCMP_ACT_ALLOW"},
            {"names": ["bpf", "mount", "umount2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "args": None},
            {
                "names": ["personality"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 0xFFFFFFFF, "op": "SCMP_CMP_EQ"}],
            },
            {
                "names": ["clone"],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}],
            },
        ],
    }


def podman() -> dict[str, Any]:
    """A container of podman with most of its options in use, in a pod (uts, ipc and network are joined)."""
    config: dict[str, Any] = copy(default_config())
    config["ociVersion"] = "1.2.1"
    config["hostname"] = "web"
    config["annotations"] = {
        "io.container.manager": "libpod",
        "io.podman.annotations.autoremove": "FALSE",
        "org.opencontainers.image.stopSignal": "15",
        "org.systemd.property.KillSignal": "15",
        "run.oci.mount_context_type": "rootcontext",
    }
    config["process"] |= {
        "terminal": False,
        "user": {"uid": 101, "gid": 101, "umask": 0o22, "additionalGids": [101, 65534]},
        "args": ["nginx", "-g", "daemon off;"],
        "env": ["PATH=/bin", "HOME=/", "container=podman", "HOSTNAME=web", "NOTHING", "TWO=lines\nhere"],
        "oomScoreAdj": 200,
        "apparmorProfile": "containers-default-0.57.4",
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "hard": 1048576, "soft": 1048576},
            {"type": "RLIMIT_NPROC", "hard": 2**64 - 1, "soft": 2**64 - 1},
        ],
        "consoleSize": {"height": 0, "width": 0},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "execCPUAffinity": {"initial": "0", "final": "0-3,7"},
    }
    config["process"]["capabilities"] |= {"inheritable": None, "ambient": None}
    config["mounts"] += [
        {"destination": "/etc/hosts", "type": "bind", "source": "/run/x/hosts", "options": ["bind", "rprivate"]},
        {
            "destination": "/data",
            "type": "bind",
            "source": "/srv/data",
            "options": ["rw", "rbind", "idmap"],
            "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        },
    ]
    config["hooks"] = {
        "createRuntime": [{"path": "/usr/bin/setup", "args": ["setup", "-v"], "env": ["A=b"], "timeout": 10}],
        "poststop": [{"path": "/usr/bin/true", "args": None}],
    }
    config["linux"] |= podman_linux()
    return config


def podman_linux() -> dict[str, Any]:
    """The `linux` section of `podman`."""
    return {
        "namespaces": [
            {"type": "pid"},
            {"type": "network", "path": "/run/netns/netns-1"},
            {"type": "ipc", "path": "/proc/4711/ns/ipc"},
            {"type": "uts", "path": "/proc/4711/ns/uts"},
            {"type": "mount"},
            {"type": "cgroup"},
            {"type": "user"},
            {"type": "time"},
        ],
        "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        "timeOffsets": {"monotonic": {"secs": -86400, "nanosecs": 999999999}, "boottime": {"secs": 7}},
        "sysctl": {
            "net.ipv4.ping_group_range": "0 0",
            "net/ipv4/conf/eth0.1/forwarding": "1",
            "kernel.msgmax": "65536",
        },
        "cgroupsPath": "machine.slice:libpod:0123abcd",
        "rootfsPropagation": "rslave",
        "mountLabel": "system_u:object_r:container_file_t:s0:c1,c2",
        "seccomp": seccomp(),
        "devices": [
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o20666, "uid": 0, "gid": 0},
            {"path": "/dev/queue", "type": "p"},
        ],
        "netDevices": {"eth1": {"name": "data%d"}, "eth2": {}},
        "resources": podman_resources(),
        "intelRdt": {
            "closID": "guaranteed",
            "schemata": ["L3:0=f"],
            "memBwSchema": "MB:0=50",
            "enableMonitoring": True,
        },
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]},
        "personality": {"domain": "LINUX32"},
    }


def podman_resources() -> dict[str, Any]:
    """The limits of `podman`."""
    return {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": -1, "access": "rw"},
        ],
        "memory": {"limit": 2**29, "reservation": 2**28, "swap": 2**30, "checkBeforeUpdate": True},
        "cpu": {
            "shares": 512,
            "quota": 50000,
            "period": 100000,
            "burst": 50000,
            "cpus": "0-1",
            "mems": "0",
            "idle": 0,
        },
        "pids": {"limit": 2048},
        "blockIO": {
            "weight": 500,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2**63}],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "rdma": {"mlx5_1": {"hcaHandles": 3}},
        "unified": {"memory.high": "1G", "hugetlb.2MB.max": "0", "cpu.weight.nice": "3"},
    }


def docker() -> dict[str, Any]:
    """A container of docker: empty objects where nothing is asked for."""
    config: dict[str, Any] = copy(default_config())
    config["ociVersion"] = "1.1.0+dev"
    config["hostname"] = "3f4e5a6b7c8d"
    config["domainname"] = ""
    config["process"]["consoleSize"] = {"height": 25, "width": 80}
    config["process"]["oomScoreAdj"] = 0
    config["hooks"] = {"prestart": [{"path": "/proc/1234/exe", "args": ["libnetwork-setkey"]}]}
    config["linux"] |= {
        "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"},
        "cgroupsPath": "system.slice:docker:3f4e5a6b7c8d",
        "seccomp": seccomp(),
        "resources": {
            "devices": [{"allow": False, "access": "rwm"}],
            "memory": {},
            "cpu": {"shares": 0},
            "pids": {"limit": 0},
            "blockIO": {},
        },
    }
    return config


def smallest() -> dict[str, Any]:
    """What the spec asks for and nothing more: no process (PRC1)."""
    return {"ociVersion": "1.0.0", "root": {"path": "rootfs"}}


GOOD: dict[str, dict[str, Any]] = {
    "default": copy(default_config()),
    "default, rootless": copy(default_config(rootless=True, uid=1000, gid=1000)),
    "crun": crun(),
    "runc": runc(rootless=False),
    "runc, rootless": runc(rootless=True),
    "podman": podman(),
    "docker": docker(),
    "smallest": smallest(),
    "nulls": {
        **smallest(),
        "process": None,
        "mounts": None,
        "hooks": None,
        "annotations": None,
        "linux": None,
    },
}
