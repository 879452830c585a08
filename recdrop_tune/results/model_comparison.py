"""The comparison of models that were trained with the same fresh seeds."""

from __future__ import annotations

import math
import platform
import time
from dataclasses import dataclass
from functools import cached_property
from html import unescape
from pathlib import Path
from typing import Any, Self

import pandas as pd

from recdrop_tune.catalog import MILLISECONDS
from recdrop_tune.results.intervals import HELPED, HURT, NO_DIFFERENCE, NOT_KNOWN
from recdrop_tune.results.outline import Section, format_backends, format_data
from recdrop_tune.results.paired_trainings import PairedTrainings
from recdrop_tune.results.plots import comparison_figure
from recdrop_tune.results.render import as_html, as_text, write_page
from recdrop_tune.results.stored import read_search
from recdrop_tune.results.verdict import (
    deciding_interval,
    format_advice,
    format_count,
    format_failures,
    format_more_seeds,
)
from recdrop_tune.standing import format_number


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

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Reads a comparison from its project folder; it can still be running.

        Args:
            directory: The project folder.

        Raises:
            ProjectError: The folder holds no comparison, or a damaged one.
        """
        folder = Path(directory).expanduser()
        return cls(read_search(folder, "ModelComparison"), folder)

    def __str__(self) -> str:
        table = "" if self.runs.empty else f"\n\n{self.brief().to_string(index=False)}"
        return f"{self.verdict}{table}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self.names.values())} in {self.folder}>"

    def _repr_html_(self) -> str:
        return as_html(comparison_outline(self)[:2])

    @property
    def outcome(self) -> str:
        """`"better"`, `"worse"`, `"no difference"` or `"not known"`.

        It is that of the best of the compared models against the baseline, on the test data if there are any.
        """
        outcome = NOT_KNOWN if self.lead is None else self.outcomes[self.lead]
        return self.asked.words.get(outcome, outcome)

    @cached_property
    def verdict(self) -> str:
        """The answer in words: first of the best of the compared models, then of the others."""
        lead = self.lead
        if lead is None:
            names = ", ".join(self.names[name] for name in self.order)
            scored = f"scores exist only for {names}" if names else "none has a score"
            sentences = [f"Which model is better is not known: {scored}."]
        else:
            others = [name for name in self.order if name in self.judged and name != lead]
            sentences = [_compared(self, name) for name in [lead, *others]]
        failures = format_failures(self, f"of {self.asked.base}")
        return " ".join([*sentences, *failures, *format_advice(self.records)])

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


def _compared(comparison: ModelComparison, name: str) -> str:
    gain, records = comparison.judged[name], comparison.records
    model, baseline = comparison.names[name], comparison.asked.base
    outcomes = {
        HELPED: f"{model} is better than {baseline}",
        HURT: f"{model} is worse than {baseline}",
        NO_DIFFERENCE: f"Between {model} and {baseline} there is no difference of more than "
        f"{format_number(comparison.margin(comparison.metric))}",
        NOT_KNOWN: f"Whether {model} is better than {baseline} is not known",
    }
    if math.isnan(gain.gain):
        return f"{outcomes[NOT_KNOWN]}: no seed has trained both."
    if not any(gain.differences.values()):
        return f"{model} and {baseline} have the same scores with each seed."
    sign = -1 if gain.gain < 0 else 1
    level, *ends = deciding_interval(gain)
    low, high = sorted(sign * end for end in ends)
    way = "lower" if records.cost(sign) > 0 else "higher"
    seeds = format_count(gain.trainings, "seed")
    difference = f"{comparison.metric} {way} by {format_number(abs(gain.gain))}"
    proof = f"{level} interval {format_number(low)} to {format_number(high)}, {seeds}"
    if math.isnan(low):
        proof = f"{seeds}, which prove{'s' * (gain.trainings == 1)} nothing"
    answer = f"{outcomes[gain.outcome]}: {difference} ({proof})."
    return " ".join([answer, *format_more_seeds(comparison, name, gain.gain)])


def comparison_outline(comparison: ModelComparison) -> list[Section]:
    """Lists the sections of the report about compared models; the first two are its summary."""
    records = comparison.records
    assert records.search is not None
    search = records.search
    lines = [comparison.verdict, format_backends(records), *format_data(search)]
    sections = [Section("", [*filter(None, lines)])]
    if not comparison.runs.empty:
        note = (
            f"All trained with the same fresh seeds. `gain` is over `{comparison.asked.base}`, seed by "
            "seed. The 95 % intervals hold for all models together, whenever it stopped."
        )
        sections.append(Section("Models", note=note, table=comparison.brief()))
        picture = comparison_figure(comparison)
        sections.append(Section(unescape(picture.layout.title.text), figure=picture))
        trainings = comparison.runs.dropna(axis="columns", how="all")
        sections.append(Section("Trainings", table=trainings))
    settings = {
        "metric": f"{records.objective}, {records.direction}",
        "experiment": search.experiment,
        "began": time.strftime("%Y-%m-%d %H:%M", time.localtime(records.began)),
        "platform": platform.platform(),
        **search.info,
    }
    table = pd.DataFrame(settings.items(), columns=["setting", "value"])
    where = Section("", [f"Folder: {comparison.folder}"])
    return [*sections, Section("Settings and versions", table=table), where]
