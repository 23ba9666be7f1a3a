"""The way to the installed packages, which the front door leaves out to start sooner (`python3 -S`)."""

from __future__ import annotations


def enable() -> None:
    """Put the site directories at the end of sys.path. For cold paths only: before importing click and the like.

    It is what site.main() would do, without running sitecustomize or looking into the user's home.
    """
    import site

    site.addsitepackages(site.venv(site.removeduppaths()) or set())
