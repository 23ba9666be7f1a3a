"""Credentials in the plan: their names, how the program is told, and by which ops they come to be."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.errors import Error
from pyoci_systemd.plan import handlers, ops, plan, secrets
from pyoci_systemd.plan.words import ATTRIBUTES, CREDENTIAL_GATE
from tests.unit.plans import config, facts, names, request

PLACE = "/run/host/credentials"
READ_ONLY = sum(ATTRIBUTES[word] for word in ("ro", "nosuid", "nodev", "noexec"))


def test_what_is_given() -> None:
    assert {text: secrets.parse(text) for text in ("a:/b", "a:b", "a:/b:c", "a: ", "~ a-b_c.d:.")} == {
        "a:/b": ("a", "/b"), "a:b": ("a", "b"), "a:/b:c": ("a", "/b:c"), "a: ": ("a", " "), "~ a-b_c.d:.": ("~ a-b_c.d", "."),
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "a", ":", "a:", ":/b", "/b"])
def test_what_is_not_of_the_form(text: str) -> None:
    with pytest.raises(Error, match=r"^--credential: `.*` is not of the form `NAME:PATH`$"):
        secrets.parse(text)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a:b", "é", "a\n", "a\0", "a\x7f", "\udc80", "x" * 256])
def test_what_is_no_name(name: str) -> None:
    """systemd takes the name of a file (NAME_MAX) in printable ASCII, without the colon that ends it in a setting."""
    with pytest.raises(Error, match=r"^credential `.*`: not the name of a credential: up to 255 ") as caught:
        secrets.check_name(name)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["a", "...", "~", "with blanks ", "x" * 255, "-", "a.b_c-d@e%i"])
def test_what_is_a_name(name: str) -> None:
    assert secrets.check_name(name) == name


def test_the_program_is_told() -> None:
    """Its own variable gives way; the config that came in is left as it was."""
    given = config(process={"env": ["A=b", "CREDENTIALS_DIRECTORY=/mine", "CREDENTIALS_DIRECTORY_=c"]})
    assert secrets.announced(given)["process"]["env"] == [
        "A=b",
        "CREDENTIALS_DIRECTORY_=c",
        f"CREDENTIALS_DIRECTORY={PLACE}",
    ]
    assert given["process"]["env"][1] == "CREDENTIALS_DIRECTORY=/mine"
    bare = config()
    del bare["process"]["env"]
    assert secrets.announced(bare)["process"]["env"] == [f"CREDENTIALS_DIRECTORY={PLACE}"]
    del bare["process"]
    with pytest.raises(Error, match=r"^config\.json: process is required"):
        secrets.announced(bare)


def test_how_they_come_to_be() -> None:
    made = secrets.plan(config(process={"user": {"uid": 33, "gid": 34}}), facts(), {"key": 6, "none": 0}, 7)
    assert made == [
        ops.Filesystem("ramfs", "ramfs", PLACE, ["mode=0500"]),
        ops.NewFile(f"{PLACE}/key", 7, "key"),
        ops.Own(f"{PLACE}/key", 7, "key", 33, 34),
        ops.Written(f"{PLACE}/key", 6, CREDENTIAL_GATE),
        ops.NewFile(f"{PLACE}/none", 7, "none"),
        ops.Own(f"{PLACE}/none", 7, "none", 33, 34),
        ops.Written(f"{PLACE}/none", 0, CREDENTIAL_GATE),
        ops.Own(PLACE, 7, "", 33, 34),
        ops.Bind("ramfs", PLACE, 0, 7, 0, READ_ONLY, 0, 0, 0, 0),
    ]


@pytest.mark.parametrize("user", [[], [{"type": "user"}]])
def test_they_are_labelled(user: list[Any]) -> None:
    labelled = config(linux={"mountLabel": "u:r:t:s0:c1,c2", "namespaces": [{"type": "mount"}, *user]})
    [made, *_] = secrets.plan(labelled, facts(selinux=True), {}, 1)
    assert made == ops.Filesystem("ramfs", "ramfs", PLACE, ["mode=0500", "context=u:r:t:s0:c1,c2"])


NEW = [{"type": "mount"}, {"type": "user"}]
JOINED = [{"type": "mount"}, {"type": "user", "path": "/u"}, {"type": "network", "path": "/n"}]
MAPS = [{"containerID": 0, "hostID": 1000, "size": 1}]
USER = {"uid": 1000, "gid": 1000, "capabilities": 0}


def planned(spaces: list[Any], host: dict[str, Any], **more: Any) -> list[ops.Op]:
    maps = {"uidMappings": MAPS, "gidMappings": MAPS} if {"type": "user"} in spaces else {}
    made = config(
        linux={
            "namespaces": spaces,
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
            **maps,
        },
        **more,
    )
    return plan.make(made, facts(**host), request(credentials={"key": 1})).ops  # fmt: skip


@pytest.mark.parametrize("host", [{}, USER], ids=["root", "user"])
@pytest.mark.parametrize("spaces", [[{"type": "mount"}], NEW, JOINED], ids=["none", "new", "joined"])
def test_the_number_of_their_filesystem(spaces: list[Any], host: dict[str, Any]) -> None:
    """Each op that takes a descriptor gives it the next number, after that of the start socket."""
    listed = planned(spaces, host, mounts=[{"destination": "/data", "type": "bind", "source": "/srv"}])
    takers = [op for op in listed if isinstance(op, (ops.OpenNamespace, ops.Tree, ops.Filesystem))]
    [made] = [op for op in takers if isinstance(op, ops.Filesystem)]
    [bind] = [op for op in listed if isinstance(op, ops.Bind) and op.target == PLACE]
    numbers = {op.tree for op in listed if isinstance(op, (ops.NewFile, ops.Own))} | {bind.tree}
    assert numbers == {takers.index(made) + 1}
    assert listed.index(made) > names(listed).index("clone"), "it would belong to the runtime's user namespace"


def test_their_place_among_the_mounts() -> None:
    """After all of the config's; before the tmpfs becomes read-only on which their place is made."""
    below = [{"destination": place, "type": "tmpfs", "source": "t", "options": ["ro"]} for place in ("/run", PLACE)]
    listed = planned([{"type": "mount"}], {}, mounts=below)
    [made] = [op for op in listed if isinstance(op, ops.Filesystem)]
    [bind] = [op for op in listed if isinstance(op, ops.Bind) and op.target == PLACE]
    assert all(listed.index(op) < listed.index(made) for op in listed if isinstance(op, ops.Mount))
    [closing] = [op for op in listed if isinstance(op, ops.Remount)]
    assert closing.target == "/run", "what is mounted over is out of reach"
    assert listed.index(bind) < listed.index(closing)


def test_who_asks_for_none_has_none() -> None:
    asked = config()
    with_none = plan.make(asked, facts(), request()).ops
    assert not any(isinstance(op, (ops.Filesystem, ops.NewFile, ops.Own, ops.Written)) for op in with_none)
    assert [
        op.target for op in plan.make(asked, facts(), request(credentials={})).ops if isinstance(op, ops.Filesystem)
    ] == [PLACE]


@pytest.mark.parametrize("key", ["org.pyoci.credential.key", "org.pyoci.credentials", "org.pyoci.credential.\n"])
def test_no_annotation_names_a_file_of_the_host(key: str) -> None:
    """It may have come with the image, and would be read with the runtime's rights."""
    with pytest.raises(
        Error, match=r"^config\.json: annotations: org\.pyoci\.credential.*: an annotation may have come with the image"
    ) as caught:
        handlers.check({"a": "b", key: "/etc/shadow"})
    assert caught.value.message.isprintable()
    assert "--credential" in caught.value.hint
