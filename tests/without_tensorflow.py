"""Prints the requirements of the package and of some of its extras, without TensorFlow and what it brings.

python tests/without_tensorflow.py jax ray > requirements.txt
"""

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

LEFT_OUT = {"tensorflow", "tensorboard"}


def main():
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in sys.argv[1:] for line in extras[name])]
    print("\n".join(line for line in lines if Requirement(line).name not in LEFT_OUT))


if __name__ == "__main__":
    main()
