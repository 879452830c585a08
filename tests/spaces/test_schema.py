"""The JSON schema of a search space, which editors use to complete and to check."""

from __future__ import annotations

import json

import jsonschema
import pytest
import yaml

from recdrop_tune.errors import SearchSpaceError
from recdrop_tune.spaces import SearchSpace
from recdrop_tune.spaces.space import preset_folder
from tests.spaces.test_space import SPACES

COMMAND = (
    'python -c "import json; from recdrop_tune import SearchSpace as S; '
    'print(json.dumps(S.json_schema(), indent=2))" > search_spaces/schema.json'
)
CONTRADICTIONS = "that the wrapper|for each site|a range with|because"


@pytest.fixture(scope="module")
def validator():
    schema = json.loads((preset_folder() / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def test_the_schema_in_the_folder_of_presets_is_current(validator):
    assert validator.schema == SearchSpace.json_schema(), f"Make it anew: {COMMAND}"


def test_presets_name_the_schema_and_suit_it(validator):
    for name in SearchSpace.presets():
        text = (preset_folder() / f"{name}.yaml").read_text(encoding="utf-8")
        assert text.splitlines()[0] == "# yaml-language-server: $schema=schema.json"
        validator.validate(yaml.safe_load(text))
    for raw in SPACES.values():
        validator.validate(raw)
    validator.validate({"placement": "recurrent + input"})


VALUES = [
    *(0, 1, 3, 0.5, -1, 2**31, True, None, "none", "lstm", "input", "linear", "gaussian", "0.1"),
    *([], {}, [1, 2], [0.1, 0.2], [0.1, 3], [False, True], ["lstm", "gru"], ["none", "recurent"]),
    *("input,recurrent", ["input", "input+outptu"], {"min": 1}, {"min": 1, "max": 2}),
    *({"min": 0.1, "max": 0.2, "step": 0.1}, {"min": 8, "max": 64, "step": 0}),
    *({"input": 0.1}, {"input": [0.1, 2]}, {"output": {"min": 0.1, "max": 0.2}}, {"ouput": 0.1}),
]


@pytest.mark.parametrize("key", [*SearchSpace.model_fields, "wraper"])
def test_the_schema_accepts_what_load_accepts(key, validator):
    """Apart from keys that contradict each other, which a schema cannot express."""
    for value in VALUES:
        raw = {"wrapper": "recurrent", key: value}
        try:
            SearchSpace.load(raw)
        except SearchSpaceError as error:
            if not any(words in str(error) for words in CONTRADICTIONS.split("|")):
                assert not validator.is_valid(raw), value
        else:
            validator.validate(raw)
