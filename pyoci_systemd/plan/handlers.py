"""Annotations that ask for what is not here: to pass over them would run something else than was asked for."""

from __future__ import annotations

from ..errors import SpecError, printable, quoted

HANDLER, PLUGINS = "run.oci.handler", "run.oci.seccomp.plugins"
KIND = "io.kubernetes.cri.container-type"
CREDENTIAL = "org.pyoci.credential"


def check(annotations: dict[str, str]) -> None:
    """Refuse other ways to run a container than as a process of this kernel, code of others, and files of the host's.

    Clients copy the annotations of an image into config.json, and it shows of none who asked for it: what names a file
    that the runtime is to read for the container is for the command line. Raises SpecError.
    """
    handler = annotations.get(HANDLER)
    # the sandbox of a pod has the annotations of the pod, and is never more than a process that sleeps
    if handler and annotations.get(KIND) != "sandbox":
        raise SpecError(f"config.json: annotations: {HANDLER}: there is no handler {quoted(handler)}")
    if annotations.get(PLUGINS):
        raise SpecError(f"config.json: annotations: {PLUGINS}: plugins are not loaded; use linux.seccomp.listenerPath")
    for key in annotations:
        if key.startswith(CREDENTIAL):
            raise SpecError(
                f"config.json: annotations: {printable(key)}: an annotation may have come with the image, which may not"
                " have files of the host's",
                hint="whoever runs it says `--credential NAME:PATH`",
            )
