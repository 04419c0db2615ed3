"""``autotune plugins``: what can be tried, here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from autotune.cli import options, plugins_check, plugins_new, plugins_page

if TYPE_CHECKING:
    from autotune.plugin import Plugin
    from autotune.registry import Registry
    from autotune.search.offers import Offer, Place

app = typer.Typer(help="The optimizations that are installed.", no_args_is_help=True)
app.command("check")(plugins_check.check)
app.command("new")(plugins_new.new)


@app.command("list")
def list_plugins(
    model: options.Model = None,
    task: options.Task = "auto",
    device: options.DeviceName = "auto",
    allow_power_changes: options.AllowPowerChanges = False,
    json: options.AsJson = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a page in Markdown, with all params.")
    ] = False,
) -> None:
    """List the installed plugins, and whether they apply on this machine to this model.

    Without --model they are asked for a common one, which is named. --json tells every choice of
    values that is refused.

    Example: autotune plugins list --model demo
    """
    from autotune import registry
    from autotune.cli.show import make_console
    from autotune.report.console import plain_table

    installed = registry.installed()
    if markdown:
        typer.echo(plugins_page.page(declared()), nl=False)
        return
    place = _find_place(model, task, device)
    found = {
        name: place.offer(plugin, allow_power_changes)
        for name, plugin in installed.plugins.items()
    }
    every = [_facts(plugin, installed, found[name]) for name, plugin in installed.plugins.items()]
    if json:
        _print_json(every)
        return
    table = plain_table("", "plugin", "what it does", "params", "from", "here")
    for facts in every:
        table.add_row(
            facts["name"],
            facts["summary"],
            ", ".join(param["name"] for param in facts["params"]),
            facts["distribution"],
            escape(found[facts["name"]].in_words()),
        )
    console = make_console()
    console.print(table)
    console.print(f"here: {place.words}", markup=False)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of the plugin.")],
    model: options.Model = None,
    task: options.Task = "auto",
    device: options.DeviceName = "auto",
    json: options.AsJson = False,
) -> None:
    """Show a plugin's params, values and requirements, and what it refuses here.

    Example: autotune plugins show quantize
    """
    from autotune import registry
    from autotune.cli.show import make_console
    from autotune.report.console import plain_table

    installed = registry.installed()
    plugin = installed.get(name)
    place = _find_place(model, task, device)
    offer = place.offer(plugin)
    facts = _facts(plugin, installed, offer)
    if json:
        _print_json(facts)
        return
    console = make_console()
    console.print(f"[bold]{plugin.name}[/] (from {facts['distribution']})")
    console.print(_docstring(plugin), markup=False)
    table = plain_table("", "param", "values", "default", "stage", "active when", "meaning")
    for param in facts["params"]:
        table.add_row(
            param["name"],
            param["values"],
            str(param["default"]),
            param["stage"],
            param["when"],
            param["help"],
        )
    console.print(table)
    console.print(f"here: {offer.in_words(len(offer.refused))}", markup=False)
    console.print(f"({place.words})", markup=False)


def declared() -> list[dict[str, Any]]:
    """What every installed plugin says of itself, whatever the machine."""
    from autotune import registry

    installed = registry.installed()
    return [_declared(plugin, installed) for plugin in installed.plugins.values()]


def _docstring(plugin: Plugin) -> str:
    import inspect

    return inspect.cleandoc(plugin.__doc__ or "")


def _find_place(model: str | None, task: str, device: str) -> Place:
    """This machine, and the model that is named."""
    from autotune.device import detect
    from autotune.launch.demo_progress import training_bar
    from autotune.search.offers import Place
    from autotune.search.plan import find_model
    from autotune.workload.model import read_config
    from autotune.workload.paths import cache_directory

    machine = detect(device)
    if model is None:
        return Place(machine, "" if task == "auto" else task)
    with training_bar() as bar:
        study = options.study_of(None, {"model": model, "task": task})
        found = find_model(study, cache_directory(), bar)
    return Place(machine, found.task, read_config(Path(found.path)), model)


def _facts(plugin: Plugin, installed: Registry, offer: Offer) -> dict[str, Any]:
    """What both commands say of a plugin."""
    refused = [{"params": dict(one.params), "reason": one.reason} for one in offer.refused]
    here = {"here": offer.in_words(), "possible_choices": len(offer.possible), "refused": refused}
    return _declared(plugin, installed) | here


def _declared(plugin: Plugin, installed: Registry) -> dict[str, Any]:
    """What a plugin says of itself, whatever the machine."""
    from autotune.params import any_of
    from autotune.space import needed_workload

    return {
        "name": plugin.name,
        "summary": _docstring(plugin).splitlines()[0],
        "description": _docstring(plugin),
        "distribution": installed.distributions[plugin.name],
        "tasks": list(plugin.requires.tasks),
        "device": plugin.requires.device,
        "packages": list(plugin.requires.packages),
        "workload": needed_workload(plugin),
        "params": [
            {
                "name": name,
                "values": param.describe(),
                "default": param.default,
                "stage": param.stage.value,
                "when": ", ".join(f"{k} = {any_of(v)}" for k, v in param.when.items()),
                "help": param.help,
            }
            for name, param in plugin.params.items()
        ],
    }


def _print_json(data: object) -> None:
    import json

    typer.echo(json.dumps(data, indent=2))
