"""Documents the HTTP API, as OpenAPI and as a small page."""

import html
from collections.abc import Sequence
from typing import Any

from jaxseg import __version__
from jaxseg.serve.answers import FORMATS, INCLUDED
from jaxseg.serve.upload import Limits

_BINARY = {"type": "string", "format": "binary"}
_REFUSALS = {
    "400": "The request has no image, or names something that does not exist.",
    "404": "There is no such network.",
    "408": "The image did not arrive in time.",
    "413": "The image has too many bytes or pixels.",
    "415": "It is not an image, or its format is not supported.",
    "422": "The network does not support an image of this size.",
    "503": "The server is busy; `Retry-After` gives the seconds to wait.",
}
_ANSWERS = {
    "json": "classes with their shares and mean probabilities, and COCO masks",
    "png": "class indices, with a palette",
    "overlay": "the image in class colours, as JPEG",
    "coco": "images, categories and annotations with run-length encoded masks",
    "npz": "NumPy arrays: labels uint8 [H, W], probability float32 [H, W], class_names",
}


def description(networks: Sequence[str], limits: Limits) -> dict[str, Any]:
    """The API as an OpenAPI 3.1 document.

    Args:
      networks: their names, the default first.
      limits: limits of requests.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jaxseg",
            "version": __version__,
            "description": "Labels every pixel of an image.",
        },
        "paths": {
            "/predict": {"post": _predict(networks, limits)},
            "/networks": {"get": _get("The networks, their classes, and the samples.")},
            "/health": {"get": _get("Whether the server works.")},
            "/metrics": {"get": _get("Counters for Prometheus.", "text/plain")},
            "/openapi.json": {"get": _get("This description.")},
        },
        "components": {
            "schemas": {
                "Problem": {
                    "type": "object",
                    "required": ["problem", "fix"],
                    "properties": {"problem": {"type": "string"}, "fix": {"type": "string"}},
                }
            }
        },
    }


def _predict(networks: Sequence[str], limits: Limits) -> dict[str, Any]:
    by_type: dict[str, Any] = {form.media_type: {"schema": _BINARY} for form in FORMATS.values()}
    by_type["application/json"] = {"schema": {"type": "object"}}
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "summary": "Label an image.",
        "description": f"The limit is {limits.bytes:,} bytes and {limits.pixels:,} pixels. "
        "Formats: PNG, JPEG, BMP, TIFF, WebP, GIF, PPM and TGA.",
        "operationId": "predict",
        "parameters": [
            _parameter("network", "which network", list(networks), networks[0]),
            _parameter("format", "; ".join(f"{k}: {v}" for k, v in _ANSWERS.items()), list(FORMATS))
            | {"schema": {"type": "string", "enum": list(FORMATS), "default": "json"}},
            {
                "name": "include",
                "in": "query",
                "description": "with `format=json`: base64 images, separated by commas: png; "
                "layers, an RGB PNG of labels (red) and probabilities (green)",
                "schema": {"type": "string", "examples": [",".join(INCLUDED)]},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": {"schema": _BINARY},
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image"],
                        "properties": {"image": _BINARY},
                    }
                },
            },
        },
        "responses": {
            "200": {"description": "The labelled image.", "content": by_type},
            **{
                status: {"description": text, "content": problem}
                for status, text in _REFUSALS.items()
            },
        },
    }


def _parameter(
    name: str, text: str, choices: list[str], default: str | None = None
) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string", "enum": choices}
    if default is not None:
        schema["default"] = default
    return {"name": name, "in": "query", "description": text, "schema": schema}


def _get(text: str, media_type: str = "application/json") -> dict[str, Any]:
    return {
        "summary": text,
        "responses": {"200": {"description": text, "content": {media_type: {}}}},
    }


def description_page(described: dict[str, Any]) -> str:
    """The OpenAPI document of `description` as HTML, in the style of the page."""
    sections = [
        _section(method, path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css">'
        '<title>jaxseg: API</title></head><body class="docs">'
        '<header><h1>jaxseg <small>API</small></h1><nav><a href="/">page</a> '
        '<a href="/openapi.json">OpenAPI</a></nav></header><main>'
        "<pre>curl --data-binary @street.jpg 'http://127.0.0.1:8000/predict?format=overlay' "
        "--output labelled.jpg</pre>"
        f"{''.join(sections)}</main></body></html>\n"
    )


def _section(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(one['name'])}</th><td>{html.escape(one['description'])}"
        f"{_choices(one['schema'])}</td></tr>"
        for one in operation.get("parameters", ())
    )
    answers = "".join(
        f"<tr><th>{status}</th><td>{html.escape(answer['description'])}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    text = html.escape(operation.get("description", ""))
    title = f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>"
    body = f"<p>{html.escape(operation['summary'])} {text}</p>"
    if rows:
        body += f"<table>{rows}</table><h3>Responses</h3><table>{answers}</table>"
    return f"<section>{title}{body}</section>"


def _choices(schema: dict[str, Any]) -> str:
    names = [
        f"<code>{html.escape(name)}</code>{' (default)' if name == schema.get('default') else ''}"
        for name in schema.get("enum", ())
    ]
    return f"<br>{', '.join(names)}" if names else ""
