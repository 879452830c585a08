"""Keras layers that wrap a `keras.layers.LSTM`, a `GRU` or a `Bidirectional` of one with dropout."""

from recdrop_tune.wrappers._base import AbstractDropoutWrapper as AbstractDropoutWrapper
from recdrop_tune.wrappers._registry import deserialize as deserialize
from recdrop_tune.wrappers._registry import get as get
from recdrop_tune.wrappers._registry import serialize as serialize
from recdrop_tune.wrappers._registry import wrap as wrap
from recdrop_tune.wrappers.lambda_dropout import LambdaDropoutWrapper as LambdaDropoutWrapper
from recdrop_tune.wrappers.native_dropout import NativeDropoutWrapper as NativeDropoutWrapper
from recdrop_tune.wrappers.recurrent_dropout import (
    RecurrentDropoutWrapper as RecurrentDropoutWrapper,
)
from recdrop_tune.wrappers.time_distributed_dropout import (
    TimeDistributedDropoutWrapper as TimeDistributedDropoutWrapper,
)
from recdrop_tune.wrappers.variational_dropout import (
    VariationalDropoutWrapper as VariationalDropoutWrapper,
)
from recdrop_tune.wrappers.weight_drop import WeightDropWrapper as WeightDropWrapper
from recdrop_tune.wrappers.zoneout import ZoneoutWrapper as ZoneoutWrapper

__all__ = [
    "AbstractDropoutWrapper",
    "LambdaDropoutWrapper",
    "NativeDropoutWrapper",
    "RecurrentDropoutWrapper",
    "TimeDistributedDropoutWrapper",
    "VariationalDropoutWrapper",
    "WeightDropWrapper",
    "ZoneoutWrapper",
    "deserialize",
    "get",
    "serialize",
    "wrap",
]
