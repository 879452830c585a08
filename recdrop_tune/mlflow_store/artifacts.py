"""The artifacts of a search's run: the files of its result, and its best model as a logged model."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import keras
import mlflow.keras
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from pydantic import BaseModel, Field

import recdrop_tune.hypermodels
import recdrop_tune.models
import recdrop_tune.wrappers  # noqa: F401
from recdrop_tune.errors import ProjectError
from recdrop_tune.events import ResultSaved
from recdrop_tune.files import JOURNAL, MODEL, MODEL_CARD, RESULT, inside

_TABLE = "trials.json"
"""The trials in the format of MLflow's `log_table`."""

_ALIAS = "champion"
"""The alias of the newest best model in the registry, unless a user has moved it."""


def files_of(folder: str | Path, event: ResultSaved) -> list[Path]:
    """Returns the existing files of a result; a `ProjectError` if one is outside the folder."""
    paths = [inside(folder, name, JOURNAL) for name in event.files]
    return [path for path in paths if path.is_file()]


def upload_result(
    client: MlflowClient, run_id: str, folder: str | Path, event: ResultSaved
) -> None:
    """Uploads the files of a result, except the model, to a run; replaces those of an earlier result."""
    paths = [path for path in files_of(folder, event) if path.name not in (MODEL, MODEL_CARD)]
    for path in paths:
        client.log_artifact(run_id, str(path), RESULT)
    if any(path.name == _TABLE for path in paths):
        # Like `MlflowClient.log_table`, which would append the rows to those of an earlier result.
        logged = [{"path": f"{RESULT}/{_TABLE}", "type": "table"}]
        client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(logged))


def log_model(
    client: MlflowClient,
    run_id: str,
    folder: str | Path,
    search_id: str,
    *,
    also: Iterable[str] = (),
    register_model: str | None = None,
) -> str | None:
    """Logs the best model in a project folder, once, and returns MLflow's id; None without a model."""
    # It is recognized by its weights. The file is uploaded as it is: no model is built, and MLflow's global
    # state is not touched. The runs `also` list it too.
    path, about = inside(folder, f"{RESULT}/{MODEL}", RESULT), read_card(folder)
    if not path.is_file() or about is None:
        return None
    model = _logged(client, run_id, search_id, about)
    if model.status != LoggedModelStatus.READY:
        _upload(client, model, path, about)
    for run in (run_id, *also):
        _link(client, run, model.model_id)
    if register_model is not None:
        _register(client, model, run_id, register_model)
    return str(model.model_id)


class _Card(BaseModel):
    """The description of the best model. MLflow would read files that its requirements name."""

    trial_id: str
    hyperparameters: dict[str, Any]
    plain: bool
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    signature: dict[str, Any] | None
    requirements: list[Annotated[str, Field(pattern=r"^[A-Za-z][\w.-]*==[\w.+!-]+$")]]


def read_card(folder: str | Path) -> dict[str, Any] | None:
    """Reads the description of the best model in a project folder; `None` without a model."""
    card = inside(folder, f"{RESULT}/{MODEL_CARD}", RESULT)
    if not card.is_file():
        return None
    try:
        return _Card.model_validate_json(card.read_bytes()).model_dump()
    except ValueError as error:
        raise ProjectError(
            f"`{card}` does not describe the best model: {error}. Delete the folder `{RESULT}` to record the "
            "search without its model."
        ) from None


def load_flavor() -> None:
    """Imports MLflow's modules for saving models, which takes seconds, without a warning about types."""
    # Python filters warnings for all threads at once, so call this before a thread logs a model.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*type hint is inferred as AnyType")
        import mlflow.pyfunc

        # MLflow imports it when an attribute is first used.
        _ = mlflow.pyfunc.add_to_model


def _logged(
    client: MlflowClient, run_id: str, search_id: str, about: Mapping[str, Any]
) -> LoggedModel:
    """Finds the logged model, even one whose upload was interrupted, or creates it."""
    experiment = client.get_run(run_id).info.experiment_id
    tags = {"recdrop.search_id": search_id, "recdrop.fingerprint": about["fingerprint"]}
    condition = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    for model in client.search_logged_models([experiment], condition):
        if model.source_run_id == run_id:
            return model
    return client.create_logged_model(
        experiment,
        name="best_model",
        source_run_id=run_id,
        tags={**tags, "recdrop.trial_id": about["trial_id"]},
        params={name: str(value) for name, value in about["hyperparameters"].items()},
        model_type="keras",
    )


def _upload(client: MlflowClient, model: LoggedModel, path: Path, about: Mapping[str, Any]) -> None:
    load_flavor()
    from mlflow.models import Model, ModelSignature

    signature = about["signature"]
    # Stands in for the Keras model: MLflow only calls its `save`.
    saved = SimpleNamespace(save=partial(shutil.copyfile, path))
    description = Model(
        artifact_path=model.artifact_location,
        run_id=model.source_run_id,
        model_uuid=model.model_id,
        model_id=model.model_id,
    )
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch, "model")
        mlflow.keras.save_model(
            saved,
            str(local),
            mlflow_model=description,
            signature=ModelSignature.from_dict(signature) if signature else None,
            # No package index has builds such as torch's `+cu130`.
            pip_requirements=[line.partition("+")[0] for line in about["requirements"]],
        )
        if not about["plain"]:
            # Keras needs this package's layers imported, which MLflow's pyfunc can do.
            description.flavors["python_function"]["loader_module"] = __name__
            description.save(str(local / "MLmodel"))
        client.log_model_artifacts(model.model_id, str(local))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _link(client: MlflowClient, run_id: str, model_id: str) -> None:
    """Lists the model among the outputs of a run, and the run's objective on the model's page."""
    outputs = client.get_run(run_id).outputs
    if outputs is None or model_id not in [output.model_id for output in outputs.model_outputs]:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
        scores = client.get_metric_history(run_id, "objective")
        if scores:
            last = scores[-1]
            same = Metric(last.key, last.value, last.timestamp, last.step, model_id=model_id)
            client.log_batch(run_id, metrics=[same])


def _register(client: MlflowClient, model: LoggedModel, run_id: str, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # Not `models:/<id>`, which MLflow looks up in its global store.
    source = model.artifact_location
    versions = client.search_model_versions(f"name = '{name}'")
    same = [version for version in versions if version.source == source]
    newest = max((int(version.version) for version in versions), default=0)
    champion = client.get_registered_model(name).aliases.get(_ALIAS)
    if same:
        version = same[0].version
    else:
        # Databricks takes a while to create a version, and nothing here needs it.
        how = {"model_id": model.model_id, "await_creation_for": 0}
        version = client.create_model_version(name, source, run_id, **how).version
        # This tag makes MLflow's page of the model link to the version.
        entry = json.dumps([{"name": name, "version": version}])
        client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": entry})
    if champion is None or (not same and int(champion) == newest):
        client.set_registered_model_alias(name, _ALIAS, version)


class Predictor:
    """A Keras model with the interface of MLflow's pyfunc models."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, data: Any, params: Any = None) -> Any:
        """Returns the predictions as NumPy arrays."""
        return keras.ops.convert_to_numpy(self._model.predict(data, verbose=0))


def _load_pyfunc(path: str) -> Predictor:
    """Loads a model for MLflow's pyfunc, which calls a function of this name."""
    return Predictor(mlflow.keras.load_model(path, load_model_kwargs={"safe_mode": True}))
