"""What the numbers were taken on: hardware, software, settings, and the one id of their stable
part. Read without importing torch."""

from autotune.environment.accuracy import SCORING_VERSION, accuracy_key
from autotune.environment.fingerprint import (
    ENV_ID,
    compare_environments,
    describe_environment,
    env_id,
    environment_differences,
)
from autotune.environment.software import library_versions

__all__ = [
    "ENV_ID",
    "SCORING_VERSION",
    "accuracy_key",
    "compare_environments",
    "describe_environment",
    "env_id",
    "environment_differences",
    "library_versions",
]
