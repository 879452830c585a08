"""Checks what a run of the quickstart left behind: `check_quickstart.py FOLDER --trials N --epochs E`.

The MLflow database holds one parent and N children, each with `wrapper`, `placement` and `rate`, and
a curve of `val_loss` with as many steps as epochs.
"""

import argparse
from pathlib import Path

from mlflow import MlflowClient


def check(folder: Path, trials: int, epochs: int) -> None:
    """Raises an AssertionError that says what is missing."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "digits"]
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1, f"{len(parents)} parent runs"
    assert len(children) == trials, f"{len(children)} child runs for {trials} trials"
    for run in children:
        name = run.info.run_name
        assert run.info.status == "FINISHED", f"{name} is {run.info.status}"
        missing = {"wrapper", "placement", "rate"} - set(run.data.params)
        assert not missing, f"{name} lacks {missing}"
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "val_loss")]
        # The best epoch comes once more at the end, unless it was the last.
        wanted = (list(range(epochs)), list(range(epochs + 1)))
        assert steps in wanted, f"{name} has val_loss at the steps {steps}"
    print(f"1 parent and {trials} children, each with {epochs} epochs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    arguments = parser.parse_args()
    check(arguments.folder, arguments.trials, arguments.epochs)
