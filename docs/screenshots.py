"""Takes the pictures in docs/images: a search of 30 trials on the digits, and MLflow's pages on it.

And those of the searches in the README and in docs/search.md, whose lines it runs. Needs Debian's
Chromium, and some ten minutes on 2 CPU cores. Run it, from the repository's root, with

    python -m docs.screenshots

A search that is in `--folder` already is used again.
"""

import argparse
import contextlib
import tempfile
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient
from PIL import Image
from selenium.webdriver.common.by import By

import recdrop_tune as rdt
from examples.quickstart import load_data
from recdrop_tune.cli.tracking import page_of
from tests.browser import Browser, running_browser
from tests.mlflow_server import MLflowServer, mlflow_server
from tests.pages import blocks, run

IMAGES = Path(__file__).parent / "images"
CARD = "[data-testid='experiment-view-compare-runs-card']:has(h4[title='{}'])"


def search(server: MLflowServer, folder: Path, trials: int, epochs: int) -> rdt.TuneResult:
    """Searches as the quickstart does, for longer; puts the report on the search's run."""
    train, validation = load_data(300)
    result = rdt.tune(
        train,
        validation,
        space="quick",
        max_trials=trials,
        epochs=epochs,
        tracking=rdt.MLflow("digits", uri=server.uri),
        directory=folder / "digits",
        seed=0,
    )
    client, parent = MlflowClient(server.uri), result.tracking.mlflow.parent_run_id
    if not client.list_artifacts(parent, "result"):
        client.log_artifact(parent, str(result.report(folder / "report.html")), "result")
    return result


def take_pictures(
    browser: Browser, server: MLflowServer, result: rdt.TuneResult, out: Path
) -> None:
    """Opens one page after the other and saves what a window shows of it."""
    client, search_id = MlflowClient(server.uri), result.tracking.search_id
    view = page_of(server.uri, search_id)
    condition = f"tags.`recdrop.search_id` = '{search_id}' AND tags.`recdrop.kind` = 'trial'"
    experiment = result.tracking.mlflow.experiment_id
    runs = client.search_runs([experiment], condition, order_by=["metrics.`objective` ASC"])
    home = f"{server.uri}/#/experiments/{experiment}/runs"

    browser.open(view)
    for label in ("Close", "Hide banner", "Toggle sidebar"):  # The first one is the assistant's.
        browser.click(f"button[aria-label='{label}']")
    browser.wait_for_text(runs[0].info.run_name)
    save(browser, out / "leaderboard.png")

    browser.open(f"{view}&compareRunsMode=CHART")
    for label in ("Hide banner", "Toggle sidebar"):
        browser.click(f"button[aria-label='{label}']")
    for title in ("val_loss", "train_seconds vs. objective", "Parallel Coordinates"):
        browser.find(f"{CARD.format(title)} svg.main-svg, {CARD.format(title)} canvas")
    save(browser, out / "charts.png")

    browser.open(f"{home}/{runs[0].info.run_id}/model-metrics?workflowType=machine_learning")
    browser.find(f"{CARD.format('loss')} path.point")
    save(browser, out / "trial.png")

    parent = result.tracking.mlflow.parent_run_id
    browser.open(f"{home}/{parent}/artifacts/result/report.html?workflowType=machine_learning")
    browser.driver.switch_to.frame(browser.find("iframe"))
    browser.find(".js-plotly-plot .main-svg")
    browser.driver.switch_to.default_content()
    save(browser, out / "report.png")


def pictures_of_pages(browser: Browser, folder: Path, out: Path) -> None:
    """Runs the first lines of two pages, whose output they show, and saves a figure of each."""
    for page, name in (("README.md", "score_by_dropout"), ("docs/search.md", "gains")):
        names: dict[str, Any] = {}
        with contextlib.chdir(folder):
            run(next(blocks(page, "python")), names)  # The others are searches of their own.
        picture(browser, names["result"].plots()[name], out / f"{name}.png")


def picture(browser: Browser, figure: Any, path: Path) -> None:
    """Saves a figure."""
    figure.update_layout(width=1000, height=min(figure.layout.height, 420))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "figure.html"
        figure.write_html(page, config={"displayModeBar": False})
        browser.open(page.as_uri())
        plot = browser.find(".js-plotly-plot .main-svg")
        plot.find_element(By.XPATH, "..").screenshot(str(path))
    smaller(path)


def save(browser: Browser, path: Path) -> None:
    """Saves the window."""
    browser.driver.save_screenshot(str(path))
    smaller(path)


def smaller(path: Path) -> None:
    """Saves a picture again with 255 colours, which is a third of the size."""
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(255, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def main() -> None:
    """Searches, unless that has been done, and takes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("screenshots"))
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--out", type=Path, default=IMAGES)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with mlflow_server(folder) as server:
        result = search(server, folder, arguments.trials, arguments.epochs)
        with running_browser(1500, 1180) as browser:
            take_pictures(browser, server, result, arguments.out)
            pictures_of_pages(browser, folder, arguments.out)


if __name__ == "__main__":
    main()
