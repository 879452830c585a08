"""Would GRUs train faster on a CPU with TensorFlow if XLA compiled the recurrent layer alone?

    python benchmarks/layer_xla.py               # 15 minutes on 2 cores
    python benchmarks/layer_xla.py --searches 0  # steps alone, 2 minutes

An experiment, which the package does not contain. XLA takes no loop whose gradient lies outside of what it
compiles, so forward and backward are compiled apart, and backward repeats forward. Masks and numbers are
those of the step loop, but for rounding.

Steps: milliseconds of a training step with `recurrent` as it is and compiled, and how much longer the first
fit takes. Searches: `search_time.py` on characters, GRU(64), each in its own process. The models and the
searches take turns; numbers are medians. Prints tables and writes JSON to benchmarks/results/.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RESULTS = Path(__file__).parent / "results" / "layer_xla.json"
SIZES = [(units, *data) for data in ((8, 8), (50, 12)) for units in (16, 32, 64)]
BATCH, MODES = 32, ("step loop", "XLA")
KINDS = ("same trials", "quick")


def compile_layers():
    """Lets XLA compile the step loop of each layer that is traced from now on; returns the loop itself."""
    import tensorflow as tf

    from recdrop_tune.kernels import choice

    loop = choice.run_loop
    names = ("sequences", "initial_state", "kernel", "recurrent_kernel", "bias", "forcings")
    names += ("input_noise", "state_noise", "hidden_kept")

    def compiled(call, layer):
        parts = {name: getattr(call, name) for name in names}
        parts["forcings"] = tuple(each.bits for each in call.forcings)
        parts = {name: part for name, part in parts.items() if part is not None}
        flat = [tf.convert_to_tensor(part) for part in tf.nest.flatten(parts)]
        learned = [place for place, tensor in enumerate(flat) if tensor.dtype.is_floating]

        def forward(*tensors):
            given = tf.nest.pack_sequence_as(parts, list(tensors))
            forced = zip(call.forcings, given["forcings"], strict=True)
            given["forcings"] = tuple(replace(each, bits=bits) for each, bits in forced)
            return tuple(loop(replace(call, **given), layer))

        def backward(tensors, above):
            watched = [tensors[place] for place in learned]
            with tf.GradientTape() as tape:
                tape.watch(watched)
                outputs = forward(*tensors)
            how = {"output_gradients": list(above), "unconnected_gradients": "zero"}
            return tape.gradient(outputs, watched, **how)

        def by_xla(function, *arguments):
            return tf.function(function, jit_compile=True, autograph=False)(*arguments)

        @tf.custom_gradient
        def run(*tensors):
            def gradient(*above):
                found = dict(zip(learned, by_xla(backward, tensors, above), strict=True))
                return [found.get(place) for place in range(len(tensors))]

            return by_xla(forward, *tensors), gradient

        return run(*flat)

    choice.run_loop = compiled
    return loop


def time_steps(size, steps, rounds):
    """Returns the median step in milliseconds and the seconds of the first fit, for each mode."""
    import keras
    import numpy as np

    from recdrop_tune import wrap
    from recdrop_tune.kernels import choice

    units, length, features = size
    generator = np.random.default_rng(0)
    x = generator.normal(size=(BATCH * steps, length, features)).astype("float32")
    y = generator.normal(size=(BATCH * steps, 1)).astype("float32")
    models, first, times = {}, {}, {mode: [] for mode in MODES}
    how = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    for mode in MODES:
        layer = wrap(keras.layers.GRU(units), "recurrent", rate=0.3)
        models[mode] = keras.Sequential([keras.Input(x.shape[1:]), layer, keras.layers.Dense(1)])
        models[mode].compile("adam", "mse", jit_compile=False)
        loop, began = choice.run_loop if mode == MODES[0] else compile_layers(), time.perf_counter()
        models[mode].fit(x[: 2 * BATCH], y[: 2 * BATCH], **how)
        first[mode], choice.run_loop = time.perf_counter() - began, loop
    for _ in range(rounds):
        for mode, model in models.items():
            began = time.perf_counter()
            model.fit(x, y, **how)
            times[mode].append((time.perf_counter() - began) / steps * 1000)
    return {mode: {"ms": statistics.median(times[mode]), "first": first[mode]} for mode in MODES}


def search(mode, kind, trials, epochs):
    """Runs a search in this process; returns its seconds."""
    import search_time

    if mode != MODES[0]:
        compile_layers()
    with tempfile.TemporaryDirectory() as folder:
        return search_time.search(kind, "characters", trials, epochs, 0.0, folder)["seconds"]


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--searches", type=int, default=3, help="of each kind and mode")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(search(*arguments.one, arguments.trials, arguments.epochs))
        return
    import _machine

    held = {"machine": _machine.describe(), "load": os.getloadavg()[0], "steps": [], "searches": []}
    for size in SIZES:
        found = time_steps(size, arguments.steps, arguments.rounds)
        held["steps"].append({"size": size, **found})
        cells = (
            f"{mode} {each['ms']:.2f} ms, first {each['first']:.1f} s"
            for mode, each in found.items()
        )
        print(f"GRU({size[0]}), {size[1]} steps of {size[2]}: {'; '.join(cells)}", flush=True)
    for kind in KINDS if arguments.searches else ():
        seconds = {mode: [] for mode in MODES}
        for _ in range(arguments.searches):
            for mode in MODES:
                sizes = [f"--trials={arguments.trials}", f"--epochs={arguments.epochs}"]
                command = [sys.executable, __file__, "--one", mode, kind, *sizes]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                seconds[mode].append(float(done.stdout.splitlines()[-1]))
        held["searches"].append({"kind": kind, "seconds": seconds})
        cells = (f"{mode} {statistics.median(each):.1f} s" for mode, each in seconds.items())
        print(f"characters, {kind}: {'; '.join(cells)}", flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
