"""The first trials of a search: each wrapper once, and a line if there are too few trials."""

import keras_tuner as kt
import pytest

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError
from recdrop_tune.oracle import OptunaOracle
from recdrop_tune.results import TuneResult
from recdrop_tune.search.first_trials import enqueue_first_trials, first_points, untried_lines
from recdrop_tune.spaces import SearchSpace
from tests.planted_search import SPACE, Planted, planted_result
from tests.small_search import build, data

WRAPPERS = ["none", "recurrent", "variational", "zoneout", "lambda"]


def oracle_of(folder, space, trials=20, seed=0, twin_last=False, name="p"):
    oracle = OptunaOracle(kt.Objective("val_loss", "min"), trials, seed=seed, twin_last=twin_last)
    oracle.verbose = 0
    space = SearchSpace.load(space)
    tuner = kt.Tuner(oracle, lambda hp: space.sample(hp), directory=folder, project_name=name)
    tuner.save()  # Else the search cannot be resumed.
    return oracle, space


@pytest.mark.parametrize("preset", SearchSpace.presets())
def test_each_wrapper_of_a_preset_comes_once_with_a_rate_of_the_lower_half(tmp_path, preset):
    oracle, space = oracle_of(tmp_path, preset)
    points = first_points(oracle.hyperparameters.space, oracle.seed)
    wrappers = [point["wrapper"] for point in points]
    asked = [space.wrapper] if isinstance(space.wrapper, str) else list(space.wrapper)
    assert sorted(wrappers) == sorted(asked)
    assert wrappers[0] == "none"
    assert "native" not in wrappers[2:]
    ranges = {hp.name: hp for hp in oracle.hyperparameters.space}
    for point in points:
        for name, value in point.items():
            if name.split(".")[0] == "rate" and hasattr(ranges[name], "min_value"):
                middle = (ranges[name].min_value + ranges[name].max_value) / 2
                assert value <= middle
    for point in points:
        oracle.enqueue(point)  # Refuses a configuration that is not in the space.


def test_the_spread_depends_on_the_seed_alone(tmp_path):
    spaces = [
        oracle_of(tmp_path, SPACE, seed=seed, name=str(n)) for n, seed in enumerate((0, 0, 1))
    ]
    points = [first_points(o.hyperparameters.space, o.seed) for o, _ in spaces]
    assert points[0] == points[1] != points[2]
    rates = {point["learning_rate"] for point in points[0]}
    assert len(rates) == len(points[0])
    placements = [v for p in points[0] for n, v in p.items() if n.startswith("placement")]
    assert len(set(placements)) > 1


def test_each_layer_gets_all_its_wrappers(tmp_path):
    def build(hp):
        for layer, wrappers in (("a", ["none", "recurrent", "zoneout"]), ("b", ["none", "lambda"])):
            SearchSpace(wrapper=wrappers, rate=[0.1, 0.2]).sample_dropout(hp, layer)

    oracle = OptunaOracle(kt.Objective("val_loss", "min"), 9, seed=0)
    kt.Tuner(oracle, build, directory=tmp_path)
    points = first_points(oracle.hyperparameters.space, 0)
    assert [(p["a/wrapper"], p["b/wrapper"]) for p in points] == [
        ("none", "none"),
        ("recurrent", "lambda"),
        ("zoneout", "lambda"),
    ]


def tried(oracle, number):
    """Runs trials, and returns their wrappers."""
    found = []
    for _ in range(number):
        trial = oracle.create_trial("tuner0")
        found.append(trial.hyperparameters.values["wrapper"])
        oracle.update_trial(trial.trial_id, {"val_loss": 1.0}, step=0)
        trial.status = "COMPLETED"
        oracle.end_trial(trial)
    return found


def test_a_search_tries_them_first_and_not_again_when_it_resumes(tmp_path):
    oracle, _ = oracle_of(tmp_path, SPACE)
    enqueue_first_trials(oracle)
    assert tried(oracle, 3) == WRAPPERS[:3]
    again, _ = oracle_of(tmp_path, SPACE)
    enqueue_first_trials(again)
    assert tried(again, 2) == WRAPPERS[3:]
    assert untried_lines(again) == []


@pytest.mark.parametrize(
    ("trials", "twin", "said"),
    [
        (5, False, None),
        (6, True, None),
        (
            5,
            True,
            "max_trials=5 is too small to try every wrapper, and lambda may never be tried. 6 trials ",
        ),
        (3, False, "zoneout, lambda may never be tried. 5 trials try each once."),
        (1, True, "none, recurrent, variational, zoneout, lambda may never be tried."),
    ],
)
def test_too_few_trials_are_reported_before_the_search(tmp_path, trials, twin, said):
    oracle, _ = oracle_of(tmp_path, SPACE, trials=trials, twin_last=twin)
    lines = untried_lines(oracle)
    assert lines == [] if said is None else said in lines[0]


def test_a_space_without_none_keeps_no_trial_for_a_twin(tmp_path):
    space = {**SPACE, "wrapper": ["recurrent", "zoneout"]}
    oracle, _ = oracle_of(tmp_path, space, trials=2, twin_last=True)
    assert untried_lines(oracle) == []


def test_a_layer_that_only_some_models_have(tmp_path):
    def build(hp):
        depth = hp.Choice("layers", [1, 2, 3])
        space = SearchSpace(wrapper=["none", "recurrent", "zoneout"], rate=[0.1, 0.2])
        space.sample_dropout(hp, "first")
        with hp.conditional_scope("layers", [3]):
            if depth == 3:
                space.sample_dropout(hp, "third")

    oracle = OptunaOracle(kt.Objective("val_loss", "min"), 2, seed=0, twin_last=True)
    kt.Tuner(oracle, build, directory=tmp_path)
    enqueue_first_trials(oracle)
    assert "first/zoneout" in untried_lines(oracle)[0]


def test_other_tuners_get_no_first_trials(tmp_path):
    oracle = kt.oracles.RandomSearchOracle("val_loss", max_trials=2)
    assert untried_lines(oracle) == []
    enqueue_first_trials(oracle)


KNOWN = [
    {"wrapper": "recurrent", "placement": "input+output", "rate": 0.4},
    {"wrapper": "none"},  # The first of the baselines.
    {"wrapper": "lambda", "rate": 0.4},
    {"wrapper": "recurrent", "placement": "input+output", "rate": 0.4},
]


def search(folder, max_trials, known=()):
    """Returns the wrapper and the rate of each trial, in the order of their starts."""
    tuner = rdt.Optuna("random", try_first=known)
    store = rdt.MLflow(uri=f"sqlite:///{folder.parent}/mlflow.db")
    result = rdt.tune(
        data(),
        data(16),
        build,
        max_trials=max_trials,
        epochs=1,
        seed=0,
        tuner=tuner,
        directory=folder,
        tracking=store,
    )
    rows = result.trials.sort_values("trial_id")
    return list(zip(rows["wrapper"], rows["rate"].fillna(0.0), strict=True))


def test_known_points_come_after_the_baselines_and_once(tmp_path, capsys):
    first = search(tmp_path / "p", 4, KNOWN)
    assert [wrapper for wrapper, _ in first[:3]] == ["none", "recurrent", "lambda"]
    assert first[3] == ("recurrent", 0.4)
    said = "after the baselines: 2 of 2 may not be tried. 6 trials try all."
    assert said in capsys.readouterr().out
    longer = search(tmp_path / "p", 7, KNOWN)
    assert longer[:4] == first
    assert longer[4] == ("lambda", 0.4)
    assert "try_first" not in capsys.readouterr().out
    assert longer.count(("recurrent", 0.4)) == 1


def test_a_wrong_known_point_is_refused_before_there_is_a_folder(tmp_path):
    with pytest.raises(InvalidArgumentError, match="Did you mean `wrapper`"):
        search(tmp_path / "p", 5, [*KNOWN, {"wraper": "none"}])
    assert not (tmp_path / "p").exists()


@pytest.mark.heavy
def test_what_was_never_tried_is_named_by_tune_summary_and_report(tmp_path, capsys):
    space = {"units": 2, "wrapper": ["none", "native", "zoneout"], "rate": [0.1, 0.2]}
    space |= {"placement": "recurrent", "learning_rate": 0.01}
    result = rdt.tune(
        data(),
        data(16),
        space=space,
        max_trials=2,
        epochs=1,
        seed=0,
        directory=tmp_path / "p",
        tracking=rdt.MLflow(uri=f"sqlite:///{tmp_path}/mlflow.db"),
    )
    printed = capsys.readouterr().out
    assert "max_trials=2 is too small to try every wrapper, and native, zoneout" in printed
    # The second trial is reserved for the twin of the best trial with dropout.
    assert list(result.wrappers["state"]) == ["complete", "complete", "never tried"]
    for text in (result.summary(), result.report(tmp_path / "r.html").read_text()):
        assert "Never tried: zoneout." in text
    assert "Never tried: zoneout." in (result.directory / "result" / "summary.md").read_text()


def test_the_best_of_each_wrapper(tmp_path, planted_uri):
    oracle = OptunaOracle(kt.Objective("val_loss", "min"), 14, seed=0, twin_last=True)
    result = planted_result(oracle, tmp_path, planted_uri)
    frame, trials = result.wrappers.set_index("wrapper"), result.trials
    assert set(frame.index) == set(WRAPPERS)
    for wrapper, row in frame.iterrows():
        own = trials[trials["wrapper"] == wrapper]
        complete = own[own["state"] == "COMPLETE"]
        assert (row["trials"], row["complete"]) == (len(own), len(complete))
        if len(complete):
            assert row["best"] == pytest.approx(complete["val_loss"].min())
            assert row["state"] == "complete"
        else:
            assert row["state"] == ("failed" if len(own) else "never tried")
    best = trials[(trials["wrapper"] != "none") & (trials["state"] == "COMPLETE")].iloc[0]
    assert frame.loc[best["wrapper"], "gain"] == pytest.approx(result.twin_gain.value)
    assert frame["gain"].isna()["none"]
    loaded = TuneResult.load(result.directory)
    assert loaded.wrappers.equals(result.wrappers)
    assert repr(loaded.twin_gain) == repr(result.twin_gain)  # NaN is not NaN.


def test_a_search_of_other_things_has_no_wrappers(tmp_path, planted_uri):
    class Other(Planted):
        def build(self, hp):
            hp.Choice("depth", [1, 2, 3])
            return super().build(kt.HyperParameters())

        def metrics(self, hp, epoch):
            return {"val_loss": float(hp.get("depth")), "ms_per_step": 1.0}

        def fit(self, hp, model, callbacks=()):
            return self.metrics(hp, 0)["val_loss"]

    oracle = OptunaOracle(kt.Objective("val_loss", "min"), 3, seed=0, twin_last=True)
    result = planted_result(oracle, tmp_path, planted_uri, Other())
    assert result.wrappers.empty
    assert "wrapper" not in result.summary()
    assert result.twin_gain is None
