"""The only file that touches Keras internals: the kernels that `keras.layers.LSTM` and `GRU` call.

Keras has no public name for them. `tests/test_engine.py` fails when an upgrade moves one or changes
what it takes.
"""

from keras.src.backend import cudnn_ok as cudnn_ok
from keras.src.backend import gru as gru
from keras.src.backend import lstm as lstm
from keras.src.backend import rnn as rnn

__all__ = ["cudnn_ok", "gru", "lstm", "rnn"]
