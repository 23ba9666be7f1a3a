"""`mounts add` and `mounts remove` in a container that does not want them where they belong.

Seen red:
    a magic link               the walk not confined (neither RESOLVE_IN_ROOT nor RESOLVE_NO_MAGICLINKS): it was followed
    no link at the end         FindMount without O_NOFOLLOW: what the link leads to was unmounted
    while names change         what was added taken away by its name: another mount went in its place
"""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.integration.attack_scene import Outside, Swapper, replace, tries
from tests.integration.exec_scene import OURS, box, one_line
from tests.integration.live_scene import Live, bind, live, named

__all__ = ["box", "live"]  # fixtures

pytestmark = pytest.mark.skipif(not OURS, reason="crun 1.21 and runc have no `mounts`")


@pytest.fixture
def outside(tmp_path: pathlib.Path, live: Live) -> Iterator[Outside]:
    """Return a directory of the host's; the same names exist in the root filesystem, so a link there leads somewhere."""
    result = Outside(tmp_path / "outside")
    mirror = live.box.bundle.rootfs / str(result.path)[1:]
    (mirror / "directory/inner").mkdir(parents=True)
    (mirror / "file").touch()
    yield result
    result.assert_untouched()


@pytest.mark.parametrize("up", ["", "../../../../../.."], ids=["absolute", "upwards"])
@pytest.mark.parametrize("below", ["directory", "directory/inner", "directory/new", "file"])
def test_a_link_that_points_out_of_the_root(live: Live, outside: Outside, up: str, below: str) -> None:
    replace(live.box.bundle.rootfs / "link", f"{up}{outside.path}")
    live.box.up()
    where = f"{outside.path}/{below}"
    live.add(
        bind("/etc/passwd", f"/link/{below}", "bind")
        if below == "file"
        else named("mine", destination=f"/link/{below}")
    )
    assert [line.split()[4] for line in live.lines() if line.split()[4] == where] == [where]
    live.remove(f"/link/{below}")
    assert not [line for line in live.lines() if line.split()[4] == where]


def test_no_link_at_the_end_of_what_is_removed(live: Live) -> None:
    (live.box.bundle.rootfs / "t").mkdir()
    replace(live.box.bundle.rootfs / "link", "/t")
    live.box.up()
    live.add(named("mine", destination="/link"))
    one_line(live("remove", {"destination": "/link"}), "mounts[0]: `/link` is not a mount point")
    assert live.places() == ["/t"]
    live.remove("/t")


def test_a_magic_link(live: Live, outside: Outside) -> None:
    """What the init has open must not be reached by a name: the source of a bind, the host's procfs."""
    live.box.up()
    links = [
        *(f"/proc/self/fd/{number}" for number in range(3, 16)),
        "/proc/self/cwd",
        "/proc/1/root",
        "/proc/self/root",
    ]
    for link in links:
        live.box.sh(f"ln -sfn {link} /link")
        for verb in ("add", "remove"):
            done = live(verb, bind(outside.path, "/link/new", "bind"))
            one_line(done, "mounts[0]: ", "/link/new`: ")
            assert "Too many levels of symbolic links" in done.stderr or "No such file" in done.stderr  # no such number
        outside.assert_untouched()


def test_names_that_change_places(live: Live, outside: Outside) -> None:
    """Where a name leads while it changes places is the container's affair; that it stays inside is ours."""
    rootfs = live.box.bundle.rootfs
    (rootfs / "a/inner").mkdir(parents=True)
    (rootfs / "a/file").touch()
    pair = rootfs / "a", replace(rootfs / "link", outside.path / "directory")
    (rootfs / str(outside.path)[1:] / "directory/file").touch()
    live.box.up()
    before = live.numbers()
    added = removed = 0
    mounts = [
        named("mine", destination="/a/inner"),
        bind("/etc/passwd", "/a/file", "bind"),
        named("mine", destination="/a/new/er"),
    ]
    for _ in tries(50):
        with Swapper(pair):
            done = live("add", *mounts)
            assert len(live.numbers() - before) == (0 if done.returncode else len(mounts)), done
            added += not done.returncode
            gone = live("remove", mounts[1])
            assert len(live.numbers() - before) == (0 if done.returncode else len(mounts) - (not gone.returncode)), gone
            removed += not gone.returncode
        outside.assert_untouched()
        left = [line.split()[4] for line in live.lines() if line.split()[0] not in before]
        if left:
            live.remove(*left)
        assert live.numbers() == before
    assert added > 5 and removed > 5


def test_names_that_change_places_while_one_fails(live: Live, outside: Outside) -> None:
    """What is taken away again is what was added, and nothing else that has its name by now."""
    rootfs = live.box.bundle.rootfs
    (rootfs / "a/inner").mkdir(parents=True)
    pair = rootfs / "a", replace(rootfs / "link", outside.path / "directory")
    live.box.up()
    mirror = f"{outside.path}/directory/inner"
    live.add(named("kept", destination="/a/inner"), named("kept", destination=mirror))
    before = live.numbers()
    words = set()
    with Swapper(pair):
        for _ in tries(50):
            done = live("add", named("mine", destination="/a/inner"), bind("/etc/passwd", "/a", "bind"))
            assert done.returncode == 1
            words.add(done.stderr.partition(":")[2].split(":")[0])
            assert live.numbers() == before
    assert " mounts[1]" in words


def test_a_program_that_kills_who_enters(live: Live) -> None:
    """It may have the mount or not, but all of the list or nothing of it, and nobody of ours is left."""
    live.box.up()
    before = live.numbers()
    script = 'while :; do for p in /proc/[0-9]*; do read -r n < $p/comm; [ "$n" = pyoci-init ] && kill -9 ${p#/proc/}; done; done'
    with contextlib.ExitStack() as stack:
        killer = live.box.popen("--", "sh", "-c", script, stderr=subprocess.DEVNULL)
        stack.callback(killer.wait)
        stack.callback(killer.kill)
        ends = set()
        for _ in tries(40):
            done = live("add", *(named("mine", destination=f"/m{number}") for number in range(5)))
            ends.add(done.returncode)
            if done.returncode:
                assert live.numbers() == before
            else:
                live.remove(*(f"/m{number}" for number in range(5)))
    assert ends <= {0, 1}
