"""`recdrop-tune report` and `TuneResult.load`: a search read back from its folder alone."""

import shutil

import numpy as np
import pandas as pd
import pytest

import recdrop_tune as rdt
from recdrop_tune.files import JOURNAL
from tests.browser import running_browser
from tests.commands import output_of, refusal_of
from tests.small_search import Failing, data, tuned


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory, planted_uri, running_eagerly):
    """A search by `tune` with a confirmation."""
    space = {"units": 4, "wrapper": ["none", "recurrent"], "rate": [0.1, 0.3]}
    with running_eagerly():
        return tuned(
            tmp_path_factory.mktemp("stored") / "speech",
            rdt.MLflow("stored", uri=planted_uri),
            model=None,
            space=space,
            max_trials=2,
            confirm=rdt.Confirm(1, seeds=2, max_seeds=2),
        )


def test_everything_but_models_and_mlflow_is_in_the_journal(planted, tmp_path):
    result = planted
    shutil.copy(result.directory / JOURNAL, tmp_path)
    loaded = rdt.TuneResult.load(tmp_path)
    theirs, ours = (each.trials.drop(columns="mlflow_run_id") for each in (result, loaded))
    pd.testing.assert_frame_equal(theirs, ours)
    pd.testing.assert_frame_equal(result.history, loaded.history)
    pd.testing.assert_series_equal(result.importances(), loaded.importances())
    assert list(loaded.plots()) == list(result.plots())
    assert loaded.best_hyperparameters == result.best_hyperparameters
    assert (loaded.search.objective, loaded.search.direction) == (
        result.search.objective,
        result.search.direction,
    )
    said = [each.summary().partition("\nFolder: ")[0] for each in (loaded, result)]
    assert said[0] == said[1]


def test_the_confirmation_and_the_best_model_are_there(confirmed):
    before = {path: path.stat().st_mtime_ns for path in confirmed.directory.rglob("*")}
    loaded, (x, _) = rdt.TuneResult.load(confirmed.directory), data()
    pd.testing.assert_frame_equal(loaded.confirmation.table, confirmed.confirmation.table)
    assert loaded.confirmation.verdict == confirmed.confirmation.verdict
    assert loaded.ui_command == confirmed.ui_command
    assert loaded.trials["mlflow_run_id"].isna().all()
    model, best = loaded.best_model(), confirmed.best_model()
    np.testing.assert_allclose(model.predict(x, verbose=0), best.predict(x, verbose=0), atol=1e-6)
    assert {path: path.stat().st_mtime_ns for path in confirmed.directory.rglob("*")} == before


def test_the_command_writes_the_page_and_says_what_was_found(confirmed, tmp_path):
    page = tmp_path / "new" / "page.html"
    output = output_of("report", confirmed.directory, "--output", page)
    summary = rdt.TuneResult.load(confirmed.directory).summary()
    assert output == f"{summary}\nReport: {page}\n"
    for words in ("Confirmation", "Search space", confirmed.confirmation.verdict.split("`")[0]):
        assert words in page.read_text()


def test_the_newest_search_and_the_usual_place(confirmed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(confirmed.directory, "recdrop_runs/speech")
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    output = output_of("report", "--open")
    assert output.endswith("Report: recdrop_runs/speech/report.html\n")
    page = tmp_path / "recdrop_runs" / "speech" / "report.html"
    assert opened == [page.as_uri()]
    assert page.stat().st_size > 1_000_000
    # A folder with a report in it is still the folder of its search.
    output_of("report")


@pytest.mark.heavy
def test_figures_fit_a_phone(planted, confirmed, tmp_path):
    """All texts of a figure are on the screen."""
    cut_off = """return [...document.querySelectorAll('.figure')].flatMap(figure => {
        const place = figure.getBoundingClientRect();
        return [...figure.querySelectorAll('text')].filter(text => {
            const { left, right } = text.getBoundingClientRect();
            return left < place.left || right > place.right;
        }).map(text => text.textContent)})"""
    phone = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    with running_browser() as browser:
        browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        for result, texts in (planted, {"output", "zoneout"}), (confirmed, {"worse ← 0 → better"}):
            browser.open(result.report(tmp_path / "report.html").as_uri())
            browser.wait(lambda: browser.count(".infolayer") == browser.count(".figure"), "figures")
            assert texts <= set(browser.all_texts(".figure text"))
            assert browser.driver.execute_script(cut_off) == []


@pytest.mark.heavy
def test_a_search_that_is_under_way(tmp_path, planted_uri):
    seen = []

    class Looking(Failing):
        def fit(self, hp, model, *args, **kwargs):
            page = tmp_path / f"{len(seen)}.html"
            seen.append(output_of("report", tmp_path / "p", "--output", page))
            return super().fit(hp, model, *args, **kwargs)

    tuned(tmp_path / "p", rdt.MLflow("under way", uri=planted_uri), Looking(wrappers=()))
    first, second = seen
    assert first.startswith("The search is still running.\nNo trial is complete: 1 running.\n")
    assert "2 trials, 1 complete, 1 running. Best val_loss: " in second
    assert "RUNNING" in (tmp_path / "1.html").read_text()
    assert "2 trials, 2 complete." in output_of("report", tmp_path / "p")


def test_damage_that_shows_late(confirmed, tmp_path):
    folder = shutil.copytree(confirmed.directory, tmp_path / "copy")
    journal = folder / JOURNAL
    journal.write_text(journal.read_text().replace('"rate": 0.', '"rate": "much", "was": 0.'))
    assert refusal_of("report", folder).startswith(
        f"Error: The search in {folder} cannot be read ("
    )


def test_a_page_that_cannot_be_written(confirmed, tmp_path):
    refused = refusal_of("report", confirmed.directory, "--output", tmp_path)
    assert "`--output`. Expected a file that can be written." in refused
