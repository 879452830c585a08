"""Events of a search that nobody ran, who sends them to MLflow, and what MLflow has of them then."""

from pathlib import Path

from mlflow.tracking import MlflowClient

from recdrop_tune.events import (
    ConfirmationEnded,
    EpochEnded,
    Event,
    ModelBuilt,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialStarted,
)
from recdrop_tune.journal import Dispatcher, Journal
from recdrop_tune.mlflow_store.background import MLflowStore
from recdrop_tune.mlflow_store.runs import NOTE
from recdrop_tune.mlflow_store.writer import MLflowWriter

WRAPPERS = ("none", "recurrent", "variational", "weight_drop")
_BEGIN = 1_790_000_000.0


def started(search_id="s", when=_BEGIN, **more):
    """The beginning of a search."""
    given = {"name": "speech", "experiment": "speech", "tuner": "OptunaOracle", "max_trials": 9}
    given |= {"space": "wrapper: none", "objective": "val_loss", "direction": "min", **more}
    return SearchStarted(search_id=search_id, time=when, **given)


def trial(number, epochs=3, status="COMPLETE", when=None):
    """A trial from its beginning to its end; without one if the status is `None`."""

    def metrics(epoch):
        return {"loss": 1.0 / (epoch + 1), "val_loss": 2.0 / (epoch + 1) + 0.01 * number}

    id, time = str(number), when or _BEGIN + 10 * number + 1
    hyperparameters = {"wrapper": WRAPPERS[number % 4], "placement": None, "rate": 0.1 * number}
    found = [TrialStarted(trial_id=id, number=number, hyperparameters=hyperparameters, time=time)]
    found.append(ModelBuilt(trial_id=id, parameters=100 + number, time=time + 0.1))
    for epoch in range(epochs):
        ended = {"epoch": epoch, "metrics": metrics(epoch), "time": time + 1 + epoch}
        found.append(EpochEnded(trial_id=id, seconds=0.5, **ended))
    if status is not None:
        # The best of one that was pruned was an epoch before its last.
        best = epochs - 1 if status == "COMPLETE" else max(epochs - 2, 0)
        done = {"score": metrics(best)["val_loss"], "best_step": best, "metrics": metrics(best)}
        done = done if status in ("COMPLETE", "PRUNED") else {"message": "ValueError: to the moon"}
        found.append(TrialEnded(trial_id=id, status=status, time=time + 5, **done))
    return found


def confirmation(number, repeat=0):
    """A training of the confirmation."""
    return ConfirmationEnded(
        trial_id=str(number),
        repeat=repeat,
        seed=7,
        score=0.5,
        metrics={"val_loss": 0.5},
        time=_BEGIN + 900 + repeat,
    )


def ended(status="FINISHED", when=_BEGIN + 1000):
    """The end of a search."""
    return SearchEnded(status=status, time=when)


def journaled(folder: Path, *events):
    """Writes events to the journal in a folder, and to nothing else."""
    journal = Journal(folder / "events.jsonl")
    for event in events:
        journal.on_event(event)
    journal.close()


def events_of(folder, kind=Event):
    """Reads the events of a kind from the journal in a folder."""
    events = Journal(Path(folder) / "events.jsonl").read()
    return [each for each in events if isinstance(each, kind)]


def runs_of(uri, experiment, **tags):
    """Returns the runs of an experiment, those with a tag such as `recdrop.kind` for `kind="trial"`."""
    client = MlflowClient(uri)
    asked = " and ".join(f"tags.`recdrop.{name}` = '{value}'" for name, value in tags.items())
    return client.search_runs([client.get_experiment_by_name(experiment).experiment_id], asked)


class Sender:
    """Sends events as a search does: to the journal in a folder, and to MLflow from a thread."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.journal = Journal(folder / "events.jsonl")
        self.writer = MLflowWriter(uri, self.journal)
        self.background = MLflowStore(self.writer)
        self._dispatcher = Dispatcher(self.journal, [self.background])

    def send(self, *events, flush=True):
        for event in events:
            self._dispatcher.emit(event)
        if flush:
            self.background.flush(60)

    def close(self):
        self.journal.close()


def written(folder: Path, uri: str, *events) -> Sender:
    """Sends events to MLflow and to the journal in a folder."""
    sender = Sender(folder, uri)
    sender.send(*events)
    sender.close()
    assert sender.background.failure is None
    return sender


def image(uri, experiment="speech", artifacts=True):
    """Returns all that MLflow has of an experiment, but the ids that it has given."""
    client, found = MlflowClient(uri), runs_of(uri, experiment)
    names = {run.info.run_id: _key(run) for run in found}
    assert len(set(names.values())) == len(found), "a run is there twice"
    return {names[run.info.run_id]: _image(client, run, names, artifacts) for run in found}


def _key(run):
    tags = run.data.tags
    return tags["recdrop.kind"], tags.get("recdrop.trial_id"), run.info.start_time


def _image(client, run, names, artifacts):
    tags = {name: value for name, value in run.data.tags.items() if name.startswith("recdrop.")}
    # Without links and digest, and without how to resume: `sync` writes less about that.
    note = run.data.tags.get(NOTE, "").split("\n\n")[1:-1]
    note = [part for part in note if not part.startswith("To resume")]
    curves = {
        name: sorted(
            (point.step, point.timestamp, str(point.value))
            for point in client.get_metric_history(run.info.run_id, name)
        )
        for name in run.data.metrics
    }
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "ended": run.info.end_time,
        "parent": names.get(run.data.tags.get("mlflow.parentRunId")),
        "tags": tags,
        "note": note,
        "params": run.data.params,
        "curves": curves,
        "artifacts": _artifacts(client, run.info.run_id) if artifacts else None,
    }


def _artifacts(client, run_id, folder=""):
    found = {}
    for item in client.list_artifacts(run_id, folder):
        if item.is_dir:
            found |= _artifacts(client, run_id, item.path)
        else:
            found[item.path] = Path(client.download_artifacts(run_id, item.path)).read_bytes()
    return found
