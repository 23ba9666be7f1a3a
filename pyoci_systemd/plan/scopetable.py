"""The properties of a scope that may be asked for by name: systemd.unit(5), systemd.scope(5), systemd.kill(5),
systemd.resource-control(5).

Whatever says which processes, cgroup or slice a unit has is the plan's alone (CVE-2024-3154), and so are the limits and
devices of config.json. What makes the start or the end of a unit start another, as Wants=poweroff.target would, is for
whoever types the command, never for an annotation, which may come with an image.
"""

from __future__ import annotations

from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    Property = tuple[str, str, object]


class Kind(Record):
    """What systemd makes of a property."""

    form: str
    """what its value is; SIGNATURES has the D-Bus type"""
    since: int = 0
    """the first systemd that has it on scopes; 0 for all that are served"""
    live: bool = False
    """may it change while the unit lives (SetUnitProperties)"""
    words: tuple[str, ...] = ()
    """the words that it takes, if it is that kind"""


SIGNATURES = {
    "flag": "b",
    "word": "s",
    "text": "s",
    "signal": "i",
    "time": "t",
    "names": "as",
    "share": "u",
    "addresses": "a(iayu)",
    "binds": "a(iiqq)",
    "interfaces": "(bas)",
}

AUTO_KILL = ("auto", "kill")
ACTIONS = tuple(
    f"{action}{how}"
    for action in ("none", "reboot", "poweroff", "exit", "soft-reboot", "kexec", "halt")
    for how in ("", "-force", "-immediate")
)

# what an annotation `org.systemd.property.NAME` may set
ANYONE: dict[str, Kind] = {
    "After": Kind("names"),
    "Before": Kind("names"),
    "CollectMode": Kind("word", words=("inactive", "inactive-or-failed")),
    "CoredumpReceive": Kind("flag", since=255, live=True),
    "DefaultDependencies": Kind("flag"),
    "Description": Kind("text", live=True),
    "FinalKillSignal": Kind("signal"),
    "IPAccounting": Kind("flag", live=True),
    "IPAddressAllow": Kind("addresses", live=True),
    "IPAddressDeny": Kind("addresses", live=True),
    "KillMode": Kind("word", words=("control-group", "mixed", "process", "none")),
    "KillSignal": Kind("signal"),
    "ManagedOOMMemoryPressure": Kind("word", live=True, words=AUTO_KILL),
    "ManagedOOMMemoryPressureDurationUSec": Kind("time", since=257, live=True),
    "ManagedOOMMemoryPressureLimit": Kind("share", live=True),
    "ManagedOOMPreference": Kind("word", live=True, words=("none", "avoid", "omit")),
    "ManagedOOMSwap": Kind("word", live=True, words=AUTO_KILL),
    "MemoryPressureThresholdUSec": Kind("time", since=254, live=True),
    "MemoryPressureWatch": Kind("word", since=254, live=True, words=("off", "on", "no", "yes", "auto", "skip")),
    "OOMPolicy": Kind("word", words=("continue", "stop", "kill")),
    "PartOf": Kind("names"),
    "RestrictNetworkInterfaces": Kind("interfaces", live=True),
    "RuntimeMaxUSec": Kind("time"),
    "RuntimeRandomizedExtraUSec": Kind("time"),
    "SendSIGHUP": Kind("flag"),
    "SendSIGKILL": Kind("flag"),
    "SocketBindAllow": Kind("binds", live=True),
    "SocketBindDeny": Kind("binds", live=True),
    "SurviveFinalKillSignal": Kind("flag", since=255),
    "TimeoutStopUSec": Kind("time"),
}

# what `--property NAME=VALUE` may set besides
OPERATOR: dict[str, Kind] = {
    "BindsTo": Kind("names"),
    "Conflicts": Kind("names"),
    "FailureAction": Kind("word", words=ACTIONS),
    "IgnoreOnIsolate": Kind("flag"),
    "JobTimeoutUSec": Kind("time"),
    "OnFailure": Kind("names"),
    "OnSuccess": Kind("names"),
    "PropagatesStopTo": Kind("names"),
    "RefuseManualStart": Kind("flag"),
    "RefuseManualStop": Kind("flag"),
    "Requires": Kind("names"),
    "Requisite": Kind("names"),
    "StopWhenUnneeded": Kind("flag"),
    "SuccessAction": Kind("word", words=ACTIONS),
    "Upholds": Kind("names"),
    "Wants": Kind("names"),
}

OWN = tuple(
    """Controller Delegate DelegateControllers DelegateSubgroup Documentation Group Markers PIDFDs PIDs Slice
    SourcePath User""".split()
)
# by the beginnings of names
LIMITS = tuple("CPU Memory IO BlockIO Tasks Allowed Startup Device BPF Default".split())
# exec context and what only a service has (systemd.exec(5), systemd.service(5)): those who ask want another unit
OF_SERVICES = tuple(
    """Exec Environment LoadCredential SetCredential Standard Restart Watchdog Notify Type FileDescriptorStore
    WorkingDirectory Root Private Protect Limit""".split()
)


def canonical(name: str) -> tuple[str, bool]:
    """Return a property's name on the bus, and whether it was named in seconds: `NameSec` is `NameUSec` there."""
    seconds = name.endswith("Sec") and not name.endswith("USec")
    return (f"{name[:-3]}USec", True) if seconds else (name, False)


def refusal(name: str) -> str:
    """Return why a property cannot be set."""
    if name in OWN:
        return "it must not be set: which processes and place a scope has is the runtime's own"
    if name in OPERATOR:
        return "it must not be set by an annotation, only by `--property`"
    if name.startswith(LIMITS):
        return "it must not be set: limits and devices are those of linux.resources"
    if name.startswith(OF_SERVICES):
        return "it must not be set: a scope has no such property, only a service has"
    return "it must not be set: no property of a scope is known by this name"


def too_old(name: str) -> str:
    """Return what to say when this systemd does not know a property that was asked for."""
    kind = {**ANYONE, **OPERATOR}[name]
    return f"`{name}` needs systemd {kind.since} or newer" if kind.since else f"this systemd has no property `{name}`"
