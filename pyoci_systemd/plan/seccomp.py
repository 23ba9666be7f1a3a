"""linux.seccomp as a flat list of rules: what is handed to the compiler, and the key of its cache."""

from __future__ import annotations

from ..errors import SpecError
from ..record import Record
from .words import NEW_LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config, Seccomp

# seccomp_export_bpf(3) takes actions as numbers (linux/seccomp.h)
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
}
NOTIFY = "SCMP_ACT_NOTIFY"
INSTRUCTION, MAX_INSTRUCTIONS = 8, 4096  # struct sock_filter; BPF_MAXINSNS

# annotations
GIVEN, STRICT, RECEIVER = "run.oci.seccomp_bpf_data", "run.oci.seccomp_fail_unknown_syscall", "run.oci.seccomp.receiver"
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
HARMLESS = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
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

# of the schema; which of them are this machine's is the compiler's to say
ARCHITECTURES = [
    f"SCMP_ARCH_{name}"
    for name in (
        "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X "
        "PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB"
    ).split()
]

# seccomp(2): SECCOMP_FILTER_FLAG_*
WAIT_KILLABLE_RECV = 1 << 5
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 0,  # the init has one thread
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": WAIT_KILLABLE_RECV,
}
SPEC_ALLOW = 4

# What the init calls between the filter and the moment when someone can answer for it, and with which actions that
# works: once the agent has the listener it may answer whatever it likes, that our read goes on included.
UNANSWERED = {"sendmsg": HARMLESS, "read": (*HARMLESS, NOTIFY)}


class Rule(Record):
    """One action for some system calls, under conditions on their arguments."""

    action: int
    names: list[str]
    conditions: list[tuple[int, int, int, int]]
    """(argument, operator, value, second value) each"""


class Filter(Record):
    """A whole seccomp section, but for the flags."""

    default: int
    architectures: list[str]
    """as libseccomp names them: `x86_64`, `x86`, …; the native one is always there"""
    rules: list[Rule]
    known: list[str]
    """every system call that the section names: none of these is newer than the section"""

    whole: bool = False
    """must every call that it names exist"""

    @property
    def denies_the_new(self) -> bool:
        """Do calls that are newer than the section get the errno that programs take for a final no."""
        return self.default == ACTIONS["SCMP_ACT_ERRNO"] | EPERM


def given(config: Config) -> bytes:
    """Return the program that an annotation brings in place of linux.seccomp, b"" for none. Raises SpecError."""
    text = config.get("annotations", {}).get(GIVEN)
    if text is None:
        return b""
    from binascii import a2b_base64  # few bring one

    try:
        program = a2b_base64(text, strict_mode=True)
    except ValueError:
        raise SpecError(f"config.json: annotations: {GIVEN}: not base64") from None
    if not program or len(program) % INSTRUCTION or len(program) > MAX_INSTRUCTIONS * INSTRUCTION:
        raise SpecError(
            f"config.json: annotations: {GIVEN}: {len(program)} bytes are no program: "
            f"1 to {MAX_INSTRUCTIONS} instructions of {INSTRUCTION} bytes"
        )
    return program


def flags(section: Seccomp) -> int:
    """Return the flags of seccomp(2)."""
    named = section.get("flags")
    wanted = SPEC_ALLOW if named is None else sum(FLAGS[flag] for flag in {*named})
    if notifies(section):
        return wanted | NEW_LISTENER
    return wanted & ~WAIT_KILLABLE_RECV  # EINVAL without a listener; and nobody who waits for one either


def notifies(section: Seccomp) -> bool:
    """Does the filter ask somebody outside."""
    return NOTIFY in (section["defaultAction"], *(call["action"] for call in section.get("syscalls") or ()))


def listener(config: Config, bundle: str, receiver: str) -> tuple[str, str]:
    """Return the socket that the filter's listener is sent to, and what is said with it; ("", "") for no listener.

    `receiver` is the socket that the caller's environment names. Raises SpecError.
    """
    section = config.get("linux", {}).get("seccomp")
    if not section or not notifies(section) or given(config):
        return "", ""
    path = section.get("listenerPath") or config.get("annotations", {}).get(RECEIVER) or receiver
    if not path:
        raise SpecError(f"config.json: linux.seccomp: {NOTIFY} needs listenerPath")
    return path if path[0] == "/" else f"{bundle}/{path}", section.get("listenerMetadata", "")


def strict(config: Config) -> bool:
    """Is a system call that nobody knows a mistake, and not just one that no program can make."""
    return config.get("annotations", {}).get(STRICT, "0") != "0"


def make_filter(section: Seccomp, whole: bool = False) -> Filter:
    """Return the section as rules. Raises SpecError for what cannot be done."""
    rules: list[Rule] = []
    known: list[str] = []
    default = _action(section["defaultAction"], section.get("defaultErrnoRet"), "defaultErrnoRet")
    for index, call in enumerate(section.get("syscalls") or ()):
        action = _action(call["action"], call.get("errnoRet"), f"syscalls[{index}].errnoRet")
        conditions = [
            (a["index"], OPERATORS[a["op"]], a["value"], a.get("valueTwo", 0)) for a in call.get("args") or ()
        ]
        known += call["names"]
        if action != default:
            rules += _rules(action, call["names"], conditions)
    if notifies(section):
        _check_unanswered(section)
    return Filter(
        default=default,
        architectures=[word.removeprefix("SCMP_ARCH_").lower() for word in section.get("architectures") or ()],
        rules=rules,
        known=known,
        whole=whole,
    )


def _action(word: str, errno: int | None, where: str) -> int:
    value = ACTIONS[word]
    if word in WITH_ERRNO:
        errno = EPERM if errno is None else errno
        # a greater number would spill into the action itself
        if errno > (MAX_ERRNO if word == "SCMP_ACT_ERRNO" else MAX_DATA):
            raise SpecError(f"config.json: linux.seccomp.{where}: {errno} is no errno")
        return value | errno
    return value


def _check_unanswered(section: Seccomp) -> None:
    """Refuse a filter that would stop the init on its way to whoever is to answer. Raises SpecError."""
    for name, fitting in UNANSWERED.items():
        calls = [call for call in section.get("syscalls") or () if name in call["names"]]
        always = any(not call.get("args") for call in calls)
        actions = [call["action"] for call in calls] + ([] if always else [section["defaultAction"]])
        unfit = next((action for action in actions if action not in fitting), "")
        if unfit:
            raise SpecError(
                f"config.json: linux.seccomp: a filter with {NOTIFY} must allow `{name}`, not {unfit}: "
                "the init passes the listener on with it"
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
