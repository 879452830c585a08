"""Keras layers that wrap a `keras.layers.LSTM`, a `GRU` or a `Bidirectional` of one with dropout.

Importing this registers with Keras all that saved models can hold of this package.
"""

from recdrop_tune.wrappers.concrete_dropout import ConcreteDropoutWrapper
from recdrop_tune.wrappers.embedding_dropout import EmbeddingDropout
from recdrop_tune.wrappers.factory import wrap
from recdrop_tune.wrappers.lambda_dropout import LambdaDropoutWrapper
from recdrop_tune.wrappers.locked_dropout import LockedDropout
from recdrop_tune.wrappers.native_dropout import NativeDropoutWrapper
from recdrop_tune.wrappers.perplexity import Perplexity
from recdrop_tune.wrappers.recurrent_dropout import RecurrentDropoutWrapper
from recdrop_tune.wrappers.recurrent_wrapper import (
    ActivityDecay,
    RecurrentWrapper,
    check_emits_steps,
    check_wrappable,
    is_default_name,
)
from recdrop_tune.wrappers.time_distributed_dropout import TimeDistributedDropoutWrapper
from recdrop_tune.wrappers.update_dropout import UpdateDropoutWrapper
from recdrop_tune.wrappers.variational_dropout import VariationalDropoutWrapper
from recdrop_tune.wrappers.weight_drop import WeightDropWrapper
from recdrop_tune.wrappers.wrapper import AbstractDropoutWrapper
from recdrop_tune.wrappers.zoneout import ZoneoutWrapper

__all__ = [
    "AbstractDropoutWrapper",
    "ActivityDecay",
    "ConcreteDropoutWrapper",
    "EmbeddingDropout",
    "LambdaDropoutWrapper",
    "LockedDropout",
    "NativeDropoutWrapper",
    "Perplexity",
    "RecurrentDropoutWrapper",
    "RecurrentWrapper",
    "TimeDistributedDropoutWrapper",
    "UpdateDropoutWrapper",
    "VariationalDropoutWrapper",
    "WeightDropWrapper",
    "ZoneoutWrapper",
    "check_emits_steps",
    "check_wrappable",
    "is_default_name",
    "wrap",
]
