"""Which search a folder holds, and which runs may resume it."""

import json
import random
from contextlib import ExitStack, suppress

import keras
import keras_tuner as kt
import numpy as np
import pytest
from sklearn.model_selection import KFold

import recdrop_tune as rdt
from recdrop_tune.errors import InvalidArgumentError, ProjectError, RecdropError
from recdrop_tune.events import WorkerLost
from recdrop_tune.files import fresh_path
from recdrop_tune.journal import Journal
from recdrop_tune.search import identity
from recdrop_tune.search.identity import claim, plain_values
from recdrop_tune.tuner import GroupedFolds
from tests.small_search import build, contents, tuned

FILE = "search.json"
IDENTITY = {"objective": "val_loss", "epochs": 3, "cv": KFold(3), "loss": keras.losses.Huber(0.1)}


def id_in(folder):
    return json.loads((folder / FILE).read_text())["id"]


def test_a_search_resumes_with_its_id_and_seed(tmp_path):
    random.seed(1)
    with claim(tmp_path / "a", IDENTITY) as first:
        (tmp_path / "a" / "trial_0").mkdir()
    first_id = id_in(tmp_path / "a")
    with claim(tmp_path / "a", {**IDENTITY, "cv": KFold(3)}) as again:
        assert again == first
    with claim(tmp_path / "a", IDENTITY, seed=first) as again:
        assert again == first
    random.seed(1)
    with claim(tmp_path / "b", IDENTITY) as other:
        assert other == first
        assert first_id == id_in(tmp_path / "a") != id_in(tmp_path / "b")
    (tmp_path / "c").mkdir()
    fresh_path(tmp_path / "c" / FILE).write_text("{")  # A kill left the file unfinished.
    with claim(tmp_path / "c", IDENTITY, seed=0) as given:
        assert given == 0


def test_another_search_is_refused(tmp_path):
    with claim(tmp_path, IDENTITY, seed=1):
        pass
    before = (tmp_path / FILE).read_bytes()
    changed = {**IDENTITY, "epochs": 4, "cv": KFold(4), "loss": keras.losses.Huber(0.2)}
    with pytest.raises(ProjectError) as refused, claim(tmp_path, changed, seed=2):
        pass
    text = str(refused.value)
    assert "  epochs: 3 there, 4 now\n" in text
    assert "  seed: 1 there, 2 now\n" in text
    assert "  cv.n_splits: 3 there, 4 now\n" in text
    assert "delta: 0.1 there, 0.2 now\n" in text
    assert (tmp_path / FILE).read_bytes() == before


def test_a_search_does_not_resume_a_comparison(tmp_path):
    """Nor the other way around. It says so at once, also while the folder is in use."""
    compared = {"model": {"baseline": "a", "models": {"a": "LSTM", "b": "GRU"}}}
    with claim(tmp_path / "compared", compared), claim(tmp_path / "searched", IDENTITY):
        for name, identity, what in (
            ("compared", IDENTITY, "a comparison of models"),
            ("searched", compared, "a search by `tune`"),
        ):
            with (
                pytest.raises(ProjectError, match=f"holds {what}"),
                claim(tmp_path / name, identity),
            ):
                pass


def test_overwriting(tmp_path):
    with claim(tmp_path, IDENTITY):
        old = id_in(tmp_path)
        (tmp_path / "trial_0").mkdir()
        (tmp_path / "trial_0" / "trial.json").touch()
    with claim(tmp_path, {"epochs": 4}, overwrite=True):
        assert id_in(tmp_path) != old
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_are_left_alone(tmp_path, overwrite):
    (tmp_path / "thesis.tex").touch()
    with (
        pytest.raises(ProjectError, match=r"no search .*\['thesis.tex'\]"),
        claim(tmp_path, {}, overwrite=overwrite),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["", "{}"])
def test_a_damaged_file(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ProjectError, match="is damaged"), claim(tmp_path, {}):
        pass
    with claim(tmp_path, {}, overwrite=True):
        assert json.loads((tmp_path / FILE).read_text())["identity"] == {}


def test_a_journal_that_cannot_be_written(tmp_path):
    (tmp_path / "events.jsonl").mkdir()
    with (
        pytest.raises(ProjectError, match=r"cannot be written to: .*events\.jsonl"),
        claim(tmp_path, {}),
    ):
        pass


@pytest.mark.parametrize(("busy", "overwrite"), [("folder", False), ("journal", True)])
def test_one_search_at_a_time(tmp_path, monkeypatch, busy, overwrite):
    """The driver locks the folder, and a worker locks the journal."""
    monkeypatch.setattr(identity, "PATIENCE", 0.2)
    with ExitStack() as stack:
        if busy == "folder":
            stack.enter_context(claim(tmp_path, {}))
        else:
            journal = Journal(tmp_path / "events.jsonl")
            journal.on_event(WorkerLost(worker="1", trial_id=None, reason="it writes here"))
            stack.callback(journal.close)
        held = contents(tmp_path)
        refused = pytest.raises(ProjectError, match="is running")
        with refused, claim(tmp_path, {}, overwrite=overwrite):
            pass
        assert contents(tmp_path) == held


def build_wider(hp):
    """Builds the model of `build` in a wider space."""
    hp.Choice("wrapper", ["none", "recurrent", "lambda"])
    with hp.conditional_scope("wrapper", ["recurrent", "lambda"]):
        hp.Choice("placement", ["input", "input+output"])
        hp.Float("rate", 0.1, 0.7, step=0.1)
    return build(kt.HyperParameters())


# A function is identified by its name.
build_wider.__module__, build_wider.__qualname__ = build.__module__, build.__qualname__


class Halves:
    """A splitter with an address in its representation, as user-defined ones have."""

    def __init__(self, part=2):
        self.part = part
        self._used = object()

    def split(self, x, y=None, groups=None):
        rows = np.arange(len(x))
        yield rows[rows % self.part > 0], rows[rows % self.part == 0]


def values():
    groups = GroupedFolds(Halves(), np.arange(3))
    texts = np.array(["a", "b"], object)
    return [keras.losses.Huber(0.1), KFold(3), groups, np.mean, {1: np.int64(2)}, "mse", texts]


def test_values_are_described_without_addresses_and_numbers():
    assert plain_values(values()) == plain_values(values())
    assert "0x" not in json.dumps(plain_values(values()))
    assert plain_values(np.arange(3)) != plain_values(np.arange(4))
    # Keras numbers the names of its objects.
    assert plain_values(keras.losses.Loss()) == plain_values(keras.losses.Loss())


@pytest.mark.parametrize("left", [[], ["oracle.json"]])
def test_a_search_that_breaks_off_before_its_first_event(tmp_path, left):
    with suppress(KeyboardInterrupt), claim(tmp_path / "a", {}):
        for name in left:
            (tmp_path / "a" / name).touch()
        raise KeyboardInterrupt
    assert (tmp_path / "a").exists() == bool(left)
    with claim(tmp_path / "a", {}):
        pass


# Whole searches.

SPACE = {"units": 2, "wrapper": ["none", "native"], "rate": [0.1, 0.2], "placement": "recurrent"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Runs a search in a folder of a name."""
    folder = tmp_path_factory.mktemp("searches")

    return lambda name, **changed: tuned(folder / name, None, **{"max_trials": 1, **changed})


@pytest.fixture(scope="module")
def old(run):
    """The folder of a search that others resume or learn from."""
    return run("old", max_trials=3).directory


def own(loss, space=SPACE):
    layers = [keras.Input((5, 3)), keras.layers.LSTM(2), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("adam", loss)
    return {"model": model, "space": {n: space[n] for n in ("wrapper", "rate", "placement")}}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        # Steps of 0.1 from 0.1 do not reach 0.7 in floating point.
        ({"model": build_wider}, r"rate .*high: 0.5 there, 0.6 now"),
        ({"objective": "val_accuracy"}, "objective.val_accuracy: None there, 'max' now"),
        ({"training": rdt.Training(fit={"shuffle": False})}, "fit.shuffle: None there, False now"),
    ],
)
def test_a_search_with_other_scores_is_refused(run, old, changed, message):
    before = contents(old)
    with pytest.raises(ProjectError, match=message):
        run("old", **changed)
    assert contents(old) == before


@pytest.mark.heavy
@pytest.mark.usefixtures("eagerly")
def test_another_loss_space_or_splitter_is_refused(run):
    folds = {"validation": None, "training": rdt.Training(cv=Halves())}
    given = own(keras.losses.Huber()) | folds
    run("own", **given)
    others = [
        (own(keras.losses.Huber(0.1)), "delta: 1.0 there, 0.1 now"),
        (own(keras.losses.Huber(), {**SPACE, "rate": [0.1, 0.3]}), r"rate: \[0.1, 0.2\] there, "),
        ({"training": rdt.Training(cv=Halves(3))}, r"cv.part: 2 there, 3 now"),
    ]
    for changed, message in others:
        with pytest.raises(ProjectError, match=message):
            run("own", **given | changed)
    assert len(run("own", **given | own(keras.losses.Huber()), max_trials=2).trials) == 2


def test_a_search_learns_from_another_one(run, old, capsys):
    result = run("told", tuner=rdt.Optuna(warm_start=old), verbose=1, max_trials=2)
    assert f"Warm start: 3 of 3 complete trials of {old}.\n" in capsys.readouterr().out
    assert len(result.trials) == len(result.study().trials) == 2
    assert len(result.tuner.oracle.study.trials) == 3 + 2
    assert result.tracking.records.search.info["warm_start"] == "old"


@pytest.mark.heavy
@pytest.mark.usefixtures("eagerly")
def test_scores_that_do_not_compare_are_not_learned_from(run, old):
    with pytest.raises(InvalidArgumentError, match=r"`warm_start`.* differs in:\n  epochs"):
        run("new", tuner=rdt.Optuna(warm_start=old), epochs=2)
    assert not (old.parent / "new").exists()

    def task(loss, **options):
        model = rdt.Task("regression", loss=loss, metrics=["mae"])
        return {"model": model, "space": SPACE, **options}

    # A mean absolute error is the same measure with any loss.
    mae = {"objective": "val_mae"}
    warm = rdt.Optuna(warm_start=run("huber", **task("huber", **mae)).directory)
    told = run("mse", **task("mse", **mae), tuner=warm)
    assert len(told.tuner.oracle.study.trials) == 1 + 1
    warm = rdt.Optuna(warm_start=run("loss", **task("huber")).directory)
    with pytest.raises(InvalidArgumentError, match="loss: 'huber' there, 'mse' now"):
        run("mse loss", **task("mse"), tuner=warm)


@pytest.mark.parametrize("wrong", ["warm_start", "model"])
def test_a_search_is_not_deleted_for_one_that_cannot_begin(run, old, wrong):
    def fail(hp):
        raise ValueError("no model")

    before = contents(old)
    given = {"tuner": rdt.Optuna(warm_start=old)} if wrong == "warm_start" else {"model": fail}
    with pytest.raises(RecdropError, match=wrong):
        run("old", overwrite=True, **given)
    assert contents(old) == before
