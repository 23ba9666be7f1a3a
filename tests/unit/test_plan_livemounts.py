"""Mounts of a container that is there: the plans that add and remove them, and what is refused.

tests/goldens/live/*.txt: test_goldens.py says how they are written anew and what to look for.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from pyoci_systemd.errors import Error, SpecError
from pyoci_systemd.plan import livemounts, ops
from pyoci_systemd.plan.facts import Door
from pyoci_systemd.plan.words import CLONE
from pyoci_systemd.spec.load import load_mounts
from pyoci_systemd.spec.rules import check_mounts
from tests.unit.plans import config, facts
from tests.unit.test_goldens import GOLDENS

LIVE = GOLDENS / "live"
IDS: Any = [{"containerID": 0, "hostID": 100000, "size": 65536}]
USER: Any = {"namespaces": [{"type": "mount"}, {"type": "user"}], "uidMappings": IDS, "gidMappings": IDS}
ALL = sum(CLONE.values()) - CLONE["user"] - CLONE["time"]
PLAIN, NAMESPACED = Door(ALL, ""), Door(ALL | CLONE["user"], "")

TMPFS: Any = {"destination": "/t", "type": "tmpfs", "source": "mine", "options": ["size=1m", "nosuid"]}
BIND: Any = {"destination": "/t/b", "type": "bind", "source": "/srv", "options": ["rbind", "ro", "rslave"]}
RELATIVE: Any = {"destination": "b", "type": "bind", "source": "data", "options": ["bind"]}
MAPPED: Any = {"destination": "/m", "type": "bind", "source": "/srv", "options": ["bind", "idmap"]}
PROC: Any = {"destination": "/proc2", "type": "proc", "source": "proc"}

CASES: dict[str, tuple[list[Any], dict[str, Any], Door]] = {
    "volumes": ([TMPFS, BIND, RELATIVE], {}, PLAIN),
    "filesystems": ([PROC, TMPFS, {"destination": "/cg", "type": "cgroup"}], {}, PLAIN),
    "user-namespace": ([MAPPED, TMPFS, BIND], USER, NAMESPACED),
}


def added(mounts: list[Any], linux: Any = None, door: Door = PLAIN, **host: Any) -> livemounts.Addition:
    return livemounts.add(mounts, config(linux=linux), facts(**host), door, "/b", "f.json")


def said(name: str) -> str:
    """Return both plans in words, each op with the index of its mount."""
    mounts, linux, door = CASES[name]
    both = (("add", added(mounts, linux, door).steps), ("remove", livemounts.remove(mounts, door, "f.json")))
    text = ""
    for verb, steps in both:
        text += f"{verb}\n"
        for index, op in steps:
            text += f"    {f'[{index}]' if index >= 0 else '   '} {op.describe()}\n"
    return text


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    path = LIVE / f"{name}.txt"
    if os.environ.get("GOLDENS") == "write":
        path.write_text(said(name))
    assert said(name).splitlines() == path.read_text().splitlines()


def test_no_golden_is_left_over() -> None:
    assert {path.stem for path in LIVE.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_each_number_is_that_of_what_is_meant(name: str) -> None:
    """The pidfd is the first, then come the mappings, then what ops take in their order."""
    made = added(*CASES[name])
    taken = [op for _, op in made.steps if isinstance(op, (ops.Tree, ops.Filesystem))]
    first = 1 + len(made.mappings)
    targets = {first + number: op.target for number, op in enumerate(taken)}
    offered = [(op.number, op.target) for _, op in made.steps if isinstance(op, ops.Offer)]
    attached = [(op.tree, op.target) for _, op in made.steps if isinstance(op, ops.Bind)]
    assert offered == attached == [(number, targets[number]) for number, _ in attached]
    assert len(attached) == len(CASES[name][0])


def test_nothing_is_attached_before_all_can_be_taken_away() -> None:
    kinds = [type(op) for _, op in added([TMPFS, BIND]).steps]
    last_offer = max(at for at, kind in enumerate(kinds) if kind is ops.Offer)
    assert last_offer < kinds.index(ops.Bind)


def test_sources_are_the_runtimes_own_and_filesystems_the_containers() -> None:
    kinds = [type(op) for _, op in added([BIND, PROC]).steps]
    assert kinds.index(ops.Tree) < kinds.index(ops.Enter) < kinds.index(ops.Clone) < kinds.index(ops.Filesystem)


def test_no_cgroup_is_entered() -> None:
    """A paused container's would stop us, and a full one has no room."""
    assert not [op for _, op in added([TMPFS]).steps if isinstance(op, ops.OpenCgroup)]


def test_cgroups_without_a_namespace_are_read_only() -> None:
    (bind,) = [op for _, op in added([{"destination": "/cg", "type": "cgroup2"}]).steps if isinstance(op, ops.Bind)]
    assert bind.set & 1


def test_a_label_is_put_on_new_filesystems() -> None:
    made = added([TMPFS], {"namespaces": [{"type": "mount"}], "mountLabel": "a:b:c:s0"}, selinux=True)
    (filesystem,) = [op for _, op in made.steps if isinstance(op, ops.Filesystem)]
    assert "context=a:b:c:s0" in filesystem.data


@pytest.mark.parametrize("verb", ["add", "remove"])
def test_mounts_of_the_hosts_are_left_alone(verb: str) -> None:
    door = Door(ALL & ~CLONE["mount"], "")
    with pytest.raises(Error, match=r"^the container has no mount namespace of its own: its mounts are the host's$"):
        added([TMPFS], door=door) if verb == "add" else livemounts.remove([TMPFS], door, "f.json")


def test_a_user_namespace_is_entered_for_a_removal() -> None:
    for door, expected in ((PLAIN, CLONE["mount"]), (NAMESPACED, CLONE["mount"] | CLONE["user"])):
        (enter,) = [op for _, op in livemounts.remove([TMPFS], door, "f.json") if isinstance(op, ops.Enter)]
        assert enter.namespaces == expected


REFUSED = {
    "the root": ({**TMPFS, "destination": "/../."}, "mounts[1].destination: the root filesystem cannot be mounted over"),
    "no type": ({"destination": "/x"}, "mounts[1].type is required"),
    "no source": ({"destination": "/x", "type": "bind"}, "mounts[1].source is required for a bind mount"),
    "remount": ({**TMPFS, "options": ["remount", "ro"]}, "mounts[1].options: `remount` adds no mount"),
    "remount of a bind": ({**BIND, "options": ["bind", "remount"]}, "mounts[1].options: `remount` adds no mount"),
    "a link": ({**BIND, "source": "/link", "options": ["bind", "copy-symlink"]},
               "mounts[1].options: `copy-symlink` makes `/t/b` a link, and no mount"),
    "copyup": ({**BIND, "options": ["rbind", "tmpcopyup"]}, "mounts[1].options: `tmpcopyup` is for a tmpfs"),
    "idmap": ({**BIND, "options": ["idmap"]}, "mounts[1].options: `idmap` needs mappings, of the mount or of a `user` namespace"),
    "idmap=": ({**BIND, "options": ["idmap=uids=1"]}, "mounts[1].options: `idmap=uids=1`: `1` is not FIRST-FIRST-COUNT"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    mount, message = REFUSED[name]
    with pytest.raises(SpecError) as caught:
        added([TMPFS, mount], links={"/link": "/where"})
    assert caught.value.message == f"f.json: {message}"


@pytest.mark.parametrize("destination", ["/", ".", "/..", "/proc/..", "proc/.", "//", "/a/../.."])
def test_what_is_removed_is_never_the_root(destination: str) -> None:
    with pytest.raises(SpecError, match=r"f\.json: mounts\[1\]\.destination: `.*` does not end in a name"):
        livemounts.remove([TMPFS, {"destination": destination}], PLAIN, "f.json")


# -- the document

WRONG = {
    "{}": "mounts must be a list, not an empty object",
    '{"mounts": []}': "mounts must be a list, not an object",
    "null": "mounts must be a list, not null",
    '"/x"': 'mounts must be a list, not "/x"',
    "[1]": "mounts[0] must be an object, not 1",
    '[{"destination": "/x"}, {}]': "mounts[1].destination is required",
    '[{"destination": 5}]': "mounts[0].destination must be a string",
    '[{"destination": ""}]': "mounts[0].destination must be a string that is not empty",
    '[{"destination": "/x", "options": "ro"}]': 'mounts[0].options must be a list, not "ro"',
    '[{"destination": "/x", "options": [1]}]': "mounts[0].options[0] must be a string, not 1",
    '[{"destination": "/x", "uidMappings": [{"hostID": 0, "size": 1}]}]': "mounts[0].uidMappings[0].containerID is required",
    "": "line 1",
    "[": "line 1",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_document(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_mounts(text.encode(), "f.json")
    assert caught.value.message.startswith(f"f.json: {WRONG[text]}")


def test_a_document_is_what_config_json_has() -> None:
    text = json.dumps([TMPFS, {**BIND, "options": None}]).encode()
    assert load_mounts(text, "f.json") == [TMPFS, {key: BIND[key] for key in BIND if key != "options"}]
    assert load_mounts(b"[]", "f.json") == []


def test_the_rules_of_config_json_hold() -> None:
    with pytest.raises(SpecError, match=r"^f\.json: mounts\[0\]: uidMappings and gidMappings go together$"):
        check_mounts([MAPPED | {"uidMappings": IDS}], {}, "f.json")
    check_mounts([MAPPED], USER, "f.json")
