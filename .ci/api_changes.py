"""Finds the changes of an OpenAPI document that would break a client.

A client sends what the old document allows, and reads what the new one describes. It may be generated code, so that the
names of operations and schemas count, too. A new value of an enumeration in a response is an addition, and allowed.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
NAME = "x-name"
Json = dict[str, Any]


class Documents(NamedTuple):
    """The document before and after, from which references are resolved."""

    old: Json
    new: Json


def breaks(old: Json, new: Json) -> Iterator[str]:
    """A sentence about each change that would break a client."""
    both = Documents(old, new)
    for name in old["components"]["schemas"]:
        if name not in new["components"]["schemas"]:
            yield f"schema {name}: is gone"
    for path, item in old["paths"].items():
        for method, operation in item.items():
            where = f"{method.upper()} {path}"
            if method not in new["paths"].get(path, {}):
                yield f"{where}: is gone"
            else:
                yield from _operation(both, operation, new["paths"][path][method], where)


def _operation(both: Documents, old: Json, new: Json, where: str) -> Iterator[str]:
    for key in ("operationId", "tags"):  # generated code has a function of this name in a module of this name
        if old.get(key) != new.get(key):
            yield f"{where}: {key} was {old.get(key)}, is {new.get(key)}"
    default = (both.old.get("security", []), both.new.get("security", []))
    for requirement in old.get("security", default[0]):
        if requirement not in new.get("security", default[1]):
            yield f"{where}: no longer accepts {' and '.join(requirement) or 'anonymous requests'}"
    yield from _parameters(both, old, new, where)
    yield from _body(both, old.get("requestBody"), new.get("requestBody"), where)
    for status, response in old.get("responses", {}).items():
        if status in new["responses"]:
            before, after = _resolve(both.old, response), _resolve(both.new, new["responses"][status])
            yield from _content(both, before, after, f"{where}: {status}", sending=False)
            yield from _headers(both, before.get("headers", {}), after.get("headers", {}), f"{where}: {status}")
        elif status < "400":
            yield f"{where}: no longer answers {status}"


def _parameters(both: Documents, old: Json, new: Json, where: str) -> Iterator[str]:
    before = {(p["in"], p["name"]): p for p in old.get("parameters", [])}
    after = {(p["in"], p["name"]): p for p in new.get("parameters", [])}
    for key in before.keys() - after.keys():
        yield f"{where}: {key[0]} parameter {key[1]}: is gone"
    for key, parameter in after.items():
        name, known = f"{where}: {key[0]} parameter {key[1]}", before.get(key, {})
        if parameter.get("required") and not known.get("required"):
            yield f"{name}: is required now"
        if known:
            yield from _schema(both, known["schema"], parameter["schema"], name, sending=True)
            if any(known.get(how) != parameter.get(how) for how in ("style", "explode")):
                yield f"{name}: is written in another way"


def _body(both: Documents, old: Json | None, new: Json | None, where: str) -> Iterator[str]:
    if new and new.get("required") and not (old or {}).get("required"):
        yield f"{where}: a body is required now"
    if old:
        yield from _content(both, old, new or {}, f"{where}: body", sending=True)


def _content(both: Documents, old: Json, new: Json, where: str, *, sending: bool) -> Iterator[str]:
    for media_type, media in old.get("content", {}).items():
        if media_type not in new.get("content", {}):
            yield f"{where}: {media_type}: is gone"
        elif "schema" in media:
            after = new["content"][media_type].get("schema", {})
            yield from _schema(both, media["schema"], after, f"{where}: {media_type}", sending=sending)


def _headers(both: Documents, old: Json, new: Json, where: str) -> Iterator[str]:
    for name, header in old.items():
        if name not in new:
            yield f"{where}: header {name}: is gone"
            continue
        before, after = _resolve(both.old, header), _resolve(both.new, new[name])
        if before.get("required") and not after.get("required"):
            yield f"{where}: header {name}: may be missing"
        schemas = before.get("schema", {}), after.get("schema", {})
        yield from _schema(both, *schemas, f"{where}: header {name}", sending=False)


def _schema(
    both: Documents, old: Json, new: Json, where: str, *, sending: bool, seen: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Whether the values that a client sends stay valid, or those that it reads stay within what it knows."""
    before, after = _alternatives(both.old, old), _alternatives(both.new, new)
    given, known = (before, after) if sending else (after, before)
    for alternative in given:
        candidates = [c for c in known if _type(alternative) == _type(c)] or [
            c for c in known if _takes(c, alternative)
        ]
        pairs = [(alternative, c) if sending else (c, alternative) for c in candidates]
        found = [list(_same_type(both, *pair, where, sending=sending, seen=seen)) for pair in pairs]
        if not found:
            yield f"{where}: {'no longer takes' if sending else 'may be'} {_type(alternative)}"
        elif all(found):
            yield from min(found, key=len)


def _alternatives(document: Json, schema: Json) -> list[Json]:
    """Schemas of one type each; one that had a reference keeps it as its name."""
    name = {NAME: schema["$ref"]} if "$ref" in schema else {}
    schema = _resolve(document, schema) | name
    choices = schema.get("oneOf") or schema.get("anyOf")
    if choices:
        rest = {key: value for key, value in schema.items() if key not in ("oneOf", "anyOf")}
        return [rest | one for choice in choices for one in _alternatives(document, choice)]
    types = schema.get("type")
    return [schema | {"type": one} for one in types] if isinstance(types, list) else [schema]


def _resolve(document: Json, part: Json) -> Json:
    while "$ref" in part:
        kind, name = part["$ref"].removeprefix("#/components/").split("/")
        part = document["components"][kind][name]
    return part


def _type(schema: Json) -> str:
    return str(schema.get("type", "any value"))


def _takes(known: Json, given: Json) -> bool:
    return "type" not in known or (_type(known), _type(given)) == ("number", "integer")


def _same_type(
    both: Documents, old: Json, new: Json, where: str, *, sending: bool, seen: frozenset[str]
) -> Iterator[str]:
    pair = f"{old.get(NAME)} {new.get(NAME)}"
    if NAME in old and pair in seen:
        return
    seen |= {pair}
    yield from _values(old, new, where, sending=sending)
    if sending:
        yield from _bounds(old, new, where)
    yield from _fields(both, old, new, where, sending=sending, seen=seen)
    if sending and new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
        yield f"{where}: no longer takes other fields"
    for key, name in (("items", "item"), ("additionalProperties", "value")):
        if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
            yield from _schema(both, old[key], new[key], f"{where}: {name}", sending=sending, seen=seen)


def _values(old: Json, new: Json, where: str, *, sending: bool) -> Iterator[str]:
    if sending and "enum" in new:
        for value in old.get("enum", ["any other value"]):
            if value is not None and value not in new["enum"]:
                yield f"{where}: no longer takes {value}"
    if not sending and "enum" in old and "enum" not in new:
        yield f"{where}: may be any other value"
    if old.get("format") != new.get("format"):
        yield f"{where}: format was {old.get('format')}, is {new.get('format')}"


def _fields(both: Documents, old: Json, new: Json, where: str, *, sending: bool, seen: frozenset[str]) -> Iterator[str]:
    fields = new.get("properties", {})
    for name, field in old.get("properties", {}).items():
        if name in fields:
            yield from _schema(both, field, fields[name], f"{where}: {name}", sending=sending, seen=seen)
        else:
            yield f"{where}: {name}: is gone"
    given, known = (old, new) if sending else (new, old)
    missing = set(known.get("required", [])) - set(given.get("required", []))
    for name in sorted(missing & fields.keys()):
        yield f"{where}: {name}: {'is required now' if sending else 'may be missing'}"


def _bounds(old: Json, new: Json, where: str) -> Iterator[str]:
    for key in (*LOWER_BOUNDS, *UPPER_BOUNDS):
        before, after = old.get(key), new.get(key)
        if after is not None and (before is None or (after > before if key in LOWER_BOUNDS else after < before)):
            yield f"{where}: {key} was {before}, is {after}"
    if new.get("pattern") not in (None, old.get("pattern")):
        yield f"{where}: pattern was {old.get('pattern')}, is {new['pattern']}"
