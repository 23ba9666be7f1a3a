"""Users, groups, capabilities, new privileges: who the process is."""

from __future__ import annotations

from ..errors import SpecError
from . import namespaces, ops
from .facts import Facts
from .words import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.types import Config, Process

_NUMBER = {name: bit for bit, name in enumerate(CAPABILITIES)}


class Sets:
    """The five capability sets as bit masks, and what could not be had of them."""

    def __init__(self, process: Process, available: int) -> None:
        self.warnings: list[str] = []
        asked = process.get("capabilities", {})
        self._available = available
        self.bounding = self._mask("bounding", asked.get("bounding"))
        self.permitted = self._mask("permitted", asked.get("permitted"))
        # the kernel's rules (capabilities(7)): effective within permitted, ambient within permitted and inheritable
        self.effective = self._within("effective", asked.get("effective"), self.permitted, "permitted")
        self.inheritable = self._mask("inheritable", asked.get("inheritable"))
        both = self.permitted & self.inheritable
        self.ambient = self._within("ambient", asked.get("ambient"), both, "permitted and inheritable")

    def _mask(self, name: str, words: object) -> int:
        """Return the set as a mask; what is unknown or not held is warned about and left out (spec: PRC7)."""
        mask = 0
        for word in words or ():  # type: ignore[attr-defined]
            bit = _NUMBER.get(word)
            if bit is None:
                self._warn(f"process.capabilities.{name}: unknown capability `{word}`")
            elif not self._available >> bit & 1:
                self._warn(f"process.capabilities.{name}: `{word}` cannot be granted: the runtime does not have it")
            else:
                mask |= 1 << bit
        return mask

    def _within(self, name: str, words: object, most: int, of: str) -> int:
        """Return the set as a mask, without what the kernel would refuse because it is not in other sets."""
        mask = self._mask(name, words)
        for bit, word in enumerate(CAPABILITIES):
            if mask & ~most & 1 << bit:
                self._warn(f"process.capabilities.{name}: `{word}` is not {of}")
        return mask & most

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def available(config: Config, facts: Facts) -> int:
    """Return what can be given: all of it in a new user namespace, else what the runtime holds."""
    return (1 << len(CAPABILITIES)) - 1 if "user" in namespaces.wanted(config) else facts.capabilities


def user(process: Process, config: Config, facts: Facts) -> ops.Op:
    """Return the op that takes on the user, the group and exactly the additional groups.

    Where one group alone is mapped the kernel lets nobody change them: by giving one up a user could reach what is
    denied to it (CVE-2014-8989). Raises SpecError for additional groups there, and for ids that are not mapped.
    """
    who = process.get("user", {})
    alone = namespaces.has_one_group(config, facts)
    if alone and who.get("additionalGids"):
        text = "a user namespace with one group has no additional ones"
        raise SpecError(f"config.json: process.user.additionalGids: {text}", hint="`/etc/subgid` gives a user more")
    groups = b"".join(gid.to_bytes(4, "little") for gid in who.get("additionalGids") or ())
    keep = alone or "run.oci.keep_original_groups" in config.get("annotations", {})
    namespaces.require_mapped(config, "uid", "process.user.uid", [who.get("uid", 0)])
    namespaces.require_mapped(config, "gid", "process.user.gid", [who.get("gid", 0)])
    namespaces.require_mapped(config, "gid", "process.user.additionalGids", who.get("additionalGids") or ())
    return ops.User(who.get("uid", 0), who.get("gid", 0), groups, int(keep))
