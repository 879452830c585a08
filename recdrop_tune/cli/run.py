"""`recdrop-tune run`: a search that a YAML file describes."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import click

from recdrop_tune.backends import check_importable, choose
from recdrop_tune.cli.store import load_quietly
from recdrop_tune.errors import RecdropError

if TYPE_CHECKING:  # Pydantic takes a third of a second to load.
    from recdrop_tune.cli.config import ConfigFile, FileConfirm, FileTraining

# Functions of the user's, which are found by `module:function` and called; and their failures in words.


class UserCodeError(RecdropError):
    """Code that a configuration names is not there, or has failed."""


def look_in(folder: Path) -> None:
    """Makes a folder the first that modules are looked for in, here and in processes started from here."""
    place = str(folder.resolve())
    sys.path.insert(0, place)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{place}{os.pathsep}{before}" if before else place


def resolve(reference: str, where: str, folder: Path) -> Any:
    """Imports what `module:function` names; `where` is its place in the configuration, which is in `folder`.

    Raises:
        UserCodeError: There is no such module or function, or the module cannot be imported.
    """
    module, _, path = reference.partition(":")
    found = _imported(module, reference, where, folder)
    for name in path.split("."):
        if not hasattr(found, name):
            near = get_close_matches(name, [each for each in dir(found) if each[0] != "_"], n=1)
            hint = f" Did you mean `{module}:{near[0]}`?" if near else ""
            file = getattr(found, "__file__", None) or module
            raise UserCodeError(f"{where}: there is no `{name}` in {file}.{hint}")
        found = getattr(found, name)
    return found


def call(function: Callable[[], Any], reference: str, where: str, folder: Path) -> Any:
    """Calls a function of the user's without arguments.

    Raises:
        UserCodeError: It raises an exception (the message has it, and the line that it came from), or
            returns nothing.
    """
    if not callable(function):
        raise UserCodeError(f"{where}: `{reference}` is no function but {function!r:.80}.")
    try:
        value = function()
    except (Exception, SystemExit) as error:
        raise UserCodeError(f"{where}: `{reference}` failed: {_in_words(error, folder)}") from error
    if value is None:
        raise UserCodeError(f"{where}: `{reference}` returned nothing. Is its `return` missing?")
    return value


def _imported(module: str, reference: str, where: str, folder: Path) -> Any:
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _failed(module, where, error, folder) from error
        names = [path.stem for path in folder.glob("*.py")]
        near = get_close_matches(module, names, n=1)
        hint = f" Did you mean `{near[0]}:{reference.partition(':')[2]}`?" if near else ""
        raise UserCodeError(
            f"{where}: there is no module `{error.name}`, neither in {folder.resolve()} nor installed.{hint}"
        ) from None
    except (Exception, SystemExit) as error:
        raise _failed(module, where, error, folder) from error
    beside, file = folder.resolve() / f"{module}.py", getattr(found, "__file__", None)
    if beside.exists() and (file is None or Path(file).resolve() != beside.resolve()):
        raise UserCodeError(
            f"{where}: `{module}` is {file or 'built into Python'}, which was imported before. Give the file "
            f"{beside} another name."
        )
    return found


def _failed(module: str, where: str, error: BaseException, folder: Path) -> UserCodeError:
    return UserCodeError(
        f"{where}: the module `{module}` cannot be imported: {_in_words(error, folder)}"
    )


def _in_words(error: BaseException, folder: Path) -> str:
    """Says what was raised and, where the code is beside the configuration, by which line."""
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, SyntaxError):  # It names the place itself.
        return said
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_beside(frame.filename, folder.resolve())
    ]
    return f"{said} ({own[-1].filename}, line {own[-1].lineno})" if own else said


def _is_beside(file: str, folder: Path) -> bool:
    """Says whether code is in the folder or below it, and is of no library that is installed there."""
    place = Path(file).resolve()
    # `<frozen os>` and its like are no files.
    return (
        not file.startswith("<")
        and place.is_relative_to(folder)
        and "site-packages" not in place.relative_to(folder).parts
    )


# The arguments of `tune`: what the configuration names is imported, and the data are loaded.


def arguments(file: ConfigFile) -> dict[str, Any]:
    """Returns the arguments of `tune` that a configuration says, but for the space.

    Raises:
        UserCodeError: What it names is not there, or has failed.
    """
    look_in(file.path.parent)
    config = file.config
    found = {**config.plain_arguments(), "objective": _objective(config.objective)}
    if config.model is not None:
        model = config.model
        named = isinstance(model, str) and ":" in model
        found["model"] = _model(file, str(model)) if named else model
    if config.training is not None:
        found["training"] = _training(file, config.training)
    data = _data(file)
    if config.confirm:
        found["confirm"] = _confirm(config.confirm, data.pop("test", None))
    return {**found, **data}


def _training(file: ConfigFile, given: FileTraining) -> Any:
    """Returns the settings of the trainings, with the callbacks in the place of their names."""
    from recdrop_tune.search import Training

    named = [
        _resolved(file, name, "training", "callbacks", number)
        for number, name in enumerate(given.callbacks)
    ]
    groups = None
    if given.groups is not None:
        function = _resolved(file, given.groups, "training", "groups")
        where = file.where("training", "groups")
        groups = call(function, given.groups, where, file.path.parent)
    return Training(**{**vars(given), "callbacks": named, "groups": groups})


def _confirm(given: int | FileConfirm, test: Any) -> Any:
    """Returns the settings of the confirmation, with its data; `tune` refuses a number that is wrong."""
    from recdrop_tune.search import Confirm

    if not isinstance(given, int):
        return Confirm(given.top, seeds=given.seeds, test=test)
    return given if test is None or given < 1 else Confirm(given, test=test)


def _resolved(file: ConfigFile, reference: str, *keys: str | int) -> Any:
    return resolve(reference, file.where(*keys), file.path.parent)


def _objective(given: Any) -> Any:
    if isinstance(given, list):
        return [_objective(each) for each in given]
    if isinstance(given, str):
        return given
    import keras_tuner as kt

    return kt.Objective(given.name, given.direction)


def _model(file: ConfigFile, reference: str) -> Any:
    """Returns a model, a build function or a hypermodel; calls what makes one without arguments."""
    found = _resolved(file, reference, "model")
    function = isinstance(found, FunctionType)
    wants = function and any(p.default is p.empty for p in signature(found).parameters.values())
    if isinstance(found, type) or (function and not wants):
        return call(found, reference, file.where("model"), file.path.parent)
    return found


def _data(file: ConfigFile) -> dict[str, Any]:
    """Returns the data of one function, or functions, which `tune` and its workers call."""
    given, folder = file.config.data, file.path.parent
    if isinstance(given, str):
        where = file.where("data")
        parts = call(_resolved(file, given, "data"), given, where, folder)
        return _split(parts, f"{where}: `{given}`", bool(file.config.confirm))
    if given.test is not None and not file.config.confirm:
        raise UserCodeError(
            f"{file.where('data', 'test')}: no `test` was expected without `confirm`, which alone looks at "
            "it. Write `confirm: 3` as well, or leave `test` out."
        )
    functions = {}
    for name, reference in given:
        if reference is not None:
            function = _resolved(file, reference, "data", name)
            functions[name] = partial(call, function, reference, file.where("data", name), folder)
    return functions


def _split(parts: Any, what: str, confirms: bool) -> dict[str, Any]:
    """Takes what a function has returned for training, validation and test data."""
    several = isinstance(parts, tuple | list) and len(parts) in (2, 3)
    if not several or all(hasattr(part, "shape") for part in parts):
        shapes = ", ".join(type(part).__name__ for part in parts) if several else ""
        raise UserCodeError(
            f"{what} has to return (train, validation) or (train, validation, test), each of them (x, y) or "
            f"a dataset. It returned {f'({shapes})' if several else type(parts).__name__}. A function for "
            "the training data alone goes under `data: {train: ...}`."
        )
    data = dict(zip(("train", "validation", "test"), parts, strict=False))
    if not confirms:  # Test data are for the confirmation, and nothing else.
        data.pop("test", None)
    return data


_CTRL_C = 130


@click.command()
@click.argument("config", metavar="CONFIG.yaml", type=click.Path(path_type=Path))
@click.option("--max-trials", type=int, help="The most trials that are run.")
@click.option("--epochs", type=int, help="Epochs of one trial.")
@click.option("--seed", type=int, help="Seed of the search.")
@click.option("--backend", help="Keras's backend: tensorflow, jax or torch.")
@click.option("--directory", help="Project folder, relative to the current folder.")
@click.option(
    "--overwrite/--no-overwrite", default=None, help="Whether to delete what search is there."
)
@click.option("--workers", type=int, help="How many trials run at the same time (extra `ray`).")
@click.option("--verbose", type=int, help="0: silent, 1: a line a trial, 2: a line an epoch too.")
def run(config: Path, **options: Any) -> None:
    """Runs the search that a YAML file describes.

    It prints its progress and what it found. The file names functions of yours, as `module:function`,
    which are looked for in its folder first, and are run: treat it like a script. An option goes before
    what the file says. On Ctrl-C it prints the best so far and how to resume the search.
    """
    try:
        given = {k: v for k, v in options.items() if v is not None}
        summary, unsaved = _summary(config, given)
    except KeyboardInterrupt as interrupt:
        for note in getattr(interrupt, "__notes__", ()):  # What there is, and how to go on.
            click.echo(note, err=True)
        raise SystemExit(_CTRL_C) from None
    click.echo(summary)
    if unsaved is not None:
        raise click.ClickException(
            f"The result was not saved: {unsaved}. The trials are kept: mend the cause, and run the search "
            "again with `--directory` to have it saved."
        )


def command_to_go_on(
    config: Path, options: Mapping[str, Any], folder: Path, overwrite: bool
) -> str:
    """Returns the command that goes on with the search of a configuration.

    Args:
        config: The configuration.
        options: The options that were given beside it.
        folder: The project folder. If it is absolute, the command is for any folder.
        overwrite: Whether the search was to delete what was in the folder.

    Example:
        >>> command_to_go_on(Path("a.yaml"), {"seed": 0, "overwrite": True}, Path("runs/a b"), True)
        "recdrop-tune run a.yaml --seed 0 --directory 'runs/a b' --no-overwrite"
    """
    kept = {k: v for k, v in options.items() if k not in ("directory", "overwrite")}
    words = ["recdrop-tune", "run", str(config.absolute() if folder.is_absolute() else config)]
    for name, value in {**kept, "directory": folder}.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join([*words, *(["--no-overwrite"] if overwrite else [])])


def _summary(path: Path, options: dict[str, Any]) -> tuple[str, str | None]:
    """Runs the search; returns its summary, and why the result was not saved."""
    from recdrop_tune.cli.config import read_config

    file = read_config(path, options)
    space: dict[str, Any] = {"space": file.space()} if file.config.space is not None else {}
    try:
        check_importable() if file.config.backend is None else choose(file.config.backend)
    except RecdropError as error:
        raise click.ClickException(file.explained(error)) from None
    load_quietly("recdrop_tune.tuner")  # With Keras: only now that nothing is wrong with the file.
    from recdrop_tune import tune
    from recdrop_tune.events import STOPPED

    try:
        result = tune(**arguments(file), **space)
    except UserCodeError as error:
        raise click.ClickException(str(error)) from None
    except RecdropError as error:
        raise click.ClickException(file.explained(error)) from None
    summary = result.summary()
    early = result.search.records.no_more
    if early is not None and early.reason == STOPPED:
        again = command_to_go_on(path, options, result.directory, bool(file.config.overwrite))
        summary += f"\nTo go on: {again}"
    return summary, result.tracking.unsaved
