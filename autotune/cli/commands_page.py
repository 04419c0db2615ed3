"""The commands as a page in Markdown: what each does, its arguments, its options, an example."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from autotune.markdown import plain, table

_HEAD = """\
# Commands

Written by `scripts/docs` from the commands themselves. Each has `--help`; those that show data
have `--json`. An option that may be repeated takes one value each time.

A command that succeeds ends with 0. Wrong input, or a server that cannot be reached, ends it with
2 and nothing written; any other failure with 1; Ctrl-C with 130. The dashboard is ended by Ctrl-C,
with 0.
"""

_KINDS = {bool: "", int: "integer", float: "number", str: "text", Path: "path"}


def page(app: typer.Typer) -> str:
    """The whole page.

    Args:
        app: The command ``autotune``.
    """
    sections = (_section(words, command) for words, command in commands(app))
    return "\n".join((_HEAD, *sections))


def commands(app: typer.Typer) -> Iterator[tuple[str, Any]]:
    """Every command that does something: its words, and typer's object.

    Args:
        app: The command ``autotune``.
    """
    root = typer.main.get_command(app)
    yield from _below("autotune", root)


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    if not children or command.invoke_without_command:
        yield words, command
    for name, child in children.items():
        yield from _below(f"{words} {name}", child)


def _section(words: str, command: Any) -> str:
    text, example = _help(command)
    hints = get_type_hints(command.callback, include_extras=True)
    shown = [param for param in command.params if param.name in hints and not param.hidden]
    arguments = [param for param in shown if param.param_type_name == "argument"]
    options = [param for param in shown if param.param_type_name == "option"]
    parts = [f"## {words}\n", text, f"```sh\n{example}\n```\n"]
    if arguments:
        cells = [(_argument(param), param.help or "") for param in arguments]
        parts.append(_table(("argument", "meaning"), cells))
    if options:
        head = ("option", "value", "default", "meaning")
        parts.append(_table(head, [_option(param, hints[param.name]) for param in options]))
    return "\n".join(parts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return table(head, (map(plain, row) for row in rows))


def _help(command: Any) -> tuple[str, str]:
    """What a command says of itself, and its example."""
    text, _, example = inspect.cleandoc(command.help or "").partition("Example: ")
    return text.strip() + "\n", " ".join(example.split())


def _argument(param: Any) -> str:
    name = f"{param.name.upper()}{'...' if param.nargs != 1 else ''}"
    return f"`{name}`" if param.required else f"`[{name}]`"


def _option(param: Any, hint: Any) -> tuple[str, str, str, str]:
    names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
    return names, _values(hint), _default(param), param.help or ""


def _values(hint: Any) -> str:
    """What an option takes, from the annotation of the function that it is given to."""
    kind, *more = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is list:
        return f"{_KINDS[get_args(kind)[0]]}, may be repeated"
    if issubclass(kind, Enum):
        return ", ".join(f"`{one.value}`" for one in kind)
    return " ".join(filter(None, (_KINDS[kind], *map(_range, more))))


def _range(declared: Any) -> str:
    low, high = getattr(declared, "min", None), getattr(declared, "max", None)
    if low is not None and high is not None:
        return f"from {low:g} to {high:g}"
    return f"from {low:g}" if low is not None else ""


def _default(param: Any) -> str:
    if param.required:
        return "required"
    value = param.default
    return "" if value in (None, False) or value == () else f"`{value}`"
