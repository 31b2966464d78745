"""The pytest plugin: hosts, clusters, measurement, verdicts, reports."""

__version__ = "0.1.0"
