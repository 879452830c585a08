"""Does the dropout of AWD-LSTM help a small language model? A search over its rates, and a test.

The text is the help on topics that ships with Python (`pydoc_data.topics`), in lower case, character by
character: 20,000 characters to train on, 10,000 each to validate and to test, in sequences of 60. That is
little text, so the model overfits within its 50 epochs.

The model has two LSTM layers of 64 units. It is the preset `awd_lstm`, made smaller: weight-drop on the
recurrent kernels, locked dropout before, between and after the layers, and dropout of whole characters in
the embedding. Afterwards the best configuration and no dropout are trained five times more, with the
same fresh seeds.

Takes about 6 minutes on 2 CPU cores. Run it with

    python examples/character_language_model.py

It prints the trials, the perplexity of both on the validation and the test text, and a few lines written by
the best model.
"""

import argparse
import os

# TensorFlow looks for a GPU and reports on it at length; set it to 0 to see that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pydoc_data.topics import topics

import keras_tuner as kt
import numpy as np

import recdrop_tune as rdt

LENGTH = 60

SMALLER = {
    "units": 64,
    "layers": 2,
    # One for all, so that the dropout is all that differs.
    "learning_rate": 0.01,
    # The preset's rates are those of 1150 units. A layer of 64 has fewer to spare.
    "rate": {"min": 0.2, "max": 0.5, "step": 0.1},
    "locked_rate": {
        site: {"min": 0.0, "max": 0.3, "step": 0.1} for site in ("input", "between", "output")
    },
    "embedding_rate": {"min": 0.0, "max": 0.1, "step": 0.05},
}
"""What differs from the preset `awd_lstm`."""


def load_text(train_characters: int):
    """Returns three texts, to train on, to validate with and to test with, and all their characters."""
    half = train_characters // 2
    text = "\n".join(topics[name] for name in sorted(topics)).lower()[: train_characters + 2 * half]
    ends = (train_characters, train_characters + half)
    return (text[: ends[0]], text[ends[0] : ends[1]], text[ends[1] :]), sorted(set(text))


def as_sequences(text: str, characters: list[str]):
    """Returns x and y of shape (sequences, LENGTH): y is x, one character later."""
    tokens = as_tokens(text, characters)
    count = (len(tokens) - 1) // LENGTH
    x, y = tokens[: count * LENGTH], tokens[1 : count * LENGTH + 1]
    return x.reshape(count, LENGTH), y.reshape(count, LENGTH)


def as_tokens(text: str, characters: list[str]):
    """Returns the numbers of the characters of a text."""
    return np.array([characters.index(character) for character in text], "int32")


def write(
    model, start: str, characters: list[str], count: int, seed: int, temperature: float = 0.7
):
    """Goes on with a text, character by character, each drawn from what the model expects there."""
    random = np.random.default_rng(seed)
    tokens = list(as_tokens(start, characters))
    for _ in range(count):
        logits = model.predict_on_batch(np.array([tokens[-LENGTH:]]))[0, -1]
        # A temperature below 1 keeps to the likely characters.
        odds = np.exp((logits - logits.max()) / temperature).astype("float64")
        tokens.append(random.choice(len(characters), p=odds / odds.sum()))
    return "".join(characters[token] for token in tokens[len(start) :])


def perplexities(confirmation):
    """Returns the mean perplexities of each configuration, the best first."""
    table = confirmation.table[["wrapper", "n", "mean", "std", "test_perplexity"]]
    names = {"n": "trainings", "mean": "val_perplexity"}
    return table.rename(columns=names).to_string(index=False, float_format="{:.3f}".format)


def main():
    """Searches, and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--confirm-seeds", type=int, default=5)
    parser.add_argument("--train-characters", type=int, default=20_000)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    texts, characters = load_text(arguments.train_characters)
    train, validation, test = (as_sequences(text, characters) for text in texts)
    space = {**rdt.SearchSpace.load("awd_lstm").to_dict(), **SMALLER, "units": arguments.units}
    result = rdt.tune(
        train,
        validation,
        model=rdt.LanguageModel(
            len(characters), space, embedding_units=24
        ),  # Keras Tuner has to be told that less perplexity is better.
        objective=kt.Objective("val_perplexity", "min"),
        max_trials=arguments.trials,
        epochs=arguments.epochs,
        batch_size=16,
        tracking="characters",
        seed=arguments.seed,
        confirm=rdt.Confirm(
            1, seeds=arguments.confirm_seeds, max_seeds=arguments.confirm_seeds, test=test
        ),
    )
    print(result.summary())

    print("\nPerplexity, of the trainings with fresh seeds:")
    print(perplexities(result.confirmation))

    start = texts[2][: 2 * LENGTH]
    print("\nThe test text begins with\n")
    print(start)
    print("\nand the best model continues\n")
    print(write(result.best_model(), start, characters, 300, arguments.seed))


if __name__ == "__main__":
    main()
