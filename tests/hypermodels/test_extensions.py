"""Extensions of a hypermodel, and their order."""

import pickle

import keras_tuner as kt
import pytest

from recdrop_tune.hypermodels import Extension, extended, unextended


class Inner(kt.HyperModel):
    colour = "red"

    def build(self, hp):
        return ["inner"]

    def fit(self, hp, model, *args, **kwargs):
        return model, args, kwargs

    def declare_hyperparameters(self, hp):
        hp.Int("declared", 1, 2)


class Adds(Extension):
    def __init__(self, word):
        self.word = word

    def build(self, build, hp):
        return [*build(hp), self.word]

    def fit(self, fit, hp, model, *args, **kwargs):
        callbacks = [*kwargs.pop("callbacks"), self.word]
        return fit(hp, model, *args, callbacks=callbacks, **kwargs)


def build(hp):
    return ["function"]


def test_later_extensions_come_first_and_none_is_nested():
    for inner, made in ((build, "function"), (Inner(), "inner")):
        both = extended(extended(inner, Adds("first")), Adds("second"))
        assert both.hypermodel is unextended(both) is unextended(inner) is inner
        assert both.build(None) == [made, "first", "second"]
    given = ["own"]
    model, args, kwargs = both.fit(None, "model", 1, callbacks=given, epochs=2)
    assert (model, args) == ("model", (1,))
    assert kwargs == {"callbacks": ["own", "second", "first"], "epochs": 2}
    assert given == ["own"]


def test_other_attributes_are_those_of_the_hypermodel():
    stand_in, hp = extended(extended(Inner(), Adds("first")), Extension()), kt.HyperParameters()
    stand_in.declare_hyperparameters(hp)
    assert stand_in.colour == "red"
    assert [each.name for each in hp.space] == ["declared"]
    assert pickle.loads(pickle.dumps(stand_in)).build(hp) == ["inner", "first"]
    assert stand_in.extension(Adds).word == "first"
    with pytest.raises(AttributeError):
        _ = stand_in.size
