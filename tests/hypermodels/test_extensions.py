"""The one stand-in for a hypermodel: what extensions add, in their order, whatever is added when."""

import pickle

import keras_tuner as kt
import pytest

from recdrop_tune.hypermodels import Extension, extended, scheduled, unextended


class Inner(kt.HyperModel):
    """Notes what it is given."""

    colour = "red"

    def build(self, hp):
        return ["inner"]

    def fit(self, hp, model, *args, **kwargs):
        return model, args, kwargs

    def declare_hyperparameters(self, hp):
        hp.Int("declared", 1, 2)


class Adds(Extension):
    """Adds a word to the model, and a callback to the training."""

    def __init__(self, word):
        self.word = word

    def build(self, build, hp):
        return [*build(hp), self.word]

    def fit(self, fit, hp, model, *args, **kwargs):
        callbacks = [*kwargs.pop("callbacks"), self.word]
        return fit(hp, model, *args, callbacks=callbacks, **kwargs)


def build(hp):
    """A function in the place of a hypermodel."""
    return ["function"]


@pytest.mark.parametrize("inner", [Inner(), build], ids=["hypermodel", "function"])
def test_there_is_one_stand_in(inner):
    both = extended(extended(inner, Adds("first")), Adds("second"))
    assert both.hypermodel is unextended(both) is unextended(inner) is inner
    assert both.build(None)[1:] == ["first", "second"]


def test_callbacks_come_in_front_of_those_of_earlier_extensions():
    both, given = extended(extended(Inner(), Adds("first")), Adds("second")), ["own"]
    model, args, kwargs = both.fit(None, "model", 1, callbacks=given, epochs=2)
    assert (model, args) == ("model", (1,))
    assert kwargs == {"callbacks": ["own", "second", "first"], "epochs": 2}
    assert given == ["own"]


def test_all_else_is_the_hypermodels_own():
    stand_in, hp = scheduled(extended(Inner(), Adds("first"))), kt.HyperParameters()
    stand_in.declare_hyperparameters(hp)
    assert stand_in.colour == "red"
    assert [each.name for each in hp.space] == ["declared"]
    assert pickle.loads(pickle.dumps(stand_in)).build(hp) == ["inner", "first"]
    assert stand_in.extension(Adds).word == "first"
    with pytest.raises(AttributeError):
        _ = stand_in.size


class Builder:
    """No hypermodel, and no function: a tuner of one's own may have anything."""

    def build(self, hp):
        return ["built"]

    def fit(self, hp, model, *args, **kwargs):
        return model, args, kwargs


def test_what_only_has_the_methods_of_a_hypermodel():
    adding = extended(Builder(), Adds("more"))
    assert adding.build(kt.HyperParameters()) == ["built", "more"]
    assert adding.fit(None, "model", callbacks=[]) == ("model", (), {"callbacks": ["more"]})
    adding.declare_hyperparameters(kt.HyperParameters())
