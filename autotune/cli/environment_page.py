"""The environment variables as a page in Markdown."""

from __future__ import annotations

from autotune.environment.settings import ALLOWED_VARIABLES
from autotune.execute.fleet import settings
from autotune.markdown import plain, table
from autotune.workload.paths import CACHE_VARIABLE

_HEAD = """\
# Environment variables

Written by `scripts/docs`. An option that is given counts more than its variable.
"""

OWN = {
    CACHE_VARIABLE: "Folder of demo models, reference log-probabilities and trained weights; "
    "without it `~/.cache/autotune` (or below `XDG_CACHE_HOME`). Delete it at any time.",
    settings.DATABASE: "The database where `--database` is not given. It may hold a password, "
    "which process lists would show as an option.",
    "AUTOTUNE_API_KEY": "What clients of the OpenAI-compatible server must send.",
    settings.BROKER: "Redis of the workers, where `--broker` is not given.",
}
"""Variable → what it does, of those that a user sets."""

FOR_WORKERS = {
    settings.NAME: "The worker's name.",
    settings.DEVICE: "`auto`, `cpu` or `cuda`.",
    settings.FOLDER: "Where the logs of its bench processes go.",
    settings.ALLOWS: "What models and plugins may do there, as JSON.",
}
"""Those that ``autotune worker`` sets from its options for the process that it becomes."""

OTHERS = {
    "HF_HOME": "Where models of the hub are kept (huggingface_hub).",
    "HF_HUB_OFFLINE": "`1`: the hub is not asked (huggingface_hub).",
    "CUDA_VISIBLE_DEVICES": "Which GPUs there are; `cuda:N` counts among these.",
    "OMP_NUM_THREADS": "Threads of torch on a CPU; by default the number of cores.",
    "CXX": "The C++ compiler that the plugin `compile` looks for.",
    "TMPDIR": "Folder of the devices' locks: processes that measure on the same device need the "
    "same one.",
}
"""Variables of other programs that matter here."""

_WORKER = """\
## Set by `autotune worker`

For the process that it becomes, from its options; a container may set them itself.
"""

_RECORDED = """\
## What is recorded

A study keeps the values of these and of no others, since they change what is measured: numbers
taken under other values are not compared silently.
"""


def page() -> str:
    """The whole page."""
    recorded = ", ".join(f"`{name}`" for name in ALLOWED_VARIABLES)
    return "\n".join(
        (
            _HEAD,
            _table(OWN),
            _WORKER,
            _table(FOR_WORKERS),
            "## Of other programs\n",
            _table(OTHERS),
            _RECORDED,
            f"{recorded}\n",
        )
    )


def _table(variables: dict[str, str]) -> str:
    rows = ((f"`{name}`", plain(meaning)) for name, meaning in variables.items())
    return table(("variable", "meaning"), rows)
