"""Settings of all tests: a busy machine makes hypothesis slow, and that is no failure."""

from hypothesis import HealthCheck, settings

settings.register_profile("coxswain", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("coxswain")
