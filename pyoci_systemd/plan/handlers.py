"""Annotations that ask for what is not here: to pass over them would run something else than was asked for."""

from __future__ import annotations

from ..errors import SpecError, quoted

HANDLER, PLUGINS = "run.oci.handler", "run.oci.seccomp.plugins"
KIND = "io.kubernetes.cri.container-type"


def check(annotations: dict[str, str]) -> None:
    """Refuse other ways to run a container than as a process of this kernel, and code of others. Raises SpecError."""
    handler = annotations.get(HANDLER)
    # the sandbox of a pod has the annotations of the pod, and is never more than a process that sleeps
    if handler and annotations.get(KIND) != "sandbox":
        raise SpecError(f"config.json: annotations: {HANDLER}: there is no handler {quoted(handler)}")
    if annotations.get(PLUGINS):
        raise SpecError(f"config.json: annotations: {PLUGINS}: plugins are not loaded; use linux.seccomp.listenerPath")
