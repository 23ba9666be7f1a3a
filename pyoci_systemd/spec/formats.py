"""What the patterns of the schema say, without `re` (its import alone costs more than the whole check)."""

from __future__ import annotations

_DIGITS = "0123456789"
_LOWER = "abcdefghijklmnopqrstuvwxyz"
ALNUM = _DIGITS + _LOWER + _LOWER.upper()


def made_of(text: str, characters: str) -> bool:
    """Is every character of `text` one of `characters`? An empty text is."""
    return not text.strip(characters)


def line(text: str) -> bool:
    """One line without NUL."""
    return "\n" not in text and "\0" not in text


def cpus(text: str) -> bool:
    """A list of CPUs or memory nodes as the kernel takes it: `0-3,7`. Its ranges are the kernel's to judge."""
    return made_of(text, "-0123456789, ")


def access(text: str) -> bool:
    """Letters of read, write, mknod."""
    return made_of(text, "rwm")


def page_size(text: str) -> bool:
    """The size of a huge page as the kernel names its cgroup files: `2MB`."""
    digits, unit = text[:-2], text[-2:]
    return unit in ("KB", "MB", "GB") and digits[:1] not in ("", "0") and made_of(digits, _DIGITS)


def memory_bandwidth(text: str) -> bool:
    """A line of resctrl's schemata for memory bandwidth."""
    return text.startswith("MB:") and line(text)


def interface(text: str) -> bool:
    """A name of a network device: dev_valid_name() of the kernel, and ASCII."""
    return (
        0 < len(text) < 16
        and text not in (".", "..")
        and all("!" <= character <= "~" and character not in "/:" for character in text)
    )


def unified_key(text: str) -> bool:
    """A file of a cgroup, `hugetlb.2MB.max`, and nothing that leads elsewhere (GHSA-5g49-rx9x-qfc6)."""
    controller, *rest = text.split(".")
    return (
        controller != ""
        and made_of(controller, _LOWER + _DIGITS + "_")
        and rest != []
        and all(part != "" and made_of(part, ALNUM + "_") for part in rest)
    )


def semver(text: str) -> bool:
    """A version as SemVer 2.0.0 writes it: `1.2.0`, `1.0.0-rc5`, `1.1.0+dev`."""
    text, plus, build = text.partition("+")
    core, dash, pre = text.partition("-")
    numbers = core.split(".")
    return (
        len(numbers) == 3
        and all(_number(part) for part in numbers)
        and (not dash or all(_number(part) or _word(part) for part in pre.split(".")))
        and (not plus or all(part != "" and made_of(part, ALNUM + "-") for part in build.split(".")))
    )


def _number(text: str) -> bool:
    return text == "0" or (text[:1] not in ("", "0") and made_of(text, _DIGITS))


def _word(text: str) -> bool:
    return made_of(text, ALNUM + "-") and not made_of(text, _DIGITS)
