"""Makes `python -P -m recdrop_tune.cli` the command `recdrop-tune`."""

from recdrop_tune.cli import main

main(prog_name="recdrop-tune")
