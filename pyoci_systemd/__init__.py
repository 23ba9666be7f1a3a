"""An OCI container runtime for machines run by systemd."""

__version__ = "0.1.0"
