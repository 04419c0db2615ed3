"""Whether a study may begin or go on."""

from __future__ import annotations

from autotune.config import StudyFile
from autotune.environment import compare_environments
from autotune.errors import InputError
from autotune.search.plan import Plan
from autotune.store.store import Store


def register(
    plan: Plan, store: Store, *, resume: bool, allow_different_env: bool = False
) -> list[str]:
    """Finds or makes the study's record.

    Args:
        plan: The search.
        store: Where its record is kept.
        resume: Whether it may exist.
        allow_different_env: Whether it may have been begun in another environment.

    Returns:
        In how far the environment differs from the one in which the study was begun.

    Raises:
        InputError: A study of that name exists and is not to be resumed, is another search, or
            was begun in another environment.
    """
    existing = store.find_study(plan.name)
    if existing is None:
        store.create_study(
            plan.name,
            plan.definition(),
            plan.objectives,
            plan.study.constraints,
            plan.environment,
        )
        return []
    differing = changed_keys(existing.definition, plan.definition())
    if differing:
        raise InputError(
            f"study {plan.name!r} exists with another definition: {', '.join(differing)} differ; "
            "its numbers could not be compared with new ones: choose another --name, or give the "
            "same definition"
        )
    if not resume:
        raise InputError(
            f"study {plan.name!r} exists already ({existing.state}); continue it with --resume, "
            "or choose another --name"
        )
    if existing.objectives != plan.objectives:
        raise InputError(
            f"study {plan.name!r} was begun with the objectives {', '.join(existing.objectives)}, "
            f"its device can now measure {', '.join(plan.objectives)}; choose another --name"
        )
    found = compare_environments(
        existing.environment, plan.environment, allow_different=allow_different_env
    )
    store.update_study(plan.name, definition=plan.definition())  # the next one goes on with these
    return found


def changed_keys(old: dict[str, object], new: dict[str, object]) -> list[str]:
    """Top-level keys in which two definitions differ; how much is measured, what of it first, and
    how often a result is repeated, changes nothing that is measured already. A key that was not
    known yet when a study was begun has its default."""
    default = StudyFile(model="any").definition()
    old, new = default | old, default | new
    keys = (old.keys() | new.keys()) - {"confirm", "budget", "try_first"}
    return sorted(key for key in keys if old.get(key) != new.get(key))
