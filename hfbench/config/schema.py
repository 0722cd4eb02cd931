"""JSON schema of study files, made from what tables and parts declare: editors complete and check a file with it.

The schema knows every part that is installed or was added, plugin files included. It says what each key may hold, not
what keys mean together: whether a baseline is a method of the study is seen when the study is read.

Source     JSON Schema, draft 7, which TOML editors read
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from hfbench.config import load, on_tasks, sweep
from hfbench.config.ablation import AblationTable
from hfbench.config.hypotheses import _HypothesisTable
from hfbench.config.methods import MethodTable
from hfbench.errors import HfbenchError
from hfbench.parts import registry
from hfbench.parts.hyperparameters import Choice, Hyperparameter, Within, hyperparameters

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
TYPES = {int: "integer", float: "number", str: "string", bool: "boolean", dict: "object", list: "array", tuple: "array"}
FAMILIES = ("optimizer", "solver", "preconditioner", "scheduler")  # keys of a method that hold a part
NUMBERS: Schema = {"type": "object", "additionalProperties": {"type": "number"}}


def study_schema() -> Schema:
    """The schema of a study file. Raises nothing for parts that cannot be imported: it leaves them out."""
    budget = table_schema(on_tasks._BudgetTable)
    method = table_schema(MethodTable, {**{family: _ref(family) for family in FAMILIES}, **_of_methods()})
    tables = {
        "study": table_schema(load._StudyTable, {"budget": budget, "targets": NUMBERS}),
        "tasks": _named({"$ref": "#/definitions/task table"}),
        "methods": _named(method),
        "on": _named(table_schema(on_tasks._OnTable, {"budget": budget, "settings": _named({"type": "object"})})),
        "ablation": table_schema(AblationTable),
        "hypotheses": _named(table_schema(_HypothesisTable)),
        "sweep": table_schema(sweep.SweepTable, {"constraint": table_schema(sweep._ConstraintTable)}),
        "plugins": table_schema(load._PluginsTable),
    }
    return {
        "$schema": DRAFT,
        "title": "Study file of hfbench",
        "type": "object",
        "required": ["study", "methods"],
        "properties": tables,
        "additionalProperties": False,
        "definitions": _definitions(),
    }


def _of_methods() -> Schema:
    from hfbench.hessian_free.globalization import Globalization  # brings torch

    return {"rules": {"type": "array", "items": _ref("rule")}, "globalization": table_schema(Globalization)}


def _definitions() -> Schema:
    """A family's parts, as a name or a table, and as a table alone."""
    families = (*FAMILIES, "rule", "task")
    of_family = {family: _parts(family) for family in families}
    names: Schema = {family: {"type": "string", "enum": sorted(parts)} for family, parts in of_family.items()}
    whole = {family: {"anyOf": [names[family], *parts.values()]} for family, parts in of_family.items()}
    return {**whole, "task table": {"anyOf": list(of_family["task"].values())}}


def _parts(family: str) -> dict[str, Schema]:
    found = {}
    for name in registry.names(family):
        try:
            found[name] = _part(name, registry.get(family, name))
        except HfbenchError:
            continue  # `hfbench list` says why it is broken
    return found


def _part(name: str, part: type) -> Schema:
    schema: Schema = {"type": "object", "properties": {}}
    if dataclasses.is_dataclass(part):
        schema = table_schema(part)
    schema["properties"] = {"use": {"const": name}, **schema["properties"]}
    schema["required"] = ["use", *schema.get("required", [])]
    return schema


def table_schema(declared: type, known: Mapping[str, Schema] | None = None) -> Schema:
    """The schema of a table by its declaration; `known` are schemas of keys that hold tables of their own."""
    of_keys = {}
    for setting in hyperparameters(declared):
        value = _value(setting)
        if known is not None and setting.name in known:
            value = {"allOf": [known[setting.name]], **{key: value[key] for key in ("description",) if key in value}}
        of_keys[setting.name] = value
    needed = [setting.name for setting in hyperparameters(declared) if setting.required]
    table: Schema = {"type": "object", "properties": of_keys, "additionalProperties": False}
    return {**table, "required": needed} if needed else table


def _value(setting: Hyperparameter) -> Schema:
    """The schema of a value: type or choices, interval, default and meaning."""
    schema = _type(setting.type)
    if isinstance(setting.search, Choice):
        schema = {"enum": list(setting.search.values)}
    if setting.within is not None:
        schema |= _interval(setting.within)
    if setting.meaning:
        schema["description"] = setting.meaning
    if not setting.required and setting.default is not None and setting.default not in (math.inf, -math.inf):
        schema["default"] = json.loads(json.dumps(setting.default))
    return schema


def _type(hint: Any) -> Schema:
    plain = get_origin(hint) or hint
    if plain in (Union, UnionType):
        options = [_type(option) for option in get_args(hint) if option is not NoneType]  # TOML has no null
        return options[0] if len(options) == 1 else {"anyOf": options}
    if plain is Literal:
        return {"enum": list(get_args(hint))}
    if plain in (list, tuple, Sequence):
        entries = [_type(entry) for entry in get_args(hint) if entry is not Ellipsis]
        return {"type": "array", **({"items": entries[0]} if len(entries) == 1 else {})}
    return {"type": TYPES[plain]} if plain in TYPES else {}


def _interval(within: Within) -> Schema:
    """Of several intervals the value must lie in one."""
    schemas = []
    for interval in within.intervals:
        ends = {
            ("exclusiveMinimum" if interval.low_open else "minimum"): interval.low,
            ("exclusiveMaximum" if interval.high_open else "maximum"): interval.high,
        }
        schemas.append({key: end for key, end in ends.items() if math.isfinite(end)})
    return schemas[0] if len(schemas) == 1 else {"allOf": [{"anyOf": schemas}]}


def _named(entry: Schema) -> Schema:
    return {"type": "object", "additionalProperties": entry}


def _ref(family: str) -> Schema:
    return {"$ref": f"#/definitions/{family}"}
