"""The same examples on every machine, however slow: no random seeds and no timed checks in the properties."""

from hypothesis import HealthCheck, settings

settings.register_profile("coopctx", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("coopctx")
