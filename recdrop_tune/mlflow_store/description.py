"""What MLflow's pages say of a search first: the descriptions of its run and of its experiment."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from recdrop_tune import standing
from recdrop_tune.errors import plain
from recdrop_tune.events import EXHAUSTED, SearchStarted
from recdrop_tune.mlflow_store.pages import leaderboard_url, run_name, searched
from recdrop_tune.records import QUESTIONS, Records
from recdrop_tune.standing import amount
from recdrop_tune.terminal import confirmed, counts, gain_words, no_more_words

NOTE = "mlflow.note.content"
"""Tag of a run, or of an experiment, that MLflow's pages show as its description, in Markdown."""

NOTE_LENGTH = 5000
"""The longest description of a run, for the oldest servers (MLflow 3 takes 8000 characters of a tag)."""

EXPERIMENT = (
    "Searches for the dropout of recurrent layers, by recdrop-tune: each row under *Model training*, *Runs* "
    "is one. Click on its name for what it found, or on the plus sign beside it for its trials, which are "
    "named by what they try, as in `0012 variational recurrent 0.3`. The metric `objective` is what trials "
    "are compared by. The command `recdrop-tune ui` opens the trials of a search, best first."
)
"""The description of an experiment that has none."""

_TOP = 5
"""So many trials are in a description, and so many columns of what differs between them."""


def harmless(markdown: str) -> str:
    """Takes links, images, bare addresses and HTML out of Markdown that quotes others' words.

    The page of a run would load an image from an address that the words name. Applied twice it changes
    nothing more.

    Example:
        >>> harmless("| rate | ![](host/pixel) http://host <img> |")
        '| rate | !&#91;](host/pixel) http&#58;//host &lt;img> |'
    """
    return _WWW.sub(r"\1&#46;", _without_links(markdown).replace("://", "&#58;//"))


_WWW = re.compile(r"(www)\.", re.IGNORECASE)


def _without_links(markdown: str) -> str:
    """Does what earlier versions did, whose descriptions are told by that."""
    return plain(markdown).replace("[", "&#91;").replace("<", "&lt;")


def quoted(text: str) -> str:
    """Quotes a path or a command: as code, unless it has something that `harmless` would change there.

    Markdown decodes nothing in code.

    Example:
        >>> quoted("runs/speech"), quoted("runs[1]")
        ('`runs/speech`', 'runs&#91;1&#93;')
    """
    if text.isprintable() and "`" not in text and harmless(text) == text:
        return f"`{text}`"
    line = plain(text).replace("\n", " ")
    return re.sub(r"[^\w\s/='\",-]|_", lambda found: f"&#{ord(found[0])};", line)


def markdown_table(names: Iterable[object], rows: Iterable[Iterable[str]]) -> str:
    r"""Writes a table.

    Example:
        >>> print(markdown_table(["rate"], [["0.1"], ["a|b"]]))
        | rate |
        | --- |
        | 0.1 |
        | a\|b |
    """
    head = [str(name) for name in names]
    head, *cells = [
        [each.replace("|", "\\|").replace("\n", " ") for each in row] for row in (head, *rows)
    ]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def description(
    records: Records,
    end: tuple[str, float] | None,
    summary: str | None,
    links: Sequence[str],
    folder: Path | None = None,
) -> str:
    """Describes a search on the page of its run: how it stands, or what it found.

    Args:
        records: What is known of the search.
        end: MLflow's status and the time of the end; `None` while the search is running.
        summary: The outcome as it was saved; `None` before, and if the search went on since.
        links: Links in Markdown. All else may be anybody's words, and has none.
        folder: The project folder of a search that may be a stranger's, whose own words on how to go on
            with it might be any command.
    """
    said = harmless(_standing_in_words(records, end) if summary is None else summary)
    # On top, for the page folds all but the first lines.
    top, bottom = " · ".join(links), _going_on(records, end, folder)
    room = NOTE_LENGTH - len(top) - len(bottom) - len(_MARK) - 30
    if len(said) > room:
        said = said[: max(room, 0)].rpartition("\n")[0]
    text = "\n\n".join(filter(None, [top, said.strip(), bottom]))
    return f"{text}\n\n{_mark_of(text)}"


def links_of(
    uri: str, experiment_id: str, run_id: str, search: SearchStarted, report: bool
) -> list[str]:
    """Links from the page of a search's run to its report and to its trials.

    They begin with `#`, for nobody knows under which address a page is seen.

    Args:
        uri: Tracking URI.
        experiment_id: The experiment.
        run_id: The run of the search.
        search: The search.
        report: Whether the report is among the run's artifacts.

    Returns:
        The links; none for Databricks, whose pages are its own.
    """
    trials = leaderboard_url(uri, experiment_id, search.search_id, search.direction != "max")
    if trials is None:
        return []
    found = [f"[All trials, best first](#{trials.partition('#')[2]})"]
    if report:
        page = f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/result/report.html"
        found.insert(0, f"[Report with figures]({page}?workflowType=machine_learning)")
    return found


_MARK = "*Written by recdrop-tune ({}). What you write here yourself stays as it is.*"


def _mark_of(text: str) -> str:
    """Returns the last line of a description, which has a digest of the rest of it."""
    return _MARK.format(hashlib.sha256(text.encode()).hexdigest()[:8])


def is_the_users(note: str | None, summaries: Iterable[str] = ()) -> bool:
    """Says whether somebody else has written a description, or changed one of ours.

    Args:
        note: The description.
        summaries: Those of the search, which earlier versions wrote without a digest.
    """
    text, _, last = (note or "").strip().rpartition("\n\n")
    if not last or last == _mark_of(text):
        return False
    return all(note != _without_links(each)[:NOTE_LENGTH] for each in summaries)


def _standing_in_words(records: Records, end: tuple[str, float] | None) -> str:
    """Tells how a search stands that has saved no result."""
    best = standing.best(records)
    parts = [_state(records, end)]
    early = no_more_words(records)
    parts += [] if early is None else [early]
    if best is None:
        return "\n\n".join(parts)
    words = ", ".join(f"{name} {_shown(value)}" for name, value in best.active.items())
    score = filter(None, (amount(best.score or 0.0), gain_words(records)))
    parts[0] += f" Best {records.objective} so far: {', '.join(score)}, by {words}."
    rows = [[name, _shown(value)] for name, value in best.active.items()]
    parts.append(
        "### Best configuration so far\n\n" + markdown_table(["hyperparameter", "value"], rows)
    )
    parts.append("### Best trials so far\n\n" + _best_trials(records))
    return "\n\n".join(parts)


def _state(records: Records, end: tuple[str, float] | None) -> str:
    search = records.search
    most = "" if search is None or search.max_trials is None else f" of at most {search.max_trials}"
    trials = f"{len(records.trials)}{most} trials begun"
    number = ", ".join(
        [trials, *(f"{number} {state}" for state, number in counts(records).items())]
    )
    if end is not None:
        words = {"FINISHED": "Over", "FAILED": "Failed"}.get(end[0], "Broken off")
        return f"**{words}** ({_clock(end[1])}): {number}."
    seen = max((each.last_sign for each in records.trials.values()), default=0.0)
    seen = max(seen, 0.0 if search is None else search.time)
    confirming = records.confirming
    if confirming is not None:
        done = confirmed(records)
        number += f"; the best are trained again, {done} of {confirming.total} times so far"
    return f"**Running**, as of {_clock(seen)}: {number}."


def _best_trials(records: Records) -> str:
    every = records.trials.values()
    names = searched(each.hyperparameters for each in every)
    # The others are in the names of the runs.
    names = [name for name in names if name.rpartition("/")[2] not in QUESTIONS][:_TOP]
    rows = [
        [
            run_name(each.number, each.trial_id, each.hyperparameters),
            amount(each.score or 0.0),
            *(_shown(each.hyperparameters.get(name)) for name in names),
        ]
        for each in standing.ranked(records)[:_TOP]
    ]
    return markdown_table(["run", records.objective, *names], rows)


def _going_on(records: Records, end: tuple[str, float] | None, folder: Path | None) -> str:
    """Says how to go on with a search; nothing where one cannot, or that is not known."""
    search, early = records.search, records.no_more
    if search is None:
        return ""
    if search.go_on is not None and folder is not None:
        how = f"run it again with the folder {quoted(str(folder.absolute()))}"
    elif search.go_on is not None:
        how = quoted(search.go_on)
    elif search.space is None:
        how = "make the tuner again with the same `directory` and `project_name`, and `overwrite=False`"
    else:
        how = ""  # `tune` says it since; before it did not.
    over = end is not None and end[0] == "FINISHED"
    if not how or (over and early is not None and early.reason == EXHAUSTED):
        return ""
    where = "" if search.host is None or folder is not None else f" (on {quoted(search.host)})"
    more = ", with a larger `max_trials`" if over and early is None else ""
    return f"To go on{where}{more}: {how}"


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when))


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
