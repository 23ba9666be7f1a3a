"""What the test machine is made of: packages of the host, and a cached Debian tree to boot.

A tree is made by mmdebstrap, once. Its name carries a hash of what went into it, so a changed package list makes a new
tree, and it is renamed into place when it is whole, so a killed run leaves nothing that looks like a tree.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence

CACHES = os.environ.get("XDG_CACHE_HOME") or "~/.cache" if os.geteuid() else "/var/cache"
CACHE = pathlib.Path(os.environ.get("PYOCI_CACHE") or f"{CACHES}/pyoci-test").expanduser()
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

HOST_PACKAGES = """
    debian-archive-keyring gcc golang-github-opencontainers-specs-dev libc6-dev make mmdebstrap mount musl-tools
    python3-venv
""".split()

TREE_PACKAGES = """
    systemd systemd-sysv dbus dbus-user-session libpam-systemd polkitd systemd-container udev kmod
    python3 python3-click python3-dbus-next python3-hypothesis python3-jsonschema python3-prctl python3-pystemd
    python3-pytest python3-seccomp
    crun runc podman conmon netavark aardvark-dns passt slirp4netns fuse-overlayfs uidmap criu
    acl attr busybox-static ca-certificates file golang-github-opencontainers-specs-dev iproute2 iptables jq less
    libcap2-bin lighttpd make nftables procps socat strace util-linux
""".split()


def ensure_host_packages(packages: Sequence[str] = HOST_PACKAGES) -> None:
    """Install what the host lacks of them; ask apt nothing when nothing is missing."""
    missing = [package for package in packages if not installed(package)]
    if missing:
        print(f"installing on the host: {' '.join(missing)}", flush=True)
        apt("update")
        apt("install", "--yes", "--no-install-recommends", *missing)


def installed(package: str) -> bool:
    """Say whether dpkg has `package` installed."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    return subprocess.run(query, capture_output=True, text=True).stdout == "installed"


def apt(*args: str) -> None:
    """Run apt-get with nobody there to answer a question."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": PATH}
    command = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0", *args]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}")


def tree(suite: str) -> pathlib.Path:
    """Return the Debian tree of `suite`, making it when the cache has none."""
    digest = hashlib.sha256("\n".join([suite, *TREE_PACKAGES]).encode()).hexdigest()[:12]
    finished = CACHE / f"tree-{suite}-{digest}"
    if finished.is_dir():
        return finished
    ensure_host_packages()
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"lock-{suite}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs that both find no tree: one makes it, the other waits
        if not finished.is_dir():
            half = finished.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            print(f"making the {suite} tree (once; kept in `{CACHE}`)", flush=True)
            bootstrap(suite, half)
            half.rename(finished)
    return finished


def bootstrap(suite: str, directory: pathlib.Path) -> None:
    """Fill `directory` with a Debian `suite`, from the mirror the host uses."""
    environment = {**os.environ, "PATH": PATH, "SOURCE_DATE_EPOCH": "0"}
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(TREE_PACKAGES)}"]
    command += [f"--aptopt={line}" for line in host_apt_options()]
    command += ['--aptopt=Acquire::Languages "none"', "--dpkgopt=path-exclude=/usr/share/doc/*"]
    command += ["--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"]
    sources = [f"deb [signed-by={KEYRING}] {mirror()} {suite} main"] if mirror() else []
    subprocess.run([*command, suite, str(directory), *sources], env=environment, stdin=subprocess.DEVNULL, check=True)
    (directory / "etc/hostname").write_text(f"{suite}\n")


def mirror() -> str:
    """Return the archive the host's apt fetches Debian from, or "" to leave the choice to mmdebstrap."""
    query = ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"]
    for line in subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines():
        origin, label, address = line.split("|", 2)
        if (origin, label) == ("Debian", "Debian"):
            return address
    return ""


def host_apt_options() -> list[str]:
    """Return how the host's apt reaches its archive: proxies, and whether clocks are trusted."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-Date", "Acquire::Check-Valid-Until")
    return [line for line in dump if line.startswith(wanted) and not line.endswith(' "";')]


if __name__ == "__main__":
    ensure_host_packages()
    for name in sys.argv[1:]:
        print(tree(name))
