"""Search spaces: how they say no. Each message is compared whole."""

from __future__ import annotations

import re

import keras_tuner as kt
import pytest

from recdrop_tune.catalog import SCHEDULE_NAMES, TECHNIQUES
from recdrop_tune.errors import SearchSpaceError
from recdrop_tune.spaces import DropoutSample, SearchSpace


def message(source: object) -> str:
    with pytest.raises(SearchSpaceError) as caught:
        SearchSpace.load(source)
    return str(caught.value)


RATE = "a number, 0 <= rate < 1"
FORMS = "; a list of such values or a range {min, max, step, log}"
WRAPPERS = ", ".join(TECHNIQUES)
KEYS = ", ".join(SearchSpace.model_fields)
SCHEDULES = ", ".join(SCHEDULE_NAMES)


def bad(path: str, expected: str, received: str, fix: str = "") -> str:
    return (
        f"Invalid value received for `{path}` in the dict. Expected {expected}. "
        f"Received: {path}={received}{fix}"
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"rate": 1}, bad("rate", RATE + FORMS, "1")),
        ({"rate": -0.1}, bad("rate", RATE + FORMS, "-0.1")),
        ({"rate": "0.1"}, bad("rate", RATE + FORMS, "'0.1'")),
        ({"rate": float("nan")}, bad("rate", RATE + FORMS, "nan")),
        ({"rate": [0.1, 2]}, bad("rate[1]", RATE, "2")),
        ({"rate": [0.1, 0.1]}, bad("rate[1]", "each value once", "0.1")),
        ({"rate": []}, bad("rate", "at least one value", "[]")),
        ({"rate": None}, bad("rate", RATE + FORMS, "None")),
        ({"rate": {"min": 0.1, "max": 1.5}}, bad("rate.max", RATE, "1.5")),
        ({"rate": {"min": 0.5, "max": 0.1}}, bad("rate.min", "a number < max=0.1", "0.5")),
        ({"rate": {"min": 0.1, "max": 0.2, "step": 0}}, bad("rate.step", "a number > 0", "0")),
        (
            {"rate": {"min": 0.1, "max": 0.2, "step": 0.3}},
            bad("rate.step", "a number <= max - min = 0.1", "0.3"),
        ),
        (
            {"learning_rate": {"min": 0.1, "max": 0.2, "step": 0.1, "log": True}},
            bad(
                "learning_rate.step",
                "no step where log is true",
                "0.1",
                ". Leave out one of the two.",
            ),
        ),
        (
            {"rate": {"min": 0, "max": 0.2, "log": True}},
            bad("rate.min", "a number > 0 where log is true", "0.0"),
        ),
        ({"rate": {"min": 0.1, "max": 0.2, "log": 1}}, bad("rate.log", "true or false", "1")),
        ({"units": 16.0}, bad("units", "an integer > 0 and < 2**31" + FORMS, "16.0")),
        ({"units": True}, bad("units", "an integer > 0 and < 2**31" + FORMS, "True")),
        ({"units": [16, 0]}, bad("units[1]", "an integer > 0 and < 2**31", "0")),
        (
            {"units": {"min": 8, "max": 64, "step": 0.5}},
            bad("units.step", "an integer > 0", "0.5"),
        ),
        ({"layers": 0}, bad("layers", "an integer > 0 and < 2**31" + FORMS, "0")),
        ({"learning_rate": 0}, bad("learning_rate", "a number > 0" + FORMS, "0")),
        (
            {"learning_rate": float("inf")},
            bad("learning_rate", "a number > 0" + FORMS, "inf"),
        ),
        (
            {"bidirectional": "yes"},
            bad("bidirectional", "true or false; a list of such values", "'yes'"),
        ),
        (
            {"cell": "LSTMs"},
            bad(
                "cell",
                "one of lstm, gru; a list of such values",
                "'LSTMs'",
                ". Did you mean `lstm`?",
            ),
        ),
        (
            {"cell": {"min": 1}},
            bad("cell", "one of lstm, gru; a list of such values", "{'min': 1}"),
        ),
        (
            {"wrapper": ["none", "recurent"]},
            bad("wrapper[1]", f"one of {WRAPPERS}", "'recurent'", ". Did you mean `recurrent`?"),
        ),
        (
            {"wrapper": [None, "lambda"]},
            bad("wrapper[0]", f"one of {WRAPPERS}", "None", ". Write `none` for no dropout."),
        ),
        (
            {"schedule": ["constant", "curiculum"]},
            bad(
                "schedule[1]",
                f"one of {SCHEDULES}",
                "'curiculum'",
                ". Did you mean `curriculum`?",
            ),
        ),
        (
            {"schedule": "none"},
            bad(
                "schedule",
                f"one of {SCHEDULES}; a list of such values",
                "'none'",
                ". Write `constant` for a rate that stays as it is.",
            ),
        ),
        (
            {"wrapper": ["recurrent", "zoneout"], "schedule": ["linear", "ramp"]},
            bad(
                "schedule",
                "a schedule that the wrapper `zoneout` has, constant",
                "['linear', 'ramp']",
                ". Add it, or leave `zoneout` out of `wrapper`.",
            ),
        ),
        (
            {"wrapper": ["none", "concrete"], "rate": 0.2},
            bad(
                "rate",
                "no rate, for it is learned under the wrapper `concrete`",
                "0.2",
                ". Leave it out.",
            ),
        ),
        (
            {"placement": ["input+recurrent", "recurrent+input"]},
            bad("placement[1]", "each value once", "'recurrent+input'"),
        ),
        (
            {"placement": "input+input"},
            bad(
                "placement",
                "one of input, recurrent, output, or several of them joined by +; "
                "a list of such values",
                "'input+input'",
            ),
        ),
        (
            {"wrapper": ["none", "lambda"], "placement": "recurrent"},
            bad(
                "placement",
                "a placement that the wrapper `lambda` has, one of input, output, input+output",
                "'recurrent'",
                ". Add one, or leave `lambda` out of `wrapper`.",
            ),
        ),
        (
            {"wrapper": "recurrent", "placement": ["input", "output"], "rate": {"input": 0.1}},
            bad(
                "rate",
                "a rate for the site `output`, which `placement` has",
                "{'input': 0.1}",
            ),
        ),
        (
            {"wrapper": "lambda", "rate": {"recurrent": 0.1}},
            bad(
                "rate",
                "a placement that the wrapper `lambda` has, one of input, output, input+output",
                "{'recurrent': 0.1}",
                ". Add one, or leave `lambda` out of `wrapper`.",
            ),
        ),
        (
            {"rate": {"input": {"min": 0.1, "max": 3}}},
            bad("rate.input.max", RATE, "3"),
        ),
        (
            {"rate": {"min": 0.1}},
            "Missing key `rate.max` in the dict. Expected a range {min, max, step, log}, of which step and "
            "log can be left out. Received: rate={'min': 0.1}",
        ),
        (
            {"wraper": "none"},
            f"Invalid key `wraper` in the dict. Expected one of {KEYS}. Received: 'wraper'. "
            "Did you mean `wrapper`?",
        ),
        (
            {"rate": {"min": 0.1, "max": 0.3, "stpe": 0.1}},
            "Invalid key `rate.stpe` in the dict. Expected one of min, max, step, log. "
            "Received: 'stpe'. Did you mean `rate.step`?",
        ),
        (
            {"rate": {"input": 0.1, "recurrent": 0.1, "ouput": 0.1}},
            "Invalid key `rate.ouput` in the dict. Expected one of input, recurrent, output. "
            "Received: 'ouput'. Did you mean `rate.output`?",
        ),
        (
            {"locked_rate": {"input": 0.1, "recurrent": 0.2}},
            "Invalid key `locked_rate.recurrent` in the dict. Expected one of input, between, output. "
            "Received: 'recurrent'",
        ),
        (
            {"locked_rate": {"between": 1.5}},
            bad("locked_rate.between", RATE + FORMS, "1.5"),
        ),
        (
            {"cell": ["lstm", "gru"], "hidden_rate": 0.1},
            bad(
                "cell",
                "lstm alone, where there is a `hidden_rate`",
                "['lstm', 'gru']",
                ". Leave out `hidden_rate`: the state of a GRU has the rate `rate`.",
            ),
        ),
        *(
            (
                {**layers, "locked_rate": {"between": 0.1}},
                bad(
                    "layers",
                    "2 or more, where there is `locked_rate.between`",
                    received,
                    ". Leave out `between`, or give one `locked_rate` for all sites.",
                ),
            )
            for layers, received in (
                ({}, "1"),
                ({"layers": [2, 1]}, "[2, 1]"),
                ({"layers": {"min": 1, "max": 3}}, "{'min': 1, 'max': 3}"),
            )
        ),
        ({"activity_decay": -1}, bad("activity_decay", "a number >= 0" + FORMS, "-1")),
        ({"global_clipnorm": 0}, bad("global_clipnorm", "a number > 0" + FORMS, "0")),
        ({"temporal_decay": "2"}, bad("temporal_decay", "a number >= 0" + FORMS, "'2'")),
        (
            {"activity_decay": {"min": -1, "max": 2}},
            bad("activity_decay.min", "a number >= 0", "-1"),
        ),
        (
            {"temporal_decay": {"min": 0, "max": 2, "log": True}},
            bad("temporal_decay.min", "a number > 0 where log is true", "0.0"),
        ),
        ({"embedding_rate": True}, bad("embedding_rate", RATE + FORMS, "True")),
        ({"hidden_rate": [0.1, 1]}, bad("hidden_rate[1]", RATE, "1")),
        ({"mask_groups": 0}, bad("mask_groups", "an integer > 0 and < 2**31" + FORMS, "0")),
        ({"per_step": "no"}, bad("per_step", "true or false; a list of such values", "'no'")),
        (
            {"function": "gausian"},
            bad(
                "function",
                "one of bernoulli, gaussian; a list of such values",
                "'gausian'",
                ". Did you mean `gaussian`?",
            ),
        ),
        (
            {3: "none"},
            f"Invalid key `3` in the dict. Expected one of {KEYS}. Received: 3",
        ),
    ],
    ids=repr,
)
def test_messages(raw, expected):
    assert message(raw) == expected


def test_one_error_reports_every_problem_and_names_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("unit: 3\nrate: {min: -1, max: 2}\ncell: rnn\n")
    lines = message(path).splitlines()
    assert [re.search(r"`(\S+)` in (.+?)\. Expected", line).groups() for line in lines] == [
        ("unit", f"{path}, line 1"),
        ("rate.min", f"{path}, line 2"),
        ("rate.max", f"{path}, line 2"),
        ("cell", f"{path}, line 3"),
    ]


def test_keyword_arguments_are_checked_alike():
    with pytest.raises(
        SearchSpaceError, match="Invalid value received for `units` in the arguments"
    ):
        SearchSpace(units=-1)
    with pytest.raises(SearchSpaceError, match="Invalid key `unit` in the arguments"):
        SearchSpace(unit=1)


def test_none_alone_takes_any_placement_and_rate():
    space = SearchSpace(wrapper="none", placement="recurrent", rate=0.3)
    hp = kt.HyperParameters()
    assert space.sample_dropout(hp) == DropoutSample("none", None, None)
    assert hp.values == {"wrapper": "none"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("rate: 0.1\nrate: 0.2\n", "the key `rate` is there twice"),
        ("rate: {min: 0.1, min: 0.2, max: 0.3}\n", "the key `min` is there twice"),
        ("rate: [0.1\n", "to hold valid YAML"),
        ("!!python/object/apply:os.system [echo]\n", "could not determine a constructor"),
        ("", "to hold a mapping, such as `wrapper: [none, recurrent]`. Received: None"),
        ("- none\n", "to hold a mapping, such as `wrapper: [none, recurrent]`. Received: ['none']"),
        ("? [a, b]\n: 1\n", "to hold valid YAML"),
    ],
)
def test_bad_yaml_is_told_with_the_file(tmp_path, text, found):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert found in message(path)
    assert str(path) in message(path)


def test_a_missing_file_and_an_unknown_preset_list_the_presets(tmp_path):
    presets = ", ".join(SearchSpace.presets())
    path = str(tmp_path / "no.yaml")
    assert message(path) == (
        "Invalid value received for argument `space`. Expected a readable YAML file or a preset "
        f"({presets}). Received: space={path!r} ([Errno 2] No such file or directory: {path!r})"
    )
    assert message("quik") == (
        f"Invalid value received for argument `space`. Expected one of the presets ({presets}) or a "
        "path that ends in .yaml or .yml. Received: space='quik'. Did you mean `quick`?"
    )
    assert message(3) == (
        "Invalid value received for argument `space`. Expected a SearchSpace, a dict, the path of a "
        f"YAML file or a preset ({presets}). Received: space=3"
    )
