"""Many trials at once: on the cores or GPUs of one machine, in a SLURM job, on a Kubernetes cluster.

This is the search of `quickstart.py`, on the digits that ship with scikit-learn. Its trials are run by
workers, each in its own process, which Ray places on free cores or GPUs.

    python examples/ray_cluster.py --workers 2                        # this machine, a core each
    python examples/ray_cluster.py --workers 8 --gpus-per-trial 0.25  # two GPUs, four trials on each
    sbatch examples/ray_cluster.sbatch                                # the nodes of a SLURM job
    kubectl apply -f examples/ray_cluster.yaml                        # a Kubernetes cluster with KubeRay

Takes a few minutes on 2 CPU cores. Needs the extra `ray`: pip install 'recdrop-tune[ray]'. After an
interruption, start it again to resume the search in the folder `ray_cluster_run`.
"""

import argparse
import os

# TensorFlow looks for a GPU and reports on it at length; set it to 0 to see that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import recdrop_tune as rdt


def load_data(train_samples: int = 300):
    """Returns `(x, y)` twice: x of shape (samples, 8, 8) in [0, 1], y the digit."""
    digits = load_digits()
    x = digits.images.astype("float32") / 16.0
    x_train, x_val, y_train, y_val = train_test_split(
        x, digits.target, train_size=train_samples, stratify=digits.target, random_state=0
    )
    return (x_train, y_train), (x_val, y_val)


def main():
    """Searches and prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="trials at the same time")
    parser.add_argument("--gpus-per-trial", type=float, help="0.25: four trials share a GPU")
    parser.add_argument("--address", help="of a Ray cluster; by default what RAY_ADDRESS says")
    parser.add_argument("--trial-timeout", type=float, default=3600.0, help="seconds")
    parser.add_argument("--directory", default="ray_cluster_run")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=50)
    arguments = parser.parse_args()

    # Arrays are sent to each machine once. What cannot be pickled, such as a `tf.data.Dataset`, is passed
    # as a function that makes it.
    train, validation = load_data()
    result = rdt.tune(
        train,
        validation,
        space="quick",
        max_trials=arguments.trials,
        epochs=arguments.epochs,
        tracking="digits",
        directory=arguments.directory,
        seed=0,
        workers=rdt.Workers(
            arguments.workers,
            gpus=arguments.gpus_per_trial,
            address=arguments.address,
            trial_timeout=arguments.trial_timeout,
        ),
    )
    print(result.summary())


if __name__ == "__main__":
    main()
