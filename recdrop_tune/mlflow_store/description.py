"""The descriptions of a search's run and experiment, which MLflow's pages show first."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from recdrop_tune.events import EXHAUSTED, STOPPED, TIMEOUT, SearchStarted
from recdrop_tune.markdown import NOTE_LENGTH, harmless, quoted
from recdrop_tune.mlflow_store.pages import leaderboard_url
from recdrop_tune.records import Records
from recdrop_tune.states import SearchOutcome
from recdrop_tune.terminal import counts, format_best, format_best_gain, format_ending, trainings

_ENDS = {
    SearchOutcome.FINISHED: "**Over**, ",
    SearchOutcome.FAILED: "**Failed**, ",
    SearchOutcome.KILLED: "**Interrupted**, ",
}

_MARK = "*Written by recdrop-tune ({}). What you write here yourself stays as it is.*"
"""The last line of a description, with a digest of the rest of it."""


def description(
    records: Records,
    end: tuple[SearchOutcome, float] | None,
    summary: str | None,
    links: Sequence[str],
    folder: Path | None = None,
) -> str:
    """Describes a search on the page of its run: its state, or its result.

    `end` is MLflow's status and the time of the end, if the search is over; `summary` the result, once it is
    saved. Only `links` has links: all other text can be anybody's. `folder` is the project folder if it can
    be a stranger's, whose way to resume could be any command.
    """
    body = harmless(_state(records, end) if summary is None else summary)
    # Links come first, for the page folds all but the first lines.
    top, bottom = " · ".join(links), _resuming(records, end, folder)
    room = NOTE_LENGTH - len(top) - len(bottom) - len(_MARK) - 30
    if len(body) > room:
        body = body[: max(room, 0)].rpartition("\n")[0]
    text = "\n\n".join(filter(None, [top, body.strip(), bottom]))
    return f"{text}\n\n{_mark_of(text)}"


def links_of(
    uri: str, experiment_id: str, run_id: str, search: SearchStarted, report: bool
) -> list[str]:
    """Links from the page of a search's run to its trials and, if it is an artifact, to its report."""
    # They start with `#`, because a page can be reached under several addresses. Databricks has other pages.
    trials = leaderboard_url(uri, experiment_id, search.search_id, search.direction != "max")
    if trials is None:
        return []
    page = f"#/experiments/{experiment_id}/runs/{run_id}/artifacts/result/report.html"
    links = [f"[Report with figures]({page}?workflowType=machine_learning)"] if report else []
    return [*links, f"[All trials, best first](#{trials.partition('#')[2]})"]


def _mark_of(text: str) -> str:
    return _MARK.format(hashlib.sha256(text.encode()).hexdigest()[:8])


def is_the_users(note: str | None) -> bool:
    """Returns whether somebody else has written a description, or changed one of ours."""
    text, _, last = (note or "").strip().rpartition("\n\n")
    return bool(last) and last != _mark_of(text)


def _state(records: Records, end: tuple[SearchOutcome, float] | None) -> str:
    """Describes the state of a search that has no result yet."""
    search = records.search
    assert search is not None
    most = "" if search.max_trials is None else f" of at most {search.max_trials}"
    numbers = [f"{len(records.trials)}{most} trials started"]
    if records.models:
        numbers = [f"comparing {', '.join(records.models)}"]
    numbers += [f"{number} {state}" for state, number in counts(records).items()]
    if end is None:
        when = max([search.time, *(record.last_sign for record in records.trials.values())])
        word = "**Running**, as of "
        if records.confirming is not None:
            done, total = trainings(records)
            numbers.append(f"{done} of {total} trainings of the confirmation done")
    else:
        when = end[1]
        word = _ENDS[end[0]]
    clock = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(when))
    state = f"{word}{clock}: {', '.join(numbers)}."
    if best := format_best(records):
        state += f" Best so far: {'; '.join(filter(None, (best, format_best_gain(records))))}."
    return "\n\n".join(filter(None, [state, format_ending(records)]))


def _resuming(
    records: Records, end: tuple[SearchOutcome, float] | None, folder: Path | None
) -> str:
    """Writes how to resume a search; nothing if its space is exhausted, or that is unknown."""
    search, reason = records.search, records.no_more and records.no_more.reason
    over = end is not None and end[0] == SearchOutcome.FINISHED
    if search is None or search.resume_hint is None or (over and reason == EXHAUSTED):
        return ""
    how = quoted(search.resume_hint)
    if folder is not None:
        how = f"run it again with the folder {quoted(str(folder.absolute()))}"
    most = "max_seeds" if records.models else "max_trials"
    more = f", with a larger `{most}`" if over and reason not in (STOPPED, TIMEOUT) else ""
    return f"To resume{more}: {how}"
