"""Models to search over, and the one line that adds the search for dropout to a model of your own."""

from recdrop_tune.hypermodels._base import AbstractHyperModel as AbstractHyperModel
from recdrop_tune.hypermodels._dropout_rnn import dropout_rnn as dropout_rnn
from recdrop_tune.hypermodels._perplexity import Perplexity as Perplexity
from recdrop_tune.hypermodels._scheduled import scheduled as scheduled
from recdrop_tune.hypermodels._sequence import AbstractSequenceModel as AbstractSequenceModel
from recdrop_tune.hypermodels.language_model import LanguageModel as LanguageModel
from recdrop_tune.hypermodels.sequence_classifier import SequenceClassifier as SequenceClassifier
from recdrop_tune.hypermodels.sequence_regressor import SequenceRegressor as SequenceRegressor
from recdrop_tune.hypermodels.sequence_tagger import SequenceTagger as SequenceTagger

__all__ = [
    "AbstractHyperModel",
    "AbstractSequenceModel",
    "LanguageModel",
    "Perplexity",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "dropout_rnn",
    "scheduled",
]
