"""What a request may ask for: checked before anything is stored or started."""

from __future__ import annotations

import re
import secrets
from typing import Any

from autotune.config import StudyFile
from autotune.errors import unknown_name
from autotune.service.errors import ApiError, invalid
from autotune.service.settings import ServiceSettings
from autotune.study_plugins import checked_plugins

_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")


def admitted(study: StudyFile, settings: ServiceSettings) -> StudyFile:
    """A study that this server may run, with a name.

    Nothing that a request says is used as a path, a URL or code: the model is one of the
    administrator's names, plugins and their values are those of the installed plugins, and the
    keys that name files are refused.

    Args:
        study: The body of a request.
        settings: What the administrator allows.

    Raises:
        ApiError: Something in it is not allowed here.
        InputError: An unknown plugin, param or value, or a recipe that cannot be.
    """
    model_path(study, settings)
    _refuse_files(study)
    if not _DEVICE.fullmatch(study.device):
        raise invalid(f"unknown device {study.device!r}; allowed: auto, cpu, cuda, cuda:N")
    checked_plugins(study)  # said now, and not by a process that fails
    return study if study.name else study.model_copy(update={"name": _new_name(study)})


def model_path(study: StudyFile, settings: ServiceSettings) -> str:
    """What a study's model stands for on this server.

    Args:
        study: Its model is a name.
        settings: What the administrator allows.

    Raises:
        ApiError: The name is not allowed.
    """
    if study.model not in settings.models:
        names = sorted(settings.models)
        raise invalid(unknown_name("model", study.model, names), allowed=names)
    return settings.models[study.model]


def definition(study: StudyFile, settings: ServiceSettings) -> dict[str, Any]:
    """The study file that the search's process reads.

    Args:
        study: As it was admitted.
        settings: What the administrator allows now.

    Raises:
        ApiError: Its model is not allowed any more.
    """
    return study.model_dump(mode="json") | {"model": model_path(study, settings)}


def _refuse_files(study: StudyFile) -> None:
    workload = study.workload
    given = {
        "workload.evaluation_text": workload.evaluation_text,
        "workload.calibration_text": workload.calibration_text,
        "workload.task_files": workload.task_files,
        "workload.traffic.adapters": workload.traffic and workload.traffic.adapters,
        "trust_remote_code": study.trust_remote_code,
        "allow_pickle": study.allow_pickle,
        "allow_power_changes": study.allow_power_changes,
    }
    refused = [key for key, value in given.items() if value]
    if refused:
        raise ApiError(
            422,
            "not_allowed_here",
            f"{', '.join(refused)}: a request may not name files, nor say what a model or a "
            "plugin may do",
            hint="leave it out, or run 'autotune search' on the server",
        )


def _new_name(study: StudyFile) -> str:
    return f"{study.model}-{secrets.token_hex(4)}"[-100:]
