"""What the numbers were taken on: hardware, software, settings, and the one id of their stable
part. Read without importing torch."""

from autotune.environment.accuracy import SCORING_VERSION, accuracy_key
from autotune.environment.fingerprint import (
    ENERGY_SOURCE,
    ENV_ID,
    NO_ENERGY,
    compare_environments,
    describe_environment,
    env_id,
    environment_differences,
)
from autotune.environment.software import library_versions

__all__ = [
    "ENERGY_SOURCE",
    "ENV_ID",
    "NO_ENERGY",
    "SCORING_VERSION",
    "accuracy_key",
    "compare_environments",
    "describe_environment",
    "env_id",
    "environment_differences",
    "library_versions",
]
