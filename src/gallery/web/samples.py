"""Code samples for each operation of the OpenAPI document: curl, Python and JavaScript.

The samples follow `setup`, which defines the server and the credential. Parameters of a path are variables:
`$IMAGE_ID`, `image_id`, `imageId`.
"""

import json
import re
from typing import Any

from msgspec import Struct

from gallery.web.openapi import camel_case

Document = dict[str, Any]

FIELD_EXAMPLES: dict[str, Any] = {
    "title": "Lake",
    "description": "",
    "alt": "A lake at dawn",
    "tags": ["lake"],
    "focus": {"x": 0.5, "y": 0.4},
    "id": "photo.jpg",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
PATH_EXAMPLES = {"file": "960.webp"}  # for a path parameter that is not an id
QUERY_EXAMPLES = {
    "listImages": {"limit": "20", "search": "lake"},
    "streamEvents": {"types": "image.ready,image.failed"},
}
LANGUAGES = {"curl": "curl", "python": "Python", "javascript": "JavaScript"}
JAVASCRIPT_FORM = (
    "const form = new FormData();\n"
    "form.append(\"file\", document.querySelector('input[type=file]').files[0]);\n"
    'form.append("title", "Lake");\n'
)
MAX_LINE_LENGTH = 50  # characters
PATH_VARIABLE = re.compile(r"\{(\w+)\}")
CAPITAL = re.compile(r"(?<=[a-z])([A-Z])")


class Call(Struct, frozen=True):
    """The facts of an operation that its samples need."""

    id: str
    method: str
    path: str
    query: dict[str, str]
    json: Any | None
    is_upload: bool
    response_type: str  # its media type


def setup(base_url: str) -> dict[str, str]:
    """The code before the first sample, by language."""
    return {
        "curl": f'GALLERY={base_url}\nTOKEN=  # an API key or a JWT; empty where Gallery is open\nIMAGE_ID="…"',
        "python": (
            "import httpx\n\n"
            'token = ""  # an API key or a JWT; empty where Gallery is open\n'
            'headers = {"Authorization": f"Bearer {token}"} if token else {}\n'
            f'gallery = httpx.Client(base_url="{base_url}", headers=headers, timeout=30)\n'
            'image_id = "…"'
        ),
        "javascript": (
            f'const gallery = "{base_url}";\n'
            'const token = ""; // an API key or a JWT; empty where Gallery is open\n'
            "const headers = token ? { Authorization: `Bearer ${token}` } : {};\n"
            'const imageId = "…";'
        ),
    }


def samples(call: Call) -> dict[str, str]:
    """The same call in each language."""
    return {"curl": _curl(call), "python": _python(call), "javascript": _javascript(call)}


def call_of(document: Document, method: str, path: str, operation: Document) -> Call:
    body = operation.get("requestBody", {}).get("content", {})
    schema = body.get("application/json", {}).get("schema")
    return Call(
        id=operation["operationId"],
        method=method.upper(),
        path=PATH_VARIABLE.sub(lambda match: PATH_EXAMPLES.get(match[1], _snake_case(match[0])), path),
        query=QUERY_EXAMPLES.get(operation["operationId"], {}),
        json=None if schema is None else _example(document, schema),
        is_upload="multipart/form-data" in body,
        response_type=_response_type(operation["responses"]),
    )


def _example(document: Document, schema: Document) -> Any:
    """An example of a body: its required fields, else its first field; of an array, one item."""
    if schema.get("type") == "array":
        return [_example(document, schema["items"])]
    schema = next((choice for choice in schema.get("oneOf", []) if "$ref" in choice), schema)
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    fields = schema.get("properties", {})
    names = schema.get("required") or list(fields)[:1]
    return {name: _example_value(name, fields[name]) for name in names}


def _example_value(name: str, field: Document) -> Any:
    if name in FIELD_EXAMPLES:
        return FIELD_EXAMPLES[name]
    if field.get("default") is not None:
        return field["default"]
    return {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}.get(field.get("type", ""), "…")


def _response_type(responses: Document) -> str:
    success: Document = next((response for status, response in responses.items() if status < "300"), {})
    return next(iter(success.get("content", {})), "")


def _curl(call: Call) -> str:
    query = "&".join(f"{name}={value}" for name, value in call.query.items())
    path = PATH_VARIABLE.sub(lambda match: "$" + match[1].upper(), call.path)
    url = f'"$GALLERY{path}{"?" + query if query else ""}"'
    options = []
    if call.method != "GET" and not call.is_upload:
        options.append(f"-X {call.method}")
    options.append('-H "Authorization: Bearer $TOKEN"')
    if call.response_type == "text/event-stream":
        options.append("-N")
    elif _is_binary(call.response_type):
        options.append("-o picture")
    if call.is_upload:
        options.append("-F file=@photo.jpg -F title=Lake")
    if call.json is not None:
        options.append(f"-H 'Content-Type: application/json' -d '{json.dumps(call.json)}'")
    return " \\\n  ".join([f"curl {url}", *options])


def _python(call: Call) -> str:
    path = f'"{call.path}"' if call.path == PATH_VARIABLE.sub("", call.path) else f'f"{call.path}"'
    arguments = [path]
    if call.query:
        arguments.append(f"params={json.dumps(call.query)}")
    if call.json is not None:
        arguments.append(f"json={call.json!r}")
    if call.response_type == "text/event-stream":
        stream = f'with gallery.stream("GET", {", ".join(arguments)}) as response:'
        return f"{stream}\n    for line in response.iter_lines():\n        print(line)"
    if call.is_upload:
        arguments += ['files={"file": file}', 'data={"title": "Lake"}']
    line = f"response = gallery.{call.method.lower()}({', '.join(arguments)})"
    if call.is_upload:
        line = f'with open("photo.jpg", "rb") as file:\n    {line}'
    return f"{line}\nresponse.raise_for_status()" + _print_response(
        call, "\nprint({})", ("response.json()", "response.text", "response.content")
    )


def _javascript(call: Call) -> str:
    if call.response_type == "text/event-stream":
        return _event_source(call)
    path = PATH_VARIABLE.sub(lambda match: "${" + camel_case(match[1]) + "}", call.path)
    url, before = f"`${{gallery}}{path}`", JAVASCRIPT_FORM if call.is_upload else ""
    if call.query:
        before = f"const query = new URLSearchParams({_javascript_object(call.query)});\n"
        url = f"`${{gallery}}{path}?${{query}}`"
    forms = ("await response.json()", "await response.text()", "await response.blob()")
    return (
        f"{before}const response = await fetch({url}, {_javascript_options(_options(call))});"
        "\nif (!response.ok) throw new Error((await response.json()).detail);"
        + _print_response(call, "\nconsole.log({});", forms)
    )


def _options(call: Call) -> list[str]:
    method = [] if call.method == "GET" else [f'method: "{call.method}"']
    if call.is_upload:
        return [*method, "headers", "body: form"]
    if call.json is None:
        return [*method, "headers"]
    headers = 'headers: { ...headers, "Content-Type": "application/json" }'
    return [*method, headers, f"body: JSON.stringify({_javascript_object(call.json)})"]


def _javascript_options(options: list[str]) -> str:
    """A JavaScript object, on one line if it is short."""
    line = ", ".join(options)
    return f"{{ {line} }}" if len(line) < MAX_LINE_LENGTH else "{\n  " + ",\n  ".join(options) + ",\n}"


def _event_source(call: Call) -> str:
    """`EventSource` cannot send headers, so the credential is a ticket in the URL."""
    return (
        f"const created = await fetch(`${{gallery}}{call.path.removesuffix('/stream')}/ticket`, "
        '{ method: "POST", headers });\n'
        "const { ticket } = await created.json();\n"
        f"const query = new URLSearchParams({_javascript_object({'ticket': None, **call.query})});\n"
        f"const stream = new EventSource(`${{gallery}}{call.path}?${{query}}`);\n"
        'stream.addEventListener("image.ready", (event) => console.log(JSON.parse(event.data)));'
    )


def _print_response(call: Call, line: str, forms: tuple[str, str, str]) -> str:
    """A line that prints the body, if there is one: as JSON, as text, or as bytes."""
    if not call.response_type:
        return ""
    as_json, as_text, as_bytes = forms
    text = as_text if call.response_type.startswith("text/") else as_json
    return line.format(as_bytes if _is_binary(call.response_type) else text)


def _is_binary(media_type: str) -> bool:
    return bool(media_type) and "json" not in media_type and not media_type.startswith("text/")


def _javascript_object(value: Any) -> str:
    """A literal; a field with the value `None` is written as a shorthand, for a variable of its name."""
    if isinstance(value, list):
        return f"[{', '.join(map(_javascript_object, value))}]"
    fields = (name if inner is None else f"{name}: {json.dumps(inner)}" for name, inner in value.items())
    return "{ " + ", ".join(fields) + " }"


def _snake_case(name: str) -> str:
    return CAPITAL.sub(r"_\1", name).lower()
