"""Whom systemd-machined is to list, and as what: names, ids, and who may say it."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import plan
from pyoci_systemd.plan.machine import Machine, is_name, machine_id
from tests.unit.plans import config, facts, request

ANNOTATION = "org.pyoci.machine"
LONG = "x" * 64


def listed(annotation: str | None = None, manager: str = "systemd", **asked: Any) -> Machine | None:
    notes = {} if annotation is None else {ANNOTATION: annotation}
    return plan.listed(config(annotations=notes), request(**asked), manager)


def refusal(*args: Any, **asked: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        listed(*args, **asked)
    return caught.value


def test_names() -> None:
    """The integration test of this name asks machined itself about more of them."""
    good = ["web", "Web", "1", "a.b", "a-b", "a--b", "a.b-c.d", LONG, "localhost"]
    bad = [
        "",
        "-",
        ".",
        "-a",
        "a-",
        "a.",
        ".a",
        ".host",
        "a..b",
        "a-.b",
        "a.-b",
        "a_b",
        "a b",
        "a\n",
        "a/b",
        "ä",
        "²",
        f"{LONG}x",
    ]
    assert {name: is_name(name) for name in good + bad} == {**dict.fromkeys(good, True), **dict.fromkeys(bad, False)}


@pytest.mark.parametrize(("annotation", "asked", "name"), [
    (None, {}, None),
    ("", {}, None),
    (None, {"machine": "web"}, "web"),
    ("image", {"machine": "web"}, "web"),  # whoever types it decides
    ("a_b", {"machine": "web"}, "web"),
    ("image", {"machine_annotation": True}, "image"),
    (None, {"machine_annotation": True}, None),
    ("image", {"machine": "web", "machine_annotation": True}, "web"),
])  # fmt: skip
def test_who_decides(annotation: str | None, asked: dict[str, Any], name: str | None) -> None:
    found = listed(annotation, **asked)
    assert (found.name if found else None) == name


def test_an_annotation_alone_is_refused() -> None:
    """CVE-2016-6349: nobody is shown to all users of the host because an image says so."""
    refused = refusal("web")
    where = f"config.json: annotations: {ANNOTATION}"
    assert refused.message == f"{where}: it must not be set by an annotation, only by `--machine`"
    assert "--machine-annotation" in refused.hint
    assert refusal("a_b", machine_annotation=True).message.startswith(f'{where}: "a_b" is not the name of a machine')


@pytest.mark.parametrize("name", ["a.b", "deb.example.org", "localhost", "LocalHost"])
def test_an_image_takes_the_name_of_no_other_host(name: str) -> None:
    """With nss-mymachines it would have what is sent there."""
    assert "may be the name of another host" in refusal(name, machine_annotation=True).message
    found = listed(machine=name)
    assert found and found.name == name


def test_what_is_no_name_stays_on_its_line() -> None:
    message = refusal(machine="a\nb" * 40).message
    assert message.startswith('--machine: "a\\nba') and message.isprintable() and len(message) < 200


@pytest.mark.parametrize(
    ("manager", "unit"), [("systemd", True), ("split", True), ("cgroupfs", False), ("disabled", False)]
)
def test_there_must_be_a_unit(manager: str, unit: bool) -> None:
    if unit:
        assert listed(manager=manager, machine="web") == Machine("web")
    else:
        assert f"there is no unit under the manager `{manager}`" in refusal(manager=manager, machine="web").message


DIGITS = "00112233445566778899aabbccddeeff"


@pytest.mark.parametrize(("env", "found"), [
    ([], ""),
    ([f"container_uuid={DIGITS}"], DIGITS),
    (["container_uuid=00112233-4455-6677-8899-AABBCCDDEEFF"], DIGITS),
    ([f"container_uuid={DIGITS}", f"container_uuid={'1' * 32}"], DIGITS),  # the first is the one that counts
    ([f"CONTAINER_UUID={DIGITS}", f"container={DIGITS}"], ""),
    ([f"container_uuid={DIGITS[1:]}"], ""),
    ([f"container_uuid={DIGITS}0"], ""),
    (["container_uuid=001122334455-6677-8899-AABBCCDDEEFF"], ""),
    ([f"container_uuid={'g' * 32}"], ""),
    ([f"container_uuid={'²' * 32}"], ""),
    ([f"container_uuid={'0' * 32}"], ""),  # systemd's word for none
    (["container_uuid="], ""),
])  # fmt: skip
def test_the_id_is_what_the_container_is_told(env: list[str], found: str) -> None:
    assert machine_id(config(process={"env": env})) == found


def test_without_a_process_there_is_no_id() -> None:
    bare = config()
    del bare["process"]
    assert machine_id(bare) == ""


def test_it_is_part_of_the_plan() -> None:
    whole = config(process={"env": [f"container_uuid={DIGITS}"]})
    made = plan.make(whole, facts(), request(machine="web"))
    assert made.machine == Machine("web", DIGITS)
    assert (
        made.machine.describe() == f"have systemd-machined list it as the machine `web`, with the machine id {DIGITS}"
    )
    assert Machine("web").describe() == "have systemd-machined list it as the machine `web`"
    assert plan.make(whole, facts(), request()).machine is None
