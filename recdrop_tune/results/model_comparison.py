"""The comparison of models that were trained with the same fresh seeds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd

from recdrop_tune.catalog import MILLISECONDS
from recdrop_tune.events import Configuration, ConfirmationEnded
from recdrop_tune.results.frames import format_cell
from recdrop_tune.results.intervals import HELPED, HURT, NOT_KNOWN, Pair
from recdrop_tune.results.outline import comparison_outline
from recdrop_tune.results.paired_trainings import PairedTrainings
from recdrop_tune.results.plots import comparison_figure
from recdrop_tune.results.render import as_html, as_text, write_page
from recdrop_tune.results.stored import read_search
from recdrop_tune.results.verdict import format_comparison

_WORDS = {HELPED: "better", HURT: "worse"}
"""The outcomes that dropout and models have other words for."""


@dataclass(frozen=True, repr=False)
class ModelComparison(PairedTrainings):
    """What `compare_models` has found: whether a model is better than the baseline, and by how much.

    `print` writes the answer in a sentence or two and the table for people, as a notebook shows them.

    `table` has one row for each model, the best mean first, corrected for the seeds that only some were
    trained with. Its columns are `model`, `ms_per_step` (the median milliseconds of a training step), `n` and
    `failed` (trainings with and without a score), `epochs` (the most of a training), and of the metric `mean`
    and `std`, `gain` (over the baseline, seed by seed; positive is better), `gain_low` and `gain_high` (its
    95 % interval), `worst` (the worst difference of a seed), `better` (the share of seeds that favour it) and
    `outcome`. With test data, the same for the metric on them: `test_loss`, `test_loss_std`, `test_gain` and
    so on, and `worst`, `better` and `outcome` are on them.

    `runs` has one row for each training, with the columns `model`, `repeat`, `seed`, `best_epoch`, `seconds`,
    the metric, the other metrics at the best epoch, those on the test data as `test_...`, and `message`, the
    error of a failed training.

    Attributes:
        records: The records of its events.
        folder: The project folder.

    Example:
        >>> answer = rdt.ModelComparison.load("recdrop_runs/zoneout")
        >>> print(answer)
        >>> answer.table[["model", "mean", "gain", "gain_low", "gain_high", "outcome"]]
    """

    folder: Path = Path()
    columns = ("model",)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Reads a comparison from its project folder; it can still be running.

        Args:
            directory: The project folder.

        Raises:
            ProjectError: The folder holds no comparison, or a damaged one.
        """
        folder = Path(directory).expanduser()
        return cls(read_search(folder, of_models=True), folder)

    def __str__(self) -> str:
        table = "" if self.runs.empty else f"\n\n{self.brief().to_string(index=False)}"
        return f"{self.verdict}{table}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self.models)} in {self.folder}>"

    def _repr_html_(self) -> str:
        return as_html(comparison_outline(self)[:2])

    @property
    def models(self) -> list[str]:
        """The names of the models, the baseline first."""
        return self.records.models

    @property
    def names(self) -> dict[str, str]:
        """The names of the models by their ids in the records."""
        return {str(number): name for number, name in enumerate(self.models)}

    @cached_property
    def pairs(self) -> list[Pair]:
        """The trained models, each with the baseline."""
        baseline, *compared = self.names
        trained = {each.trial_id for each in self._trainings}
        return [(name, baseline) for name in compared if {name, baseline} <= trained]

    @property
    def ids(self) -> list[str]:
        """The trained models: the best first, and last those without a score."""
        trained = sorted({each.trial_id for each in self._trainings}, key=int)
        return list(dict.fromkeys([*self.order, *trained]))

    @property
    def lead(self) -> str | None:
        """The best mean among the models that are compared with the baseline."""
        return next((name for name in self.order if name in self.judged), None)

    @property
    def outcome(self) -> str:
        """`"better"`, `"worse"`, `"no difference"` or `"not known"`.

        It is that of the best of the compared models against the baseline, on the test data if there are any.
        """
        outcome = NOT_KNOWN if self.lead is None else self.outcomes[self.lead]
        return _WORDS.get(outcome, outcome)

    @cached_property
    def verdict(self) -> str:
        """The answer in words: first of the best of the compared models, then of the others."""
        return format_comparison(self)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each model, the best first."""
        table = super().table
        return table.assign(outcome=table["outcome"].replace(_WORDS))

    def plot(self) -> Any:
        """Draws the score of each training, and the gains over the baseline with their intervals.

        Returns:
            A Plotly figure.

        Example:
            >>> answer.plot().show()
        """
        return comparison_figure(self)

    def report(self, path: str | Path = "report.html") -> Path:
        """Writes everything about the comparison into one page that opens without a network.

        Args:
            path: The HTML file. An existing one is replaced.

        Returns:
            The file.

        Raises:
            InvalidArgumentError: The file cannot be written.
        """
        return write_page(path, self.folder.absolute().name, comparison_outline(self))

    def summary(self) -> str:
        """Writes the answer and the table, as `recdrop-tune report` does."""
        return as_text(each for each in comparison_outline(self) if each.title in ("", "Models"))

    def to_latex(self) -> str:
        """Writes the table for a paper: a `tabular` of the package booktabs, one row for each model."""
        table = self.brief().drop(columns=[MILLISECONDS, "worst", "better"], errors="ignore")
        table = table[sorted(table, key=lambda name: (name != "model", name == "outcome"))]
        sides = "".join("l" if name in ("model", "outcome") else "r" for name in table)
        text = table.to_latex(index=False, escape=True, column_format=sides)
        return str(text).replace("±", r"$\pm$")

    def _place(self, training: ConfirmationEnded) -> tuple[Any, ...]:
        return (int(training.trial_id),)

    def _about(self, configuration: Configuration) -> dict[str, Any]:
        return {"model": self.names[configuration.trial_id]}

    @property
    def _settings(self) -> pd.DataFrame:
        columns = {"model": [self.names[name] for name in self.ids]}
        frame = pd.DataFrame(columns, self.ids, dtype="string")
        if MILLISECONDS in self.runs:
            steps = [self.trainings(name)[MILLISECONDS].median() for name in self.ids]
            frame[MILLISECONDS] = pd.Series(steps, self.ids, "Float64")
        return frame

    def _brief_settings(self) -> dict[str, list[str]]:
        columns = self._settings
        return {str(name): [*map(format_cell, columns[name])] for name in columns}
