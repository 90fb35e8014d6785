from __future__ import annotations

from hypothesis import HealthCheck, settings

# How fast a machine draws examples is no result of a test: the first draw of text in a fresh clone builds
# Unicode tables for seconds.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
