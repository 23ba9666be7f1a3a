"""linux.seccomp as a flat list of rules: what is handed to the compiler, and the key of its cache."""

from __future__ import annotations

from ..errors import SpecError
from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Seccomp

# seccomp_export_bpf(3) takes actions as numbers (linux/seccomp.h)
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
EPERM = 1
MAX_ERRNO, MAX_DATA = 4095, 0xFFFF

OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}

# seccomp(2): SECCOMP_FILTER_FLAG_*
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # the init has one thread
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}
SPEC_ALLOW = 4


class Rule(Record):
    """One action for some system calls, under conditions on their arguments."""

    action: int
    names: list[str]
    conditions: list[tuple[int, int, int, int]]
    """(argument, operator, value, second value) each"""


class Filter(Record):
    """A whole seccomp section."""

    default: int
    architectures: list[str]
    """as libseccomp names them: `x86_64`, `x86`, …; the native one is always there"""
    rules: list[Rule]
    flags: int


def _action(word: str, errno: int | None, where: str) -> int:
    if word == "SCMP_ACT_NOTIFY":
        raise SpecError(f"config.json: {where}: SCMP_ACT_NOTIFY is not supported yet")
    value = ACTIONS[word]
    if word in WITH_ERRNO:
        errno = EPERM if errno is None else errno
        # a greater number would spill into the action itself
        if errno > (MAX_ERRNO if word == "SCMP_ACT_ERRNO" else MAX_DATA):
            raise SpecError(f"config.json: {where}: errnoRet {errno} is no errno")
        return value | errno
    return value


def make_filter(section: Seccomp) -> Filter:
    """Return the section as rules. Raises SpecError for what is not supported."""
    rules = []
    default = _action(section["defaultAction"], section.get("defaultErrnoRet"), "linux.seccomp.defaultAction")
    for index, call in enumerate(section.get("syscalls") or ()):
        action = _action(call["action"], call.get("errnoRet"), f"linux.seccomp.syscalls[{index}].action")
        conditions = [
            (a["index"], OPERATORS[a["op"]], a["value"], a.get("valueTwo", 0)) for a in call.get("args") or ()
        ]
        if action != default:
            rules += _rules(action, call["names"], conditions)
    flags = section.get("flags")
    for flag in flags or ():
        if flag not in FLAGS:
            raise SpecError(f"config.json: linux.seccomp.flags: {flag} is not supported yet")
    return Filter(
        default=default,
        architectures=[word.removeprefix("SCMP_ARCH_").lower() for word in section.get("architectures") or ()],
        rules=rules,
        flags=SPEC_ALLOW if flags is None else sum(FLAGS[flag] for flag in {*flags}),
    )


def _rules(action: int, names: list[str], conditions: list[tuple[int, int, int, int]]) -> list[Rule]:
    """Return one rule, or, when an argument is compared twice, one rule for each condition.

    libseccomp joins the conditions of a rule by `and` and refuses two on one argument; the spec's writers (and the
    profiles in use) mean `or` in that case.
    """
    arguments = [condition[0] for condition in conditions]
    if len(set(arguments)) == len(arguments):
        return [Rule(action, names, conditions)]
    return [Rule(action, names, [condition]) for condition in conditions]
