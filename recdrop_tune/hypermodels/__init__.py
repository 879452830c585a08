"""Models to search over, and the one line that adds the search for dropout to a model of your own."""

from recdrop_tune.hypermodels._base import AbstractHyperModel as AbstractHyperModel
from recdrop_tune.hypermodels._dropout_rnn import dropout_rnn as dropout_rnn
from recdrop_tune.hypermodels._scheduled import scheduled as scheduled
from recdrop_tune.hypermodels.sequence_classifier import SequenceClassifier as SequenceClassifier

__all__ = ["AbstractHyperModel", "SequenceClassifier", "dropout_rnn", "scheduled"]
