"""One TOML file, the environment and credentials -> frozen settings, or every fault at once."""

from scheduler.config.loading import DEFAULT_PATH, BadConfiguration, load
from scheduler.config.settings import Settings

__all__ = ["DEFAULT_PATH", "BadConfiguration", "Settings", "load"]
