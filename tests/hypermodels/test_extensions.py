"""Extensions of a hypermodel, and their order."""

import pickle

import keras_tuner as kt
import pytest

from recdrop_tune.hypermodels import Extension, extended, unextended


class Inner(kt.HyperModel):
    """Returns its arguments."""

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
    """A build function instead of a hypermodel."""
    return ["function"]


@pytest.mark.parametrize("inner", [Inner(), build], ids=["hypermodel", "function"])
def test_extensions_are_not_nested(inner):
    both = extended(extended(inner, Adds("first")), Adds("second"))
    assert both.hypermodel is unextended(both) is unextended(inner) is inner
    assert both.build(None)[1:] == ["first", "second"]


def test_later_extensions_come_first():
    both, given = extended(extended(Inner(), Adds("first")), Adds("second")), ["own"]
    assert both.build(None) == ["inner", "first", "second"]
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
