"""Says what a search is about: the data in words, and what a constant predictor scores on them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from math import ceil, isqrt, prod
from typing import Any

import keras
import numpy as np

from recdrop_tune.events import Context
from recdrop_tune.hypermodels import (
    AbstractSequenceModel,
    LanguageModel,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
)
from recdrop_tune.search.constant import Array, Score, Targets, labels_of, score
from recdrop_tune.search.hypermodel_of import CROSS_ENTROPIES, ERRORS, Compiled

# Numbers of one array that are looked at: it takes some hundredths of a second. Of more a sample will do.
_VALUES = 4_000_000


def context_of(
    train: Any,
    validation: Any,
    hypermodel: Any,
    compiled: Compiled | None,
    objectives: Iterable[str],
) -> Context | None:
    """Describes the data of a search, and scores a constant predictor on them.

    Arrays are read. Of datasets only shapes and the number of batches are looked at, and no constant
    predictor is scored. Without validation data, as with `cv` and `validation_split`, the constant is scored
    on the training targets that it is made of. What is not known is left out.

    Args:
        train: The training data.
        validation: The validation data, or `None`.
        hypermodel: The hypermodel.
        compiled: What its models are compiled with; `None` if that is not known.
        objectives: The names of the objectives.

    Returns:
        The context; `None` if nothing is known.
    """
    arrays = isinstance(train, list | tuple)
    targets = _targets(train, hypermodel, compiled) if arrays else None
    words = [_targets_in_words(targets, hypermodel, compiled)]
    words += (
        _arrays_in_words(train[0], hypermodel) if arrays else _batches_in_words(train, hypermodel)
    )
    checked = targets if validation is None else _targets(validation, hypermodel, compiled)
    scores = _scores(compiled, targets, checked, objectives)
    if not any(words):
        return None
    of_words = isinstance(hypermodel, LanguageModel)
    return Context(
        words=", ".join(word for word in words if word),
        predicts={
            name: each.predicts.replace("class", "word") if of_words else each.predicts
            for name, each in scores.items()
        },
        constant={name: each.value for name, each in scores.items()},
        noise={name: each.noise for name, each in scores.items()},
    )


def _scores(
    compiled: Compiled | None,
    train: Targets | None,
    check: Targets | None,
    objectives: Iterable[str],
) -> dict[str, Score]:
    """Scores the constant predictor by each objective for which it is known how."""
    scores: dict[str, Score] = {}
    if compiled is None or train is None or check is None:
        return scores
    for name in objectives:
        # What Keras reports of training data is a mean over an epoch, with dropout.
        measure = compiled.measures.get(name.removeprefix("val_"))
        if measure is not None and name.startswith("val_"):
            found = score(measure, compiled.output, train, check)
            scores |= {} if found is None else {name: found}
    return scores


def _targets(data: Any, hypermodel: Any, compiled: Compiled | None) -> Targets | None:
    """Reads the targets of arrays; `None` if they are no numbers, or it is not known which of them count."""
    if not isinstance(data, list | tuple):
        return None
    mask = hypermodel.mask_value if getattr(hypermodel, "return_sequences", False) else None
    # The mask of a model for each step goes by layers of the user's own; a forecast has none.
    per_step = compiled is not None and compiled.masked and len(compiled.output) > 2
    if mask is None and per_step and not isinstance(hypermodel, SequenceRegressor):
        return None
    step = _step(max(_size(data[1]), 0 if mask is None else _size(data[0])))
    x = None if mask is None else _array(data[0], step)
    y = _array(data[1], step)
    weight = _array(data[2], step) if len(data) > 2 and data[2] is not None else None
    if y is None or (x is None and mask is not None) or not np.isfinite(y).all():
        return None
    if len(data) > 2 and data[2] is not None and (weight is None or not np.isfinite(weight).all()):
        return None
    y = y.astype("float64") if y.dtype.kind == "f" else y
    return Targets(y, weight, None if x is None else (x != mask).any(axis=-1))


def _array(part: Any, step: int = 1) -> Array | None:
    """Returns numbers as an array, every so many of them; `None` for anything else.

    Of several inputs, of text and of tensors of unequal lengths nothing is said.
    """
    if not hasattr(part, "shape"):
        return None
    try:
        array = np.asarray(part[::step] if step > 1 else part)
    except Exception:  # Whatever people train on: tensors of unequal lengths, or on another device.
        return None
    return array if array.dtype.kind in "biuf" and array.ndim and array.size else None


def _step(values: int) -> int:
    """Says every how many sequences one is looked at.

    If not all are, it is a prime number from 11 on: of data that repeat themselves every two or seven
    sequences any other step might see one kind only.
    """
    step = ceil(values / _VALUES)
    if step < 2:
        return 1
    return next(n for n in count(max(step, 11)) if all(n % k for k in range(2, isqrt(n) + 1)))


def _size(part: Any) -> int:
    """Counts the numbers in an array without reading it."""
    sizes = [size for size in getattr(part, "shape", ()) if isinstance(size, int) and size > 0]
    return prod(sizes)


def _targets_in_words(targets: Targets | None, hypermodel: Any, compiled: Compiled | None) -> str:
    if isinstance(hypermodel, LanguageModel):
        return f"{hypermodel.vocab_size:,} words"
    loss = None if compiled is None else compiled.measures.get("loss")
    kind = "" if loss is None else loss.kind
    if targets is not None and compiled is not None and kind in CROSS_ENTROPIES:
        found = labels_of(targets, compiled.output, None if loss is None else loss.ignored)
        return "" if found is None else _classes_in_words(found, compiled.output)
    if targets is None:
        known = isinstance(hypermodel, SequenceClassifier | SequenceTagger)
        return f"{hypermodel.num_classes:,} classes" if known else ""
    y, of_steps = targets.y, getattr(hypermodel, "return_sequences", False)
    one_each = y.ndim == 1 or y.shape[1:] == (1,)
    tags = isinstance(hypermodel, SequenceTagger)
    if (one_each or tags) and kind not in ERRORS and np.all((y == 0) | (y == 1)):
        y = y if targets.counts is None else y[targets.counts]
        each = " for each step" if tags else ""
        return f"2 classes{each}, {_percent(float(y.mean()))} positive"
    if kind in ERRORS or y.dtype.kind == "f":
        each = "" if one_each or of_steps else f"{' × '.join(map(str, y.shape[1:]))} "
        steps = " for each step" if of_steps else ""
        y = y if targets.counts is None else y[targets.counts]
        return f"{each}targets{steps} of mean {y.mean():.3g} and standard deviation {y.std():.3g}"
    return ""


def _classes_in_words(found: tuple[Array, Array], output: Any) -> str:
    labels, counts = found
    numbers = np.bincount(labels[counts], minlength=output[-1])
    shares = numbers / max(1, numbers.sum())
    each = " for each step" if len(output) > 2 else ""
    if len(shares) == 2:
        return f"2 classes{each}, {_percent(float(shares[1]))} positive"
    return f"{len(shares):,} classes{each}, the largest {_percent(float(shares.max()))}"


def _percent(share: float) -> str:
    """Writes a share with so many digits that a rare class is not none.

    Example:
        >>> _percent(0.12), _percent(0.0034), _percent(0.9966), _percent(1.0)
        ('12 %', '0.34 %', '99.66 %', '100 %')
    """
    percent = 100 * share
    rare = 0 < percent < 1 or 99 < percent < 100
    return f"{percent:.2f} %" if rare else f"{percent:.0f} %"


def _arrays_in_words(x: Any, hypermodel: Any) -> list[str]:
    shape = tuple(getattr(x, "shape", ()))
    if not shape or not all(isinstance(size, int) for size in shape):
        return []
    step = _step(_size(x))
    array = _array(x, step)
    tokens = array is not None and array.dtype.kind in "iu" and array.ndim == 2
    if array is None or not (tokens or array.ndim == 3):
        of_shape = f" of shape {shape[1:]}" if shape[1:] else ""
        return [f"{_number(shape[0], 'sample')}{of_shape}"]
    steps = _steps_in_words(array, hypermodel)
    about = "about " if " to " in steps and step > 1 else ""
    words = [f"{_number(shape[0], 'sequence')} of {about}{steps}"]
    if array.ndim == 3:
        words.append(_number(shape[2], "feature"))
    elif step == 1 and not isinstance(hypermodel, LanguageModel):
        words.append(f"{int(array.max()) + 1:,} words")
    return words


def _steps_in_words(x: Array, hypermodel: Any) -> str:
    """Says how long sequences are, without the padding that can be seen.

    Padding is steps of zeros, or of the mask value, at one end. Zeros at both ends may be data.
    """
    steps = x.shape[1]
    value = hypermodel.mask_value if isinstance(hypermodel, AbstractSequenceModel) else None
    padding = 0 if value is None else value
    if isinstance(hypermodel, LanguageModel) and not hypermodel.mask_zero:
        return _number(steps, "step")
    ends = [x[:, position] == padding for position in (0, -1)]
    ends = [(end if x.ndim == 2 else end.all(axis=-1)) for end in ends]
    front, back = (bool(end.any()) for end in ends)
    if front == back and (value is None or not front):
        return _number(steps, "step")
    filled = x != padding if x.ndim == 2 else (x != padding).any(axis=-1)
    first, last = filled.argmax(axis=1), steps - filled[:, ::-1].argmax(axis=1)
    lengths = np.where(filled.any(axis=1), last - first, 0)
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest == longest:
        return _number(longest, "step")
    return f"{shortest:,} to {longest:,} steps"


def _batches_in_words(data: Any, hypermodel: Any) -> list[str]:
    """Describes a dataset without reading it."""
    spec = getattr(data, "element_spec", None)
    shape: Any = getattr(
        spec[0] if isinstance(spec, list | tuple) and spec else None, "shape", None
    )
    steps, features = shape[1:] if getattr(shape, "rank", None) == 3 else (None, None)
    if features is None and isinstance(hypermodel, AbstractSequenceModel):
        features = hypermodel.input_shape[1]
    number, words = _length(data), []
    if number is not None:
        words.append(f"{_number(number, 'batch', 'batches')} of")
    if number is not None or steps is not None:
        words.append("sequences")
    if steps is not None:
        words.append(f"of {_number(steps, 'step')}")
    return [" ".join(words), "" if features is None else _number(features, "feature")]


def _length(data: Any) -> int | None:
    """Counts the batches; `None` if their number is unknown or infinite."""
    try:
        return int(data.num_batches if isinstance(data, keras.utils.PyDataset) else len(data))
    except Exception:  # A dataset of the user's own may raise anything.
        return None


def _number(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
