"""Only what pytest asks a root conftest for."""

pytest_plugins = ["pytester"]
