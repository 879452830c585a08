"""Published scores of recurrent networks, and what a search for their dropout finds on the same data.

    KERAS_BACKEND=jax python benchmarks/published.py run      # all data sets, or --data mnist1d; hours
    python benchmarks/published.py table                      # prints the tables, and fills the page's

On each data set (`_published.py`) `tune` searches by the training data alone: a fifth of them validates, or
four folds do. The configuration that it finds and its twin, the same without dropout, are then trained on
all training data, for as many epochs as the best one was trained (all of them where the learning rate
decays), with ten fresh seeds. Only these trainings use the test data. A published setting is trained as
published, too. Data sets without published scores have baselines: the nearest neighbour by dynamic time
warping, and for a regression the mean of the training targets.

The gain of the dropout is over the twin, seed by seed, with its 95 % interval (Student's t).

`--data shampoo` is another thing (`_shampoo.py`): a published table of dropout rates, cell by cell, in some
minutes on JAX.

Resumes after an interruption: the searches are in --folder. Needs the packages `mnist1d`, `aeon` and
`sktime`.
Writes JSON to benchmarks/results/, and the tables of docs/published.md between its marks.
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import _page
import _published
import _shampoo
import keras
import numpy as np
from scipy import stats

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "published.json"
PAGE = ROOT / "docs" / "published.md"
SHAMPOO = "shampoo"
NEIGHBOUR = "nearest neighbour (DTW)"
CONSTANT = "mean of the training targets"


def split(data):
    """Has the last fifth of the training data validate."""
    x, y = data
    count = len(x) * 4 // 5
    return (x[:count], y[:count]), (x[count:], y[count:])


def search(name, what, train, arguments):
    """Searches, and returns the hyperparameters that were found and for how many epochs to train them."""
    import recdrop_tune as rdt
    from recdrop_tune.events import Configuration
    from recdrop_tune.oracle import trial_of

    about = _published.DATA_SETS[name]
    asked = about.searches[what]
    part, validation = (train, None) if about.folds else split(train)
    result = rdt.tune(
        part,
        validation,
        asked.model(asked.space, train),
        max_trials=arguments.trials or asked.trials,
        epochs=arguments.epochs or asked.epochs,
        objective=asked.objective,
        batch_size=asked.batch,
        training=rdt.Training(cv=about.folds or None, callbacks=asked.callbacks()),
        confirm=asked.confirm or 0,
        seed=0,
        tracking=rdt.MLflow("published", uri=f"sqlite:///{arguments.folder.absolute()}/mlflow.db"),
        directory=arguments.folder / name / what.replace(" ", "-"),
        verbose=0,
    )
    configuration = Configuration.named(result.best_id)
    best_epoch = result.records.trials[configuration.trial_id].best_epoch
    epochs = arguments.epochs or asked.epochs if asked.decay else int(best_epoch) + 1
    best = trial_of(result.tuner.oracle, configuration)
    return best.hyperparameters, epochs, len(result.trials)


def tested(asked, hyperparameters, epochs, data, arguments):
    """Trains a configuration on all training data with fresh seeds; returns its scores on the test data."""
    train, test = data
    hypermodel = asked.model(asked.space, train)
    scores = []
    for seed in range(1000, 1000 + arguments.seeds):
        keras.utils.clear_session()
        keras.utils.set_random_seed(seed)
        model = hypermodel.build(hyperparameters.copy())
        callbacks = asked.callbacks()
        model.fit(*train, batch_size=asked.batch, epochs=epochs, callbacks=callbacks, verbose=0)
        scores.append(score(np.asarray(model.predict(test[0], verbose=0)), test[1]))
    return scores


def score(predicted, true):
    """Returns the accuracy, or the root of the mean squared error of numbers."""
    if predicted.shape == true.shape:
        return float(np.sqrt(np.mean((predicted - true) ** 2)))
    classes = predicted.argmax(-1) if predicted.shape[-1] > 1 else predicted[:, 0] > 0.5
    return float(np.mean(classes == true))


def neighbour(about, data):
    """Scores the nearest training sequence by dynamic time warping."""
    from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier
    from aeon.regression.distance_based import KNeighborsTimeSeriesRegressor

    kind = (
        KNeighborsTimeSeriesRegressor if about.metric == "rmse" else KNeighborsTimeSeriesClassifier
    )
    (x, y), (x_test, y_test) = data
    cut = [[each[(each != _published.PADDING).any(-1)].T for each in part] for part in (x, x_test)]
    if len({each.shape for part in cut for each in part}) == 1:
        cut = [np.stack(part) for part in cut]
    found = (
        kind(distance="dtw", distance_params={"window": 0.1})
        .fit(cut[0], np.ravel(y))
        .predict(cut[1])
    )
    if about.metric == "rmse":
        return score(np.asarray(found), np.ravel(y_test))
    return float(np.mean(found == y_test))


def constant(about, data):
    """Scores the mean of the training targets."""
    (_, y), (_, y_test) = data
    return score(np.full_like(y_test, y.mean()), y_test)


def baselines(about):
    """Returns the baselines of a data set without published scores, by name."""
    if about.known:
        return {}
    return {NEIGHBOUR: neighbour} | ({CONSTANT: constant} if about.metric == "rmse" else {})


def rows_of(name, what, data, arguments):
    """Yields the rows of the table that one search gives."""
    from recdrop_tune.oracle import twin_of

    about = _published.DATA_SETS[name]
    asked = about.searches[what]
    if what == about.setting:
        import keras_tuner as kt

        plain = kt.HyperParameters()
        asked.model({**asked.space, "wrapper": "none"}, data[0]).build(plain)
        epochs = arguments.epochs or asked.epochs
        yield row(
            f"{what}, as published", plain, epochs, tested(asked, plain, epochs, data, arguments)
        )
    found, epochs, trials = search(name, what, data[0], arguments)
    scores = tested(asked, found, epochs, data, arguments)
    yield {**row(what, found, epochs, scores), "trials": trials}
    twin = twin_of(found)
    if twin is not None and twin.values != found.values:
        scores = tested(asked, twin, epochs, data, arguments)
        yield {**row(f"{what}, its twin", twin, epochs, scores), "twin_of": what}


def row(what, hyperparameters, epochs, scores):
    """Gathers what is kept of one configuration."""
    return {"what": what, "values": dict(hyperparameters.values), "epochs": epochs, "test": scores}


def run(arguments):
    """Runs what the JSON lacks."""
    import _machine

    for name in arguments.data:
        if name == SHAMPOO:
            run_shampoo(arguments)
            continue
        about, data = _published.DATA_SETS[name], _published.DATA_SETS[name].load()
        simple = baselines(about)
        for what in (*simple, *about.searches):
            held = read(arguments)
            of_set = held.setdefault("data", {}).setdefault(name, {"rows": []})
            if any(each["what"] == what for each in of_set["rows"]):
                continue
            if arguments.search and what not in arguments.search:
                continue
            if what in simple:
                new = [{"what": what, "test": [simple[what](about, data)]}]
            else:
                new = list(rows_of(name, what, data, arguments))
            of_set |= {"metric": about.metric, "known": dict(about.known)}
            of_set["rows"] += new
            write(arguments, held | {"machine": _machine.describe()})
            print(f"{name}:", *map(told, new), sep="\n  ", flush=True)


def run_shampoo(arguments):
    """Runs what the JSON lacks of the published table and its search."""
    import _machine

    held = read(arguments)
    of_set = held.setdefault(SHAMPOO, {"machine": _machine.describe()})
    epochs = arguments.epochs or _shampoo.EPOCHS
    _shampoo.run(of_set, arguments.repeats, epochs, lambda: write(arguments, held))


def read(arguments):
    """Returns what the JSON has."""
    return json.loads(arguments.out.read_text()) if arguments.out.exists() else {}


def write(arguments, held):
    """Writes the JSON."""
    arguments.out.write_text(json.dumps(held, indent=1) + "\n")


def told(each):
    """Says a row in a line."""
    test = np.array(each["test"])
    return f"{each['what']}: {test.mean():.4f} +- {test.std(ddof=len(test) > 1):.4f} {each.get('values', '')}"


def gain(of_set, found):
    """Returns the gain of a row over its twin, and its 95 % interval; `None` where it has no twin."""
    twins = [each for each in of_set["rows"] if each.get("twin_of") == found["what"]]
    if not twins:
        return None
    sign = -1 if of_set["metric"] == "rmse" else 1
    better = sign * (np.array(found["test"]) - np.array(twins[0]["test"]))
    half = stats.t.ppf(0.975, len(better) - 1) * better.std(ddof=1) / np.sqrt(len(better))
    return better.mean(), better.mean() - half, better.mean() + half


def table(of_set):
    """Writes the table of a data set in Markdown."""
    lines = [
        f"| | test {of_set['metric']} | gain over its twin, 95 % | configuration |",
        "|---|---|---|---|",
        *(f"| published: {name} | {value:.3f} | | |" for name, value in of_set["known"].items()),
    ]
    for each in of_set["rows"]:
        test, better = np.array(each["test"]), gain(of_set, each)
        shown = f"{test.mean():.4f}" + (f" ± {test.std(ddof=1):.4f}" if len(test) > 1 else "")
        gained = "" if better is None else "{:+.4f} ({:+.4f} to {:+.4f})".format(*better)
        about = "the same without dropout" if each.get("twin_of") else configuration(each)
        lines.append(f"| {each['what']} | {shown} | {gained} | {about} |")
    return "\n".join(lines)


def configuration(each):
    """Says the hyperparameters of a row."""
    if "values" not in each:
        return ""
    said = [f"{name.partition('.')[0]} {value}" for name, value in each["values"].items()]
    return ", ".join([*said, f"{each['epochs']} epoch{'s' * (each['epochs'] != 1)}"])


def show(arguments):
    """Prints the tables, and puts them between the marks of the page."""
    held = read(arguments)
    made = {name: table(of_set) for name, of_set in held.get("data", {}).items()}
    made |= _shampoo.tables(held.get(SHAMPOO, {}))
    for name, lines in made.items():
        print(f"\n{name}\n{lines}")
    _page.fill(arguments.page, made)


def main():
    """Runs, or shows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "table"))
    names = [*_published.DATA_SETS, SHAMPOO]
    parser.add_argument("--data", nargs="*", default=names, choices=names)
    parser.add_argument("--search", nargs="*", help="names of searches; all by default")
    parser.add_argument("--trials", type=int, help="of each search; its own number by default")
    parser.add_argument("--epochs", type=int, help="of each training; the search's own by default")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--repeats", type=int, default=_shampoo.REPEATS, help="of the shampoo sales"
    )
    parser.add_argument("--folder", type=Path, default=Path("recdrop_runs") / "published")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (run if arguments.what == "run" else show)(arguments)


if __name__ == "__main__":
    main()
