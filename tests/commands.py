"""Commands of `recdrop-tune`, run in this process."""

from click.testing import CliRunner

from recdrop_tune.cli import main


def called(*words):
    """Runs a command; returns click's result, whatever that is."""
    return CliRunner().invoke(main, [*map(str, words)])


def output_of(*words):
    """Runs a command that succeeds; returns what it printed."""
    done = called(*words)
    assert done.exit_code == 0, done.output
    return done.output


def refusal_of(*words):
    """Runs a command that ends with an error of its own; returns what it printed."""
    done = called(*words)
    assert (done.exit_code, done.exception.__class__) == (1, SystemExit), done.output
    return done.output
