"""The directory below which containers are remembered: ours, if nobody else can put another in its place."""

from __future__ import annotations

import posix

from ..errors import Error, because

STICKY = 0o1000
KIND, LINK = 0o170000, 0o120000  # S_IFMT and S_IFLNK
MOST_LINKS, ELOOP = 40, 40  # of a path, as the kernel follows them (path_resolution(7)); and what it says then


def make_root(root: str) -> None:
    """Make the state root, ours alone. A directory of someone else is refused (CVE-2019-12439). Raises Error."""
    try:
        theirs = moved_by_others(root if root[0] == "/" else f"{posix.getcwd()}/{root}")
        if not theirs:
            try:
                posix.mkdir(root, 0o700)
            except FileExistsError:
                pass
            except FileNotFoundError:
                make_root(root.rpartition("/")[0])
                posix.mkdir(root, 0o700)
        if not theirs and posix.stat(root).st_uid in (0, posix.geteuid()):
            return
    except OSError as error:
        raise because(f"cannot make the state root `{root}`", error) from None
    way = f", by way of `{theirs}`" if theirs not in ("", root) else ""
    raise Error(f"the state root `{root}` can be written by others{way}")


def moved_by_others(path: str) -> str:
    """Return what leads to `path` and belongs to others, who could put something else in its place; "" for nothing.

    From the top, so that what has been looked at stays; a link is as good as where it is and where it leads. Raises
    OSError.
    """
    trusted = (0, posix.geteuid(), posix.stat("/").st_uid)  # in a user namespace root may have no id
    place, rest, links = "", path.split("/"), 0
    while rest:
        name = rest.pop(0)
        if name in ("", "."):
            continue
        place = place.rpartition("/")[0] if name == ".." else f"{place}/{name}"
        try:
            found = posix.lstat(place or "/")
        except FileNotFoundError:
            return ""  # to be made by us, where nobody else can
        if found.st_uid not in trusted:
            return place
        if found.st_mode & KIND == LINK:
            links += 1
            if links > MOST_LINKS:
                raise OSError(ELOOP, "")
            target = posix.readlink(place)
            place = "" if target[0] == "/" else place.rpartition("/")[0]
            rest = target.split("/") + rest
        elif found.st_mode & 0o022 and not found.st_mode & STICKY:
            return place
    return ""
