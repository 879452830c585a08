"""A search in MLflow's pages: a real search, a real server, a real browser."""

import io

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import recdrop_tune as rdt
from recdrop_tune.cli.tracking import page_of
from tests.browser import running_browser
from tests.mlflow_server import mlflow_server

pytestmark = pytest.mark.heavy

EPOCHS = 2
SPACE = {
    "cell": "lstm",
    "units": 4,
    "wrapper": ["none", "native", "recurrent", "variational", "zoneout"],
    "placement": ["input", "recurrent", "input+recurrent"],
    "rate": {"min": 0.1, "max": 0.5, "step": 0.1},
    "learning_rate": {"min": 1e-3, "max": 1e-1, "log": True},
}
RATE = "learning_rate"
NAME = "attributes.`Run Name`"
CARD = "[data-testid='experiment-view-compare-runs-card']:has(h4[title='{}'])"


class Overfit(keras.callbacks.Callback):
    """Makes the last epoch worse."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] += float(epoch == EPOCHS - 1)


class Breaking(rdt.SequenceClassifier):
    """A hypermodel whose trials with Keras's own dropout fail; one of them is a baseline.

    Those without dropout, the other baseline, overfit: their last epoch is not their best.
    """

    def fit(self, hp, model, *args, callbacks=(), **kwargs):
        if hp["wrapper"] == "native":
            raise ValueError("the loss went to the moon")
        overfit = [Overfit()] if hp["wrapper"] == "none" else []
        return super().fit(hp, model, *args, callbacks=[*overfit, *callbacks], **kwargs)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with mlflow_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def result(tmp_path_factory, server, running_eagerly):
    x = np.random.default_rng(0).normal(size=(24, 3, 3)).astype("float32")
    data = (x, (x.sum((1, 2)) > 0).astype("int64"))
    with running_eagerly():
        return rdt.tune(
            data,
            data,
            Breaking.from_data(data, SPACE),
            max_trials=6,
            epochs=EPOCHS,
            tuner=rdt.Optuna(sampler="random"),
            seed=3,
            tracking=rdt.MLflow("pages", uri=server.uri),
            directory=tmp_path_factory.mktemp("search") / "speech",
            verbose=0,
        )


@pytest.fixture(scope="module")
def browser(server):
    with running_browser() as window:
        window.open(f"{server.uri}/#/experiments?workflowType=machine_learning")
        # The assistant, which takes a third of the page.
        window.click("button[aria-label='Close']")
        yield window


@pytest.fixture(scope="module")
def completed(result):
    """The completed trials, best first."""
    trials = result.trials
    trials = trials[trials["state"] == "COMPLETE"].sort_values("val_loss")
    assert 3 <= len(trials) < len(result.trials)
    return trials


def page(server, result, path):
    where = f"{server.uri}/#/experiments/{result.tracking.mlflow.experiment_id}/runs{path}"
    return f"{where}?workflowType=machine_learning"


def rows(browser):
    """The rows of the table of runs from top to bottom, each a dict by column from left to right."""
    cells = browser.driver.execute_script(
        "return [...document.querySelectorAll('.ag-row .ag-cell')].map(cell => ["
        "Number(cell.closest('.ag-row').getAttribute('row-index')), cell.getBoundingClientRect().x,"
        "cell.getAttribute('col-id'), cell.innerText.trim().split('\\n').pop()])"
    )
    found = {}
    for index, _, column, text in sorted(cells):
        found.setdefault(index, {})[column] = text
    return [found[index] for index in sorted(found)]


def wait_for_rows(browser, count):
    def complete():
        found = rows(browser)
        return found if len(found) == count and all(row.get(NAME) for row in found) else None

    return browser.wait(complete, f"table of {count} runs")


def has_coloured_lines(browser, css):
    """Looks for coloured pixels in the middle of an element: lines between axes, and no legend."""
    picture = Image.open(io.BytesIO(browser.find(css).screenshot_as_png)).convert("HSV")
    width, height = picture.size
    middle = picture.crop((width // 4, height // 4, width * 3 // 5, height))
    return int((np.asarray(middle)[..., 1] > 60).sum()) > 100  # Axes and words are grey.


def steps(best_epoch):
    """How many points a curve has: the best epoch once more, if it is not the last one."""
    return EPOCHS + (best_epoch < EPOCHS - 1)


def wait_for_points(browser, title, count):
    """Waits until the chart of this title has as many points."""
    browser.find(CARD.format(title))
    css = f"{CARD.format(title)} .scatterlayer path.point"
    browser.wait(lambda: browser.count(css) == count, f"{count} points of {title}")


def test_runs_table_shows_the_search_and_unfolded_its_trials(browser, server, result):
    browser.open(page(server, result, ""))
    browser.wait_for_text("Searches for the dropout of recurrent layers, by recdrop-tune")
    [parent] = wait_for_rows(browser, 1)
    assert parent[NAME] == "speech"
    browser.click(".ag-row button[data-component-id*='runnamecellrenderer']")
    names = [row[NAME] for row in wait_for_rows(browser, 1 + len(result.trials))]
    assert names[0] == "speech"
    for _, trial in result.trials.iterrows():
        asked = [trial[key] for key in ("wrapper", "placement", "rate")]
        words = [str(value) for value in asked if pd.notna(value)]
        assert " ".join([f"{trial['number']:04d}", *words]) in names


def test_view_has_columns_for_what_was_tried_and_what_came_of_it(
    browser, server, result, completed
):
    browser.open(page_of(server.uri, result.tracking.search_id))
    table = wait_for_rows(browser, len(result.trials))
    for row, (_, trial) in zip(table, completed.iterrows(), strict=False):
        assert int(row[NAME][:4]) == trial["number"]
        assert float(row["metrics.`objective`"]) == pytest.approx(trial["val_loss"])
        assert row["params.`wrapper`"] == trial["wrapper"]
        if trial["wrapper"] == "none":
            assert (row["params.`rate`"], row["params.`placement`"]) == ("0", "n/a")
        else:
            assert row["params.`placement`"] == trial["placement"]
            assert float(row["params.`rate`"]) == pytest.approx(trial["rate"])
    columns = [name for name in table[0] if name.startswith("params.")]
    assert columns == [f"params.`{name}`" for name in ("wrapper", "placement", "rate", RATE)]


def test_view_draws_all_trials(browser, server, result, completed):
    view = page_of(server.uri, result.tracking.search_id)
    browser.open(f"{view}&compareRunsMode=CHART")
    parallel = CARD.format("Parallel Coordinates")
    browser.wait(lambda: has_coloured_lines(browser, f"{parallel} .parcoords"), "coloured lines")
    axes = set(browser.all_texts(f"{parallel} text.label"))
    assert axes == {"wrapper", "placement", "rate", "learning_rate", "objective"}
    # Each has one axis, and the baseline, whose rate is 0, a line too.
    assert len(browser.all_texts(f"{parallel} text.label")) == len(axes)
    assert "none" in set(completed["wrapper"])
    assert set(completed["wrapper"]) <= set(browser.all_texts(f"{parallel} .tick text"))
    wait_for_points(browser, "val_loss", sum(map(steps, completed["best_epoch"])))
    wait_for_points(browser, "train_seconds vs. objective", len(completed))


def test_page_of_the_search_shows_its_summary_and_leads_to_its_trials(
    browser, server, result, completed
):
    """By a click without unfolding the description first, in a new tab; best first, without the search."""
    browser.open(page(server, result, f"/{result.tracking.mlflow.parent_run_id}"))
    link, best = "All trials, best first", f"{completed['val_loss'].min():.4g}"
    browser.wait_for_text("Report with figures", link, "Description", "Best val_loss", best)
    here = browser.driver.current_window_handle
    browser.driver.find_element("link text", link).click()
    try:
        (there,) = set(browser.driver.window_handles) - {here}
        browser.driver.switch_to.window(there)
        names = [row[NAME] for row in wait_for_rows(browser, len(result.trials))]
        assert [int(name[:4]) for name in names][: len(completed)] == completed["number"].tolist()
    finally:
        browser.driver.close()
        browser.driver.switch_to.window(here)


def test_report_opens_in_the_page(browser, server, result, completed):
    parent = result.tracking.mlflow.parent_run_id
    browser.open(page(server, result, f"/{parent}/artifacts/result/report.html"))
    browser.driver.switch_to.frame(browser.find("iframe"))
    try:
        browser.wait_for_text("Best configuration", f"{completed['val_loss'].min():.4g}")
        plots = browser.count(".js-plotly-plot")
        browser.wait(lambda: browser.count(".js-plotly-plot .main-svg") >= plots > 0, "plots")
    finally:
        browser.driver.switch_to.default_content()
