"""Which page of MLflow's to open: the trials of a search, best first, with columns and charts."""

from __future__ import annotations

from typing import Any

import click


def page_of(uri: str, search_id: str | None, where: str) -> str:
    """Finds a search on a server and returns the page of its trials.

    The view that the page shows is made where the experiment has none yet.

    Args:
        uri: Tracking URI of the server.
        search_id: The search; `None` for the one that was started last.
        where: Words for the store, in messages.

    Raises:
        click.ClickException: There is no such search, or the server fails.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    from recdrop_tune.tracking._stores import reason

    try:
        return _find(MlflowClient(tracking_uri=uri), uri, search_id, where)
    except (MlflowException, OSError) as failure:
        raise click.ClickException(
            f"MLflow at {where} does not answer as it should: {reason(failure, uri)}"
        ) from None


def _find(client: Any, uri: str, search_id: str | None, where: str) -> str:
    from recdrop_tune.credentials import hide_address
    from recdrop_tune.tracking._links import leaderboard_url
    from recdrop_tune.tracking._views import view_url

    search = _search(client, search_id)
    if search is None:
        what = "no search of recdrop-tune" if search_id is None else "no run of this search"
        raise click.ClickException(
            f"There is {what} in {where}. Give the store that it was recorded in with `--tracking-uri`."
        )
    ascending = search.data.params.get("direction", "min").partition(",")[0] != "max"
    place = (hide_address(uri), search.info.experiment_id, search.data.tags["recdrop.search_id"])
    make = view_url if _has_view(client, search, ascending) else leaderboard_url
    url = make(*place, ascending)
    if url is None:
        raise click.ClickException(f"{where} has pages of its own: open them there.")
    return url


def _search(client: Any, search_id: str | None) -> Any:
    """The run of a search, `None` if there is none."""
    condition = "tags.`recdrop.kind` = 'search'"
    if search_id is not None:
        condition += f" AND tags.`recdrop.search_id` = '{search_id}'"
    experiments = [each.experiment_id for each in client.search_experiments()]
    if not experiments:
        return None
    found = client.search_runs(experiments, condition, max_results=1)  # the newest one
    return found[0] if found else None


def _has_view(client: Any, search: Any, ascending: bool) -> bool:
    """Makes the view of a search if there is none; says whether there is one now."""
    from mlflow.exceptions import MlflowException

    from recdrop_tune.tracking._views import searched, view_tag

    objective = search.data.params.get("objective", "val_loss").partition(",")[0]
    id, experiment = search.data.tags["recdrop.search_id"], search.info.experiment_id
    condition = f"tags.`recdrop.search_id` = '{id}' AND tags.`recdrop.kind` = 'trial'"
    trials = client.search_runs([experiment], condition, max_results=100)
    names = searched(trial.data.params for trial in trials)
    key, value = view_tag(id, objective, ascending, names)
    if client.get_experiment(experiment).tags.get(key) == value:
        return True
    try:
        client.set_experiment_tag(experiment, key, value)
    except MlflowException:  # Somebody who may read, and not write.
        return False
    return True
