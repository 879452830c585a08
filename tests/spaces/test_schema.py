"""The JSON schema of a search space, which editors complete and check by."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from recdrop_tune.errors import SearchSpaceError
from recdrop_tune.spaces import SearchSpace, preset_folder
from tests.spaces.test_options import BESIDE, OPTIONED
from tests.spaces.test_space import FULL, PER_SITE

COMMAND = (
    'python -c "import json; from recdrop_tune import SearchSpace as S; '
    'print(json.dumps(S.json_schema(), indent=2))" > search_spaces/schema.json'
)


@pytest.fixture(scope="module")
def validator():
    schema = json.loads((preset_folder() / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def test_the_schema_in_the_folder_of_presets_is_current(validator):
    assert validator.schema == SearchSpace.json_schema(), f"Make it anew: {COMMAND}"


def test_it_describes_every_key(validator):
    described = validator.schema["properties"]
    assert list(described) == list(SearchSpace.model_fields)
    assert all(len(key["description"]) > 20 for key in described.values())
    assert described["cell"]["description"] == '"lstm" or "gru". Left out: "lstm".'


def test_presets_name_the_schema_and_suit_it(validator):
    for name in SearchSpace.presets():
        text = (preset_folder() / f"{name}.yaml").read_text(encoding="utf-8")
        assert text.splitlines()[0] == "# yaml-language-server: $schema=schema.json"
        validator.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "raw",
    [
        {},
        FULL,
        PER_SITE,
        OPTIONED,
        BESIDE,
        {"wrapper": "recurrent", "placement": "recurrent + input"},
        {"rate": 0},
        {"locked_rate": 0.2},
        {"activity_decay": 0, "temporal_decay": {"min": 0, "max": 2}},
    ],
    ids=str,
)
def test_both_accept(raw, validator):
    SearchSpace.load(raw)
    validator.validate(raw)


VALUES = [
    *(0, 1, 3, 0.5, 2.5, -1, 2**31, True, None, "none", "lstm", "input", "linear", "gaussian"),
    *([], {}, [1, 2], [0.1, 0.2], [0.1, 3], [0.1, 0.1], [False, True], ["lstm", "gru"]),
    *(
        {"min": 1, "max": 2},
        {"min": 0.1, "max": 0.2, "step": 0.1},
        {"min": 1, "max": 2, "log": 1},
    ),
    *({"input": 0.1}, {"input": [0.1, 2]}, {"output": {"min": 0.1, "max": 0.2}}, {"input": {}}),
]


@pytest.mark.parametrize("key", SearchSpace.model_fields)
def test_they_agree_on_every_value_of_every_key(key, validator):
    for value in VALUES:
        raw, said = {"wrapper": "recurrent", key: value}, ""
        try:
            SearchSpace.load(raw)
        except SearchSpaceError as error:
            said = str(error)
        if "that the wrapper `" not in said and "a rate for the site" not in said:
            assert validator.is_valid(raw) == (said == ""), (value, said)


@pytest.mark.parametrize(
    "raw",
    [
        {"wraper": "none"},
        {"wrapper": "recurent"},
        {"wrapper": ["none", "recurent"]},
        {"wrapper": ["none", "none"]},
        {"placement": "imput"},
        {"placement": ["input", "input+outptu"]},
        {"placement": "input,recurrent"},
        {"rate": "0.1"},
        {"rate": {"min": 0.1}},
        {"rate": {"min": 0.1, "max": 1.5}},
        {"rate": {"min": 0.1, "max": 0.3, "stpe": 0.1}},
        {"rate": {"min": 0.1, "max": 0.3, "step": 0}},
        {"rate": {"input": 0.1, "ouput": 0.1}},
        {"rate": {"input": {"min": 0.1}}},
        {"locked_rate": {"recurrent": 0.1}},
        {"learning_rate": {"min": 0.1, "max": 0.2, "step": 0.1, "log": True}},
        {"units": {"min": 8, "max": 64, "step": 0.5}},
        {"cell": {"min": 1}},
    ],
    ids=str,
)
def test_both_reject(raw, validator):
    """What is wrong for a reason that none of the values above has."""
    with pytest.raises(SearchSpaceError):
        SearchSpace.load(raw)
    assert not validator.is_valid(raw)
