"""A Record: fields by position or by name, defaults, equality by value, mistakes refused."""

from __future__ import annotations

import pytest

from pyoci_systemd.record import Record


class Point(Record):
    x: int
    y: int
    label: str = ""


class Solid(Point):
    z: int = 0


class Empty(Record):
    pass


@pytest.mark.parametrize(
    ("point", "fields"),
    [
        (Point(1, 2), (1, 2, "")),
        (Point(1, y=2), (1, 2, "")),
        (Point(y=2, x=1), (1, 2, "")),
        (Point(1, 2, "a"), (1, 2, "a")),
        (Point(1, 2, label="a"), (1, 2, "a")),
        (Point(0, 0, ""), (0, 0, "")),
    ],
)
def test_fields_are_given_by_position_or_name(point: Point, fields: tuple[object, ...]) -> None:
    assert (point.x, point.y, point.label) == fields


def test_fields_of_the_base_come_first() -> None:
    solid = Solid(1, 2, "a", 3)
    assert (solid.x, solid.y, solid.label, solid.z) == (1, 2, "a", 3)
    assert Solid(1, 2).z == 0


@pytest.mark.parametrize(
    ("values", "named", "culprit"),
    [
        ((1, 2, "a", 4), {}, "4"),
        ((1, 2), {"z": 3}, "z"),
        ((1, 2, "a"), {"z": 3}, "z"),
        ((1,), {}, "y"),
        ((1,), {"z": 2, "label": ""}, "y"),
        ((), {"label": "a"}, "x"),
    ],
)
def test_mistakes_are_refused(values: tuple[object, ...], named: dict[str, object], culprit: str) -> None:
    with pytest.raises(TypeError, match=rf"Point\b.*\b{culprit}\b"):
        Point(*values, **named)  # type: ignore[arg-type]


def test_equal_when_of_one_class_with_equal_fields() -> None:
    class Other(Point):
        pass

    assert Point(1, 2) == Point(1, 2)
    assert Point(1, 2) == Point(1, 2, "")
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != Other(1, 2)
    assert Point(1, 2) != (1, 2, "")


def test_not_hashable_because_fields_may_change() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point(1, 2))


def test_a_default_belongs_to_nobody() -> None:
    point = Point(1, 2)
    point.label = "mine"
    assert Point(1, 2).label == ""


def test_repr_names_the_fields() -> None:
    assert repr(Point(1, 2, "a")) == "Point(x=1, y=2, label='a')"
    assert repr(Solid(1, 2)) == "Solid(x=1, y=2, label='', z=0)"
    assert repr(Empty()) == "Empty()"
