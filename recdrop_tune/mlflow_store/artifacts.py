"""The artifacts of a search's run: the files of its result, and its best model as a logged model."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import keras
import mlflow.keras
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from pydantic import BaseModel, ConfigDict, Field

import recdrop_tune.hypermodels
import recdrop_tune.models
import recdrop_tune.wrappers  # noqa: F401
from recdrop_tune.errors import ProjectError
from recdrop_tune.errors import check_model_name as check_model_name
from recdrop_tune.events import ResultSaved
from recdrop_tune.files import JOURNAL, inside

# The files of a result: where they are in a project folder, and how MLflow's pages get them.

RESULT = "result"
"""The folder of a result, in the project's."""

MODEL, MODEL_CARD = "best_model.keras", "best_model.json"
"""The best model, and what MLflow needs to know of it."""

CODE = "best_model.py"
"""Python source that builds the best model."""

TABLE = "trials.json"
"""The trials in the format of MLflow's `log_table`."""


def files_of(folder: str | Path, event: ResultSaved) -> list[Path]:
    """Returns the files of a result that are there.

    Args:
        folder: The project folder.
        event: What the journal says was saved there.

    Raises:
        ProjectError: The journal names a file elsewhere.
    """
    paths = [inside(folder, name, JOURNAL) for name in event.files]
    return [path for path in paths if path.is_file()]


def upload_result(client: Any, run_id: str, folder: str | Path, event: ResultSaved) -> None:
    """Gives the files of a result to a run.

    Doing it again replaces what was there. The model is left out: see `log_model`.

    Args:
        client: An `MlflowClient`.
        run_id: The run of the search.
        folder: The project folder.
        event: What was saved there.
    """
    paths = [path for path in files_of(folder, event) if path.name not in (MODEL, MODEL_CARD)]
    for path in paths:
        client.log_artifact(run_id, str(path), RESULT)
    if any(path.name == TABLE for path in paths):
        # As `MlflowClient.log_table` does, which would add the rows to those that are there.
        logged = [{"path": f"{RESULT}/{TABLE}", "type": "table"}]
        client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(logged))


# Logs the best model of a search as MLflow's LoggedModel, and registers it.

_NAME = "best_model"


def log_model(
    client: Any,
    run_id: str,
    folder: str | Path,
    search_id: str,
    *,
    also: Iterable[str] = (),
    register_model: str | None = None,
    alias: str = "champion",
) -> str | None:
    """Logs the best model that is saved in a project folder, once: it is found again by its weights.

    The file is uploaded as it is: no model is built, no global state of MLflow's is touched. It loads with
    `mlflow.keras.load_model("models:/<id>")`.

    Args:
        client: An `MlflowClient`.
        run_id: The run of the best trial.
        folder: The project folder.
        search_id: The search.
        also: Further runs that show the model among their outputs, such as the search's.
        register_model: A name for it in the registry; `None` does not register it.
        alias: What the registry calls this version, unless another one bears that name already.

    Returns:
        MLflow's id of the model; `None` if the folder has no model.
    """
    path, about = inside(folder, f"{RESULT}/{MODEL}", RESULT), read_card(folder)
    if not path.is_file() or about is None:
        return None
    model = _logged(client, run_id, search_id, about)
    if model.status != LoggedModelStatus.READY:
        _upload(client, model, path, about)
    for run in (run_id, *also):
        _link(client, run, model.model_id)
    if register_model is not None:
        _register(client, model, run_id, register_model, alias)
    return str(model.model_id)


class _Card(BaseModel):
    """What the file beside the best model has to hold; MLflow would read files that requirements name."""

    model_config = ConfigDict(extra="ignore")

    trial_id: str
    hyperparameters: dict[str, Any]
    plain: bool
    not_plain: str | None = None
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    signature: dict[str, Any] | None
    requirements: list[Annotated[str, Field(pattern=r"^[A-Za-z][\w.-]*==[\w.+!-]+$")]]


def read_card(folder: str | Path) -> dict[str, Any] | None:
    """Reads what there is to know of the best model in a project folder.

    Args:
        folder: The project folder.

    Returns:
        What `save_best_model` has written; `None` if there is no model.

    Raises:
        ProjectError: It is something else.
    """
    card = inside(folder, f"{RESULT}/{MODEL_CARD}", RESULT)
    if not card.is_file():
        return None
    try:
        return _Card.model_validate_json(card.read_bytes()).model_dump()
    except ValueError as error:
        raise ProjectError(
            f"`{card}` does not describe the best model: {error}. Somebody has changed it; delete the folder "
            f"`{RESULT}` to have the search recorded without its model."
        ) from None


def load_flavor() -> None:
    """Imports what MLflow saves Keras models with: seconds that few processes need.

    MLflow warns of its own types while it is imported. Warnings are filtered for all threads at once, so
    call this before a thread logs a model.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*type hint is inferred as AnyType")
        import mlflow.keras
        import mlflow.pyfunc

        # MLflow loads the latter when it is first asked for something.
        _ = mlflow.pyfunc.add_to_model


def _logged(client: Any, run_id: str, search_id: str, about: Mapping[str, Any]) -> Any:
    """Finds the model among those logged, one whose upload was broken off too, or creates it."""
    experiment = client.get_run(run_id).info.experiment_id
    tags = {"recdrop.search_id": search_id, "recdrop.fingerprint": about["fingerprint"]}
    condition = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    for model in client.search_logged_models([experiment], condition):
        if model.source_run_id == run_id:
            return model
    return client.create_logged_model(
        experiment,
        name=_NAME,
        source_run_id=run_id,
        tags={**tags, "recdrop.trial_id": about["trial_id"]},
        params={name: str(value) for name, value in about["hyperparameters"].items()},
        model_type="keras",
    )


class _SavedFile:
    """Stands for a Keras model that is in a file already: MLflow asks a model only to save itself."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, path: str) -> None:
        """Copies the file."""
        shutil.copyfile(self._path, path)


def _upload(client: Any, model: Any, path: Path, about: Mapping[str, Any]) -> None:
    load_flavor()
    import mlflow.keras
    from mlflow.models import Model, ModelSignature

    signature = about["signature"]
    described = Model(
        artifact_path=model.artifact_location,
        run_id=model.source_run_id,
        model_uuid=model.model_id,
        model_id=model.model_id,
    )
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch, "model")
        mlflow.keras.save_model(
            _SavedFile(path),
            str(local),
            mlflow_model=described,
            signature=ModelSignature.from_dict(signature) if signature else None,
            # What follows a `+` names a build, such as torch's `+cu130`, that no index of packages has.
            pip_requirements=[line.partition("+")[0] for line in about["requirements"]],
        )
        if not about["plain"]:
            # Keras finds layers of others only where they have been imported; MLflow's pyfunc can do that.
            described.flavors["python_function"]["loader_module"] = (
                "recdrop_tune.mlflow_store.artifacts"
            )
            described.save(str(local / "MLmodel"))
        client.log_model_artifacts(model.model_id, str(local))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _link(client: Any, run_id: str, model_id: str) -> None:
    """Shows the model among the outputs of a run, and the run's objective on the page of the model."""
    outputs = client.get_run(run_id).outputs
    if outputs is None or model_id not in [each.model_id for each in outputs.model_outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        scores = client.get_metric_history(run_id, "objective")
        if scores:
            last = scores[-1]
            same = Metric(last.key, last.value, last.timestamp, last.step, model_id=model_id)
            client.log_batch(run_id, metrics=[same])


def _register(client: Any, model: Any, run_id: str, name: str, alias: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # Not `models:/<id>`: MLflow would look for it in the store that is set globally.
    source = model.artifact_location
    versions = client.search_model_versions(f"name = '{name}'")
    known = [each for each in versions if each.source == source]
    if known:
        version = known[0].version
    else:
        # Only Databricks takes its time to make a version, and nothing here has to wait for it.
        how = {"model_id": model.model_id, "await_creation_for": 0}
        version = client.create_model_version(name, source, run_id, **how).version
        # By this tag MLflow's page of the model leads to the version.
        entry = json.dumps([{"name": name, "version": version}])
        client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": entry})
    # Somebody who has moved the alias meant it.
    if not known or alias not in client.get_registered_model(name).aliases:
        client.set_registered_model_alias(name, alias, version)


# How MLflow's pyfunc loads a model that has layers of this package: it imports them first.


class Predictor:
    """A Keras model as pyfunc wants it.

    Args:
        model: The model.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, data: Any, params: Any = None) -> Any:
        """Returns the predictions as arrays."""
        return keras.ops.convert_to_numpy(self._model.predict(data, verbose=0))


def _load_pyfunc(path: str) -> Predictor:
    """Is called by MLflow, under this name, with the folder of the model."""
    return Predictor(mlflow.keras.load_model(path, load_model_kwargs={"safe_mode": True}))
