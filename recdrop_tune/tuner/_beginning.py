"""What stands before every training: names that count from the beginning, and a random state."""

from __future__ import annotations

import keras

from recdrop_tune.engine import reset_names, seed_keeping_kernels


def _clear_session() -> None:
    """Clears all of Keras's state but what the user has set: the policy of dtypes."""
    policy = keras.config.dtype_policy()
    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy(policy)


class Beginning:
    """Begins trainings as if each were the first of its process.

    Both `keras.utils.clear_session` and `keras.utils.set_random_seed` throw TensorFlow's kernels away,
    those of the compiled models that wait for their next trial too. A third of a small trial would go
    into making them again.

    Args:
        keep_kernels: Whether to leave them where they are.
    """

    def __init__(self, *, keep_kernels: bool) -> None:
        self._keep = keep_kernels
        # The first beginning clears what others have left.
        self._clean = False
        self._seeds: set[int] = set()

    def begin(self, seed: int | None) -> None:
        """Begins a training.

        Args:
            seed: Seed of everything that it draws; `None` leaves the random state alone.
        """
        if not (self._keep and self._clean and self._renewed(seed)):
            _clear_session()
            if seed is not None:
                keras.utils.set_random_seed(seed)
            self._clean = True
            self._seeds = set()
        if seed is not None:
            self._seeds.add(seed)

    def _renewed(self, seed: int | None) -> bool:
        # TensorFlow's eager random ops keep a state for each seed: a second time it would go on.
        if seed in self._seeds or (seed is not None and not seed_keeping_kernels(seed)):
            return False
        reset_names()
        return True
