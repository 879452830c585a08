"""`compare_models`: whether one model is better than another one, over fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from recdrop_tune.errors import (
    InvalidArgumentError,
    RecdropError,
    exception_line,
    invalid_argument,
)
from recdrop_tune.results import ModelComparison
from recdrop_tune.search.compared_models import ComparedModels
from recdrop_tune.search.confirm import MODELS
from recdrop_tune.search.execution import carry_out
from recdrop_tune.search.hypermodel_of import may_report
from recdrop_tune.search.settings import Confirm, MLflow, SearchConfig, Training, Workers
from recdrop_tune.search.tuning import prepare


def compare_models(
    models: Mapping[str, Any],
    train: Any,
    validation: Any = None,
    *,
    baseline: str | None = None,
    metric: Any = "val_loss",
    epochs: int = 20,
    batch_size: int = 32,
    seeds: int = 5,
    max_seeds: int = 20,
    margin: float | None = None,
    test: Any = None,
    training: Training | None = None,
    workers: int | Workers | None = None,
    tracking: str | MLflow | bool | None = True,
    directory: str | Path | None = None,
    seed: int | None = None,
    verbose: int = 1,
    overwrite: bool = False,
) -> ModelComparison:
    """Finds out whether models are really better than another one, or only luckier.

    All are trained with the same fresh seeds, which decide first weights, order of the data, and masks. After
    5, 8, 13 and 20 seeds it looks, and ends as soon as it is known how the best of the compared models
    differs from the baseline. The 95 % intervals hold for all models together, whenever it ends. Any Keras
    model can be compared, with or without recurrent layers.

    Args:
        models: At least two by name: compiled Keras models, or functions that build one. A model is copied
            and stays as it is. Each training gets new weights, also where the model has been trained, but for
            frozen layers.
        train: `(x, y)` or `(x, y, sample_weight)` arrays, a dataset, or a function that makes them; as in
            `tune`.
        validation: The same, for a metric that starts with `val_`.
        baseline: The name of the model that the others are compared with, by default the first.
        metric: The metric to compare, at the best epoch of each training; a `keras_tuner.Objective` if its
            name does not tell whether less is better.
        epochs: Epochs of each training.
        batch_size: Batch size for arrays.
        seeds: How many times each model is trained at first.
        max_seeds: How many times at most.
        margin: The largest difference that does not matter, in units of the metric. By default a hundredth of
            the baseline's mean.
        test: Data like `validation` that are evaluated once after each training, with the weights of its best
            epoch; then the answer is about them.
        training: Folds, class weights, callbacks and further arguments of `Model.fit`. `executions` and what
            is about trials are not used.
        workers: How many trainings run at the same time, with Ray; or `Workers`.
        tracking: Name of the MLflow experiment; or `MLflow`. `None` or `False` turns MLflow off. The
            comparison is a run, and each training is a child of it.
        directory: The project folder, by default a new one in `recdrop_runs`. If it has the same comparison,
            that is resumed: nothing is trained twice. If the answer is not known yet, a larger `max_seeds`
            trains more seeds.
        seed: Seed that those of the trainings are derived from; by default a random one.
        verbose: 0 prints nothing, 1 a line for each training, 2 also what workers print.
        overwrite: Whether to delete the comparison in `directory` and start a new one.

    Returns:
        The answer: in words, as tables, figure, page and LaTeX.

    Raises:
        InvalidArgumentError: An argument is invalid; nothing was started.
        ProjectError: The folder has something else, or cannot be written to; nothing was changed.
        RecdropError: A model cannot be built, or every training failed.

    Example:
        >>> answer = rdt.compare_models({"plain": plain, "zoneout": zoned}, (x, y), (x_val, y_val), epochs=30)
        >>> print(answer.verdict)
        zoneout is better than plain: val_loss lower by 0.0310 (95 % interval 0.0120 to 0.0500, 8 seeds).

    References:
        Bouthillier et al., 2021, Accounting for variance in machine learning benchmarks (arXiv:2103.03098).
    """
    given = dict(locals())
    compared = ComparedModels(models, baseline)
    confirm = Confirm(1, seeds=seeds, max_seeds=max_seeds, margin=margin, test=test)
    if confirm.seeds > confirm.max_seeds:
        expected = f"at least `seeds`, which is {seeds}"
        raise invalid_argument("max_seeds", expected=expected, received=max_seeds)
    arguments = {each.name: given[each.name] for each in fields(SearchConfig) if each.name in given}
    arguments |= {"model": compared, "objective": metric, "confirm": confirm}
    try:
        plan = prepare(SearchConfig(**arguments), train, validation)
    except InvalidArgumentError as error:
        raise error.renamed("metric") if "objective" in error.argument else error from None
    is_logged = any(map(may_report, plan.training.callbacks))
    compared.check(plan.goal.name, is_logged, plan.data.parts, batch_size, plan.training.fit)
    tuner, tracked = carry_out(replace(plan, question=MODELS, models=tuple(compared.builders)))
    answer = ModelComparison(tracked.records, Path(tuner.project_dir))
    if tracked.records.confirmations and not answer.order:
        why = exception_line(tracked.records.confirmations[-1].message or "").rstrip(".")
        raise RecdropError(
            f"Every training failed; the last one with: {why}. The folder is `{answer.folder}`."
        )
    return answer
