"""``autotune plugins``: what can be tried, here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli import options, plugins_check, plugins_page

if TYPE_CHECKING:
    from autotune.plugin import Plugin
    from autotune.registry import Registry

app = typer.Typer(help="The optimizations that are installed.", no_args_is_help=True)
app.command("check")(plugins_check.check)


@app.command("list")
def list_plugins(
    json: options.AsJson = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a page in Markdown, with all params.")
    ] = False,
) -> None:
    """List the installed plugins and whether they apply on this machine.

    Example: autotune plugins list
    """
    from autotune import registry
    from autotune.cli.show import make_console
    from autotune.report.console import plain_table

    installed = registry.installed()
    every = [_facts(plugin, installed) for plugin in installed.plugins.values()]
    if json:
        _print_json(every)
        return
    if markdown:
        typer.echo(plugins_page.page(every), nl=False)
        return
    table = plain_table("", "plugin", "what it does", "params", "from", "here")
    for facts in every:
        table.add_row(
            facts["name"],
            facts["summary"],
            ", ".join(param["name"] for param in facts["params"]),
            facts["distribution"],
            facts["missing"] or "yes",
        )
    make_console().print(table)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of the plugin.")], json: options.AsJson = False
) -> None:
    """Show a plugin's params, values and requirements.

    Example: autotune plugins show quantize
    """
    from autotune import registry
    from autotune.cli.show import make_console
    from autotune.report.console import plain_table

    installed = registry.installed()
    plugin = installed.get(name)
    facts = _facts(plugin, installed)
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
    workload = f", with {facts['workload']}" if facts["workload"] else ""
    console.print(f"here: {facts['missing'] or f'yes{workload}'}", markup=False)


def _docstring(plugin: Plugin) -> str:
    import inspect

    return inspect.cleandoc(plugin.__doc__ or "")


def _facts(plugin: Plugin, installed: Registry) -> dict[str, Any]:
    """What both commands say of a plugin."""
    from autotune.device import detect
    from autotune.params import any_of
    from autotune.space import missing, needed_workload

    tasks = plugin.requires.tasks
    return {
        "name": plugin.name,
        "summary": _docstring(plugin).splitlines()[0],
        "description": _docstring(plugin),
        "distribution": installed.distributions[plugin.name],
        "tasks": list(tasks),
        "device": plugin.requires.device,
        "packages": list(plugin.requires.packages),
        "workload": needed_workload(plugin),
        "missing": missing(plugin, tasks[0] if tasks else "causal-lm", detect()),
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
