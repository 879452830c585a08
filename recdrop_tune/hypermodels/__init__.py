"""Models to search over; and of your own, `ExistingModel`, `dropout_model` and `dropout_rnn`."""

from recdrop_tune.hypermodels.data import batches, check_ends, is_endless, is_one_hot
from recdrop_tune.hypermodels.extensions import (
    Extension,
    extended,
    fit_of,
    has_own_fit,
    unextended,
)
from recdrop_tune.hypermodels.hypermodel import AbstractHyperModel, AbstractSequenceModel
from recdrop_tune.hypermodels.infer import has_steps, infer_hypermodel, task_in_words
from recdrop_tune.hypermodels.language_model import LanguageModel
from recdrop_tune.hypermodels.own_models import ExistingModel, dropout_model, dropout_rnn
from recdrop_tune.hypermodels.sequence_labels import SequenceClassifier, SequenceTagger
from recdrop_tune.hypermodels.sequence_regressor import SequenceRegressor

__all__ = [
    "AbstractHyperModel",
    "AbstractSequenceModel",
    "ExistingModel",
    "Extension",
    "LanguageModel",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "batches",
    "check_ends",
    "dropout_model",
    "dropout_rnn",
    "extended",
    "fit_of",
    "has_own_fit",
    "has_steps",
    "infer_hypermodel",
    "is_endless",
    "is_one_hot",
    "task_in_words",
    "unextended",
]
