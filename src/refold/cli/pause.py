"""`refold pause` and `refold resume`: a read model that is to stand still for a while."""

from __future__ import annotations

import click

from refold.app import Context
from refold.cli.command import Command, actor_option, app_of_settings, app_options, json_option
from refold.cli.printing import print_json
from refold.cli.store import on_context

__all__ = ["pause", "resume"]


@click.command("pause", cls=Command, short_help="Let a read model stand still, until it is resumed.")
@click.argument("name")
@click.option("--reason", default="", help="Why; `refold status` and waiting reads show it.")
@actor_option
@json_option
@app_options
def pause(name: str, reason: str, actor: str, as_json: bool) -> None:
    """Let the read model or hand-written projection NAME stand still, whatever process keeps it, until `refold resume
    NAME`.

    Its rows can be read. Whoever waits for newer ones is told that it is paused, by whom and why.
    """
    which = app_of_settings().followed_named(name)

    async def work(context: Context) -> bool:
        return await context.projections.pause(which, actor=actor, reason=reason)

    changed = on_context(work, projections=False)
    if as_json:
        print_json({"name": name, "paused": True, "changed": changed})
    else:
        click.echo(f"{name} is paused" if changed else f"{name} is paused already; see `refold status`")


@click.command("resume", cls=Command, short_help="Let a read model go on that is paused, or has stopped.")
@click.argument("name")
@click.option("--reason", default="", help="Why; it is kept in the log of operations.")
@actor_option
@json_option
@app_options
def resume(name: str, reason: str, actor: str, as_json: bool) -> None:
    """Let the read model or hand-written projection NAME go on that is paused, or that has stopped: what failed is
    tried again, also an event that killed its worker.
    """
    which = app_of_settings().followed_named(name)

    async def work(context: Context) -> bool:
        return await context.projections.resume(which, actor=actor, reason=reason)

    changed = on_context(work, projections=False)
    if as_json:
        print_json({"name": name, "changed": changed})
    else:
        click.echo(f"{name} goes on" if changed else f"{name} is neither paused nor stopped")
