"""Loads logged models as others would, in a process that has imported nothing of ours, and predicts."""

import json
import sys

import mlflow.keras
import numpy as np

uri, folder, models = sys.argv[1:]
mlflow.set_tracking_uri(uri)
x = np.load(f"{folder}/x.npy")
predictions = {}
for name, model, how in json.loads(models):
    if how == "keras":
        predictions[name] = mlflow.keras.load_model(model).predict(x, verbose=0)
    else:
        predictions[name] = mlflow.pyfunc.load_model(model).predict(x)
    ours = [module for module in sys.modules if module.startswith("recdrop_tune")]
    assert how == "pyfunc of ours" or not ours
np.savez(f"{folder}/predictions.npz", **predictions)
