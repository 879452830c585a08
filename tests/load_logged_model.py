"""Loads a logged model as others would, in a process that has imported nothing of ours, and predicts."""

import sys

import mlflow
import numpy as np

uri, model, folder, how = sys.argv[1:]
mlflow.set_tracking_uri(uri)
x = np.load(f"{folder}/x.npy")
if how == "keras":
    import mlflow.keras

    predictions = mlflow.keras.load_model(model).predict(x, verbose=0)
else:
    predictions = mlflow.pyfunc.load_model(model).predict(x)
if how != "pyfunc of ours":
    assert not [name for name in sys.modules if name.startswith("recdrop_tune")]
np.save(f"{folder}/predictions.npy", predictions)
