"""What JAX has compiled is kept for other processes, in a folder that only the user can use."""

import keras
import numpy as np
import pytest

from recdrop_tune.kernels import compilations_kept

pytestmark = pytest.mark.backends
on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX alone keeps it")


def trained():
    """Trains a model that is compiled anew; returns its loss, and how many programs were found compiled."""
    import jax

    jax.clear_caches()
    found = []
    jax.monitoring.register_event_listener(found.append)
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 3)), keras.layers.LSTM(2), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x, y = np.random.default_rng(0).normal(size=(6, 4, 3)), np.ones((6, 1))
    loss = model.fit(x, y, batch_size=4, verbose=0).history["loss"][0]
    jax.monitoring.unregister_event_listener(found.append)
    return loss, found.count("/jax/compilation_cache/cache_hits")


def programs(folder):
    return list(folder.rglob("*-cache"))


@on_jax
def test_it_is_found_again_and_computes_the_same(tmp_path):
    import jax

    loss, _ = trained()
    with compilations_kept(tmp_path / "new"):
        first, found = trained()
        assert found == 0
        second, found = trained()
    assert found > 0
    assert first == second == loss
    assert jax.config.jax_compilation_cache_dir is None
    kept = len(programs(tmp_path))
    keras.utils.set_random_seed(0)
    jax.clear_caches()
    keras.ops.cos(np.ones((3, 5)))
    assert len(programs(tmp_path)) == kept > 0
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@on_jax
def test_without_a_folder_it_is_not_kept(tmp_path):
    import jax

    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="not cached.*file"), compilations_kept(tmp_path / "file"):
        assert jax.config.jax_compilation_cache_dir is None


@on_jax
def test_a_folder_of_the_users_own_is_left_alone(tmp_path):
    import jax

    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    try:
        with compilations_kept(tmp_path / "ours"):
            assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
    assert not (tmp_path / "ours").exists()
