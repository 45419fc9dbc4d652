"""The configuration and its schema."""

import pytest

from pipeline.config import ConfigError, checked, schema


def test_every_parameter_has_type_default_and_the_papers_values_stand():
    filled = checked({"run": "r", "root": "d", "vocabulary": "v"})
    assert filled["gradcam"]["iterations"] == 3 and filled["vision_language"]["layers"] == [8]
    assert filled["propose"]["top_k"] == 50 and filled["segment"]["network"]["steps"] == 500
    for stage, rules in schema()["properties"].items():
        for name, rule in rules.get("properties", {}).items():
            if rule.get("type") != "object":
                assert "default" in rule and ("type" in rule or "enum" in rule), f"{stage}.{name}"


def test_several_mistakes_are_all_told():
    with pytest.raises(ConfigError) as caught:
        checked({"run": "r", "root": "d", "vocabulary": "v", "shards": 0, "gradcam": {"batchh": 1}})
    assert "shards is 0" in str(caught.value) and "did you mean batch?" in str(caught.value)
