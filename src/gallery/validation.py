"""Describes an invalid field for the client: the value, the limit, the choices.

msgspec's message has neither the values of an enumeration nor the known fields; those are read from the expected type.
"""

import re
from collections.abc import Iterator
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from gallery.errors import MAX_ECHOED, InvalidField

PATH_STEP = re.compile(r"\.([^.\[]+)|\[([^\]]*)\]")
TYPE_DESCRIPTIONS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
LENGTH_UNITS = {"str": "characters", "array": "items", "object": "fields"}
BOUND_DESCRIPTIONS = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than"}
NO_CONTROL_CHARACTERS = "must not contain control characters"


def invalid_field(error: msgspec.ValidationError, kind: Any) -> InvalidField:
    """The error for the field of a `kind` that msgspec has refused."""
    message, _, path = str(error).partition(" - at ")
    return invalid_field_at(path.strip("`"), message, kind)


def invalid_field_at(path: str, message: str, kind: Any) -> InvalidField:
    """As `invalid_field`, for msgspec's `path` (`$.tags[2]`). The pointer includes an unknown or missing field."""
    steps = [name or index for name, index in PATH_STEP.findall(path.removeprefix("$"))]
    at = _type_at(kind, steps)
    if match := re.match(r"Object (contains unknown|missing required) field `(.*)`", message):
        steps.append(match[2])
    return InvalidField(pointer(*steps), _describe(message, at))


def pointer(*steps: str) -> str:
    """A JSON pointer (RFC 6901); each step is cut to `MAX_ECHOED` characters."""
    return "".join("/" + step[:MAX_ECHOED].replace("~", "~0").replace("/", "~1") for step in steps)


def unknown_message(sort: str, known: object) -> str:
    """`sort` is "field" or "parameter"."""
    return f"is an unknown {sort}; expected one of {_listed(known)}"


def not_among_message(value: object, choices: object) -> str:
    return f'is "{str(value)[:MAX_ECHOED]}"; expected one of {_listed(choices)}'


def _describe(message: str, kind: Any) -> str:
    if match := re.match(r"Invalid enum value '?(.*?)'?$", message, re.DOTALL):
        return not_among_message(match[1], _choices(kind))
    if message.startswith("Object contains unknown"):
        return unknown_message("field", _fields(kind))
    if message.startswith("Object missing") or re.fullmatch(r"'\w+'", message):  # Litestar's message for no body
        return "is missing"
    return _describe_limit(message) or message[:1].lower() + message[1:].replace("`", "")


def _describe_limit(message: str) -> str | None:
    if match := re.match(r"Expected `(\w+)` of length (..) (\d+)$", message):
        items = LENGTH_UNITS[match[1]] if match[3] != "1" else LENGTH_UNITS[match[1]].removesuffix("s")
        return f"must have {BOUND_DESCRIPTIONS[match[2]]} {match[3]} {items}"
    if match := re.match(r"Expected `\w+` ([<>]=?) (\S+?)(?:\.0)?$", message):
        return f"must be {BOUND_DESCRIPTIONS[match[1]]} {match[2]}"
    if match := re.match(r"Expected `str` matching regex '(.*)'$", message):
        return NO_CONTROL_CHARACTERS if "x00" in match[1] else f"does not match {match[1]}"
    if match := re.match(r"Expected `([\w| ]+)`, got `(\w+)`$", message):
        wanted = " or ".join(TYPE_DESCRIPTIONS.get(word, word) for word in match[1].split(" | "))
        return f"must be {wanted}, not {TYPE_DESCRIPTIONS.get(match[2], match[2])}"
    return None


def _listed(words: Any) -> str:
    return ", ".join(str(word) for word in words)


def _type_at(kind: Any, steps: list[str]) -> Any:
    """The type at the end of these steps; `None` where it cannot be determined."""
    for step in steps:
        kind = next((inner for one in _union_members(kind) if (inner := _inner_type(one, step)) is not None), None)
    return kind


def _inner_type(kind: Any, step: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, Struct):
        fields = {field.encode_name: field.name for field in msgspec.structs.fields(kind)}
        return get_type_hints(kind).get(fields.get(step, ""))
    arguments = get_args(kind)
    return arguments[0] if get_origin(kind) in (list, tuple, set, frozenset) and arguments else None


def _union_members(kind: Any) -> Iterator[Any]:
    """The type, or the members of a union, without annotations."""
    if get_origin(kind) is Annotated:
        yield from _union_members(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for one in get_args(kind):
            yield from _union_members(one)
    else:
        yield kind


def _choices(kind: Any) -> list[str]:
    found: list[str] = []
    for one in _union_members(kind):
        if isinstance(one, type) and issubclass(one, Enum):
            found += [str(member.value) for member in one]
        elif get_origin(one) is Literal:
            found += [str(choice) for choice in get_args(one)]
    return found


def _fields(kind: Any) -> list[str]:
    structs = [one for one in _union_members(kind) if isinstance(one, type) and issubclass(one, Struct)]
    return [field.encode_name for one in structs for field in msgspec.structs.fields(one)]
