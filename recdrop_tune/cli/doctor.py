"""`recdrop-tune doctor`: what of this machine a search would use, and what is in its way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import click

from recdrop_tune.cli.doctor_checks import FAIL, OK, WARN, Check, other_backends
from recdrop_tune.cli.store import be_quick_and_quiet

_COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}


@click.command()
@click.option("--tracking-uri", "uri", help="Database or server for MLflow's runs.")
@click.option("--no-timing", is_flag=True, help="Leave out the timing of training steps.")
@click.pass_context
def doctor(context: click.Context, uri: str | None, no_timing: bool) -> None:
    """Checks what a search needs on this machine.

    A line a check: ok, warn or fail, and what to do. Looks at the versions, the GPUs, cuDNN, the store of
    MLflow's runs, Ray and the current folder, and times training steps. Nothing is changed
    or made. The exit code is 1 if a check fails.
    """
    be_quick_and_quiet()
    failed = False
    for name, check in _checks(uri, no_timing).items():
        result = made(check)
        failed = failed or result.level == FAIL
        level = click.style(f"{result.level:<4}", fg=_COLOURS[result.level])
        click.echo(f"{level}  {name:<8}  {result.line()}")
    if failed:
        context.exit(1)


def made(check: Callable[[], Check]) -> Check:
    """Makes a check; one that breaks is a failure like any other."""
    try:
        return check()
    except Exception as error:
        fix = "Reinstall the package that the error comes from; if that does not help, report it."
        if isinstance(error, ModuleNotFoundError):
            fix = (
                f"Install `{error.name}`, or set KERAS_BACKEND to another backend if it names that"
            )
            fix += f"; installed here: {', '.join(here)}." if (here := other_backends()) else "."
        return Check(FAIL, f"This could not be checked: {type(error).__name__}: {error}", fix)


def _checks(uri: str | None, no_timing: bool) -> dict[str, Callable[[], Check]]:
    from recdrop_tune.cli import doctor_checks as checks
    from recdrop_tune.cli.doctor_store import mlflow_store

    found: dict[str, Callable[[], Check]] = {
        "python": checks.python,
        "packages": checks.packages,
        "gpu": checks.gpus,
        "cudnn": checks.cudnn,
        "timing": checks.timing,
        "mlflow": partial(mlflow_store, uri),
        "ray": checks.ray,
        "folder": checks.folder,
    }
    if no_timing:
        del found["timing"]
    return found
