"""Device rules as a BPF program of the type cgroup device: for cgroups that systemd does not keep, and for what
DeviceAllow= cannot say (limits/devices.py).

The kernel runs it at every mknod and open of a device, with the access asked for, the type and the numbers of the
device (linux/bpf.h, struct bpf_cgroup_dev_ctx); it answers 1 to allow.
"""

from __future__ import annotations

from _struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .limits.devices import Rule

LOAD_WORD, AND, SHIFT_RIGHT, MOVE, MOVE_REGISTER = 0x61, 0x54, 0x74, 0xB7, 0xBF
JUMP, JUMP_UNEQUAL, JUMP_IF_SET, EXIT = 0x05, 0x55, 0x45, 0x95

TYPES = {"b": 1, "c": 2}
ACCESS = {"m": 1, "r": 2, "w": 4}
RESULT, CONTEXT, TYPE, ASKED, MAJOR, MINOR = range(6)  # registers


def _instruction(code: int, register: int, value: int = 0, offset: int = 0, source: int = 0) -> bytes:
    return pack("<BBhi", code, source << 4 | register, offset, value)


def _answer(allow: bool) -> bytes:
    return _instruction(MOVE, RESULT, int(allow)) + _instruction(EXIT, 0)


def _block(rule: Rule) -> bytes:
    """Return the code for one rule; what it does not concern falls through to the next."""
    allow, kind, major, minor, access = rule
    mask = sum(ACCESS[letter] for letter in set(access))
    if allow:
        # what this rule grants need not be granted by another; when nothing is left, all is granted
        decision = _instruction(AND, ASKED, ~mask) + _instruction(JUMP_UNEQUAL, ASKED, 0, 2) + _answer(True)
    else:
        decision = _instruction(JUMP_IF_SET, ASKED, mask, 1) + _instruction(JUMP, 0, 0, 2) + _answer(False)
    wanted = [(TYPE, TYPES.get(kind, 0)), (MAJOR, major), (MINOR, minor)]
    tests = [(register, value) for register, value in wanted if value > 0 or (register != TYPE and value == 0)]
    code = b""
    for position, (register, value) in enumerate(tests):
        beyond = len(tests) - position - 1 + len(decision) // 8
        code += _instruction(JUMP_UNEQUAL, register, value, beyond)
    return code + decision


def program(rules: list[Rule]) -> bytes:
    """Return the program.

    The last rule that concerns an access decides on it, so they are asked from the last to the first. Each bit of the
    access is decided on its own: reading allowed by one rule and writing by another allow both together.
    """
    head = (
        _instruction(LOAD_WORD, TYPE, source=CONTEXT)
        + _instruction(MOVE_REGISTER, ASKED, source=TYPE)
        + _instruction(AND, TYPE, 0xFFFF)
        + _instruction(SHIFT_RIGHT, ASKED, 16)
        + _instruction(LOAD_WORD, MAJOR, offset=4, source=CONTEXT)
        + _instruction(LOAD_WORD, MINOR, offset=8, source=CONTEXT)
    )
    return head + b"".join(_block(rule) for rule in reversed(rules)) + _answer(False)
