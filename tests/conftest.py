"""What all tests share: how hypothesis behaves."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# how fast an example runs says something of the machine, not of the code
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("house")
