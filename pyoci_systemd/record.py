"""A value with named fields: what `dataclasses` is for, at none of its import time (17 ms)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, dataclass_transform
else:

    def dataclass_transform(**_: object) -> object:
        return lambda cls: cls


@dataclass_transform(eq_default=True)
class Record:
    """Base of small value classes: the fields are the class's annotations, in order, those of its bases first.

    Values are given by position or by name; a class attribute is its field's default. mypy checks every call
    as it does for a dataclass; at run time only a missing or surplus value is refused.
    """

    fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        own = cls.__dict__.get("__annotations__", {})
        cls.fields = (*cls.fields, *[name for name, kind in own.items() if not kind.startswith("ClassVar")])

    def __init__(self, *values: object, **named: object) -> None:
        fields = self.fields
        if len(values) > len(fields):
            raise TypeError(f"{type(self).__name__} has {len(fields)} fields, {len(values)} given")
        given = self.__dict__
        given.update(zip(fields, values))
        given.update(named)
        if named or len(values) < len(fields):
            self._check(given)

    def _check(self, given: dict[str, object]) -> None:
        """Refuse a field that is missing or unknown. Raises TypeError."""
        missing = [field for field in self.fields if not hasattr(self, field)]
        unknown = [field for field in given if field not in self.fields]
        if missing or unknown:
            raise TypeError(f"{type(self).__name__}: missing {missing}, unknown {unknown}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(getattr(self, f) == getattr(other, f) for f in self.fields)

    __hash__ = None  # type: ignore[assignment]  # the fields may be lists

    def __repr__(self) -> str:
        fields = ", ".join(f"{f}={getattr(self, f)!r}" for f in self.fields)
        return f"{type(self).__name__}({fields})"
