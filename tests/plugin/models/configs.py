"""Configurations of sessions: the defaults of all options, changed."""

from dataclasses import fields
from pathlib import Path

from pytest_dllama.config.options import SETTINGS
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import parse_models


def config_of(**changes) -> LabConfig:
    """The defaults of all options, changed."""
    names = {field.name for field in fields(LabConfig)}
    values = {
        name: setting.parse(setting.default)
        for setting in SETTINGS
        if (name := setting.name.replace("-", "_")) in names and name != "models"
    }
    others = {
        "node_counts": (2,),
        "models": parse_models("tiny"),
        "report_folder": Path("report"),
        "thresholds_file": None,
        "request_timeout_s": 60.0,
        "explicit": False,
    }
    return LabConfig(**(values | others | changes))
