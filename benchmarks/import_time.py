"""How long does `import recdrop_tune` take?

    python benchmarks/import_time.py

The import alone, in fresh interpreters, the first of which is not counted. It prints the median in
milliseconds, and which heavy packages the import brings along, and writes JSON to benchmarks/results/.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import _machine

RESULTS = Path(__file__).parent / "results" / "import_time.json"
_PROGRAM = """
import sys, time
began = time.perf_counter()
import recdrop_tune
heavy = {"tensorflow", "keras", "keras_tuner", "optuna", "mlflow", "pandas", "ray"} & set(sys.modules)
print((time.perf_counter() - began) * 1000, ",".join(sorted(heavy)))
"""


def main():
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    command = [sys.executable, "-c", _PROGRAM]
    outputs = [subprocess.check_output(command, text=True) for _ in range(arguments.times + 1)]
    found = [float(output.split()[0]) for output in outputs[1:]]
    heavy = outputs[0].split()[1:]
    print(f"import recdrop_tune: {statistics.median(found):.0f} ms; heavy: {heavy or 'none'}")
    held = {"machine": _machine.describe(), "load": os.getloadavg()[0], "heavy": heavy}
    held["milliseconds"] = [round(value, 1) for value in found]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
