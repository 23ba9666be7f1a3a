"""Who runs us, pretended: for `settings`, which looks."""

from __future__ import annotations

import os
from collections.abc import Collection
from types import SimpleNamespace

import pytest

from pyoci_systemd import settings


def as_user(
    monkeypatch: pytest.MonkeyPatch, euid: int, directory: str | None = None, *,
    owner: int | None = None, systemd: int | None = 0, run: int = 0, there: Collection[str] = (),
    variables: dict[str, str] | None = None,
) -> None:  # fmt: skip
    """Be the user `euid` with $XDG_RUNTIME_DIR, which is `owner`'s.

    `systemd` and `run` have made /run/systemd/system (None: nobody has) and /run; `there` are directories besides.
    """
    makers = {"/run/systemd/system": systemd, "/run": run}

    def stat(path: str) -> SimpleNamespace:
        if makers[path] is None:
            raise FileNotFoundError(path)
        return SimpleNamespace(st_uid=makers[path])

    def lstat(path: str) -> SimpleNamespace:
        found = os.lstat(path)
        return SimpleNamespace(st_mode=found.st_mode, st_uid=found.st_uid if owner is None else owner)

    environ = {name.encode(): value.encode() for name, value in (variables or {}).items()}
    if directory is not None:
        environ[b"XDG_RUNTIME_DIR"] = directory.encode()
    pretended = {
        "environ": environ,
        "geteuid": lambda: euid,
        "getuid": lambda: euid,
        "stat": stat,
        "lstat": lstat,
        "access": lambda path, mode: path in there,
        "X_OK": os.X_OK,
    }
    monkeypatch.setattr(settings, "posix", SimpleNamespace(**pretended))
