"""The document of `/openapi.json`: every endpoint with each status that it answers.

FastAPI derives its own document from the code and would miss the endpoint, a plain route, and errors of middlewares
and other processes.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from service.predictions import Predictions

_Document = dict[str, Any]

_ERROR = {"$ref": "#/components/schemas/Error"}
_ERRORS = {
    "400": "What was sent is not HTTP, not JSON, JSON of too many values, no form, not base64, or not complete.",
    "401": "The header X-API-Key is missing or wrong; only where a key is set.",
    "408": "The headers or the body did not come within the request's time.",
    "413": "The body, the image file or the image itself is larger than allowed, or needlessly complicated.",
    "415": "The content type or the format of the image is not supported.",
    "422": "The field 'image' is missing or of the wrong type, the form has not one file, or the image is corrupt.",
    "431": "The headers are too long.",
    "500": "The prediction failed.",
    "501": "The body comes in another Transfer-Encoding than chunked.",
    "503": "No more requests fit in, or the worker that had this one has ended; try again after Retry-After seconds.",
    "504": "There was no time left to decode or predict the image.",
}
_RETRY_AFTER = {"description": "Seconds.", "required": True, "schema": {"type": "integer", "minimum": 0}}
_SERVER_TIMING = {"description": "What each stage of the service took.", "schema": {"type": "string"}}


def describe(app: FastAPI, path: str) -> None:
    """Let the application answer `/openapi.json` with the service's own description.

    Parameters
    ----------
    path:
        The path of the endpoint that predicts.
    """
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Image classifier", "version": "1", "description": "Is it a cat or a dog?"},
        "paths": {
            path: {"post": _predict()},
            "/health": _text("health", "Whether all workers are ready", {"200": "Yes.", "503": "Not yet."}),
            "/live": _text("live", "Whether the server can be reached", {"200": "Yes."}),
            "/metrics": _text("metrics", "Metrics in Prometheus' text format", {"200": "All processes'."}),
            "/info": _info(),
            "/": _text("index", "A line that says that this is LitServe", {"200": "It is."}),
        },
        "components": {
            "schemas": {
                **_prediction_schemas(),
                "Error": {
                    "type": "object",
                    "properties": {"detail": {"type": "string", "description": "What is wrong, in a sentence."}},
                    "required": ["detail"],
                },
            },
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
    }
    app.openapi = lambda: document  # type: ignore[method-assign]  # as FastAPI documents it


def _prediction_schemas() -> _Document:
    schema = Predictions.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "Predictions": schema}


def _predict() -> _Document:
    image = {
        "type": "string",
        "contentEncoding": "base64",
        "description": (
            "An image file as base64. Line breaks, the URL-safe alphabet, a missing padding and a prefix "
            "'data:image/...;base64,' are accepted."
        ),
    }
    json = {"schema": {"type": "object", "properties": {"image": image}, "required": ["image"]}}
    form = {"type": "object", "properties": {"image": {"type": "string", "contentMediaType": "image/*"}}}
    return {
        "operationId": "predict",
        "summary": "Classify an image: a JPEG, PNG, WebP, GIF or BMP file, as base64 in JSON, in a form or as it is",
        "description": (
            "Without a Content-Type, or with curl's default for --data-binary, the body is taken for what it is. The "
            "form must have one file; its field may have any name. The photo is turned upright by its EXIF or XMP; "
            "transparency is shown over white. A colour profile in the file is ignored, as it is when such models are "
            "trained: send sRGB."
        ),
        # Without a key, too: whether one is needed is the server's setting.
        "security": [{}, {"key": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": json,
                "multipart/form-data": {"schema": form},
                "image/*": {"schema": {}},
                "application/octet-stream": {"schema": {}},
            },
        },
        "responses": {
            "200": {
                "description": "Every label with its probability, best first.",
                "headers": {"Server-Timing": _SERVER_TIMING},
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Predictions"}}},
            },
            **{status: _error(status, description) for status, description in _ERRORS.items()},
        },
    }


def _error(status: str, description: str) -> _Document:
    error: _Document = {"description": description, "content": {"application/json": {"schema": _ERROR}}}
    if status == "400":
        # What isn't HTTP is answered before it comes to an endpoint.
        error["content"]["text/plain"] = {"schema": {"type": "string"}}
    if status == "503":
        error["headers"] = {"Retry-After": _RETRY_AFTER}
    return error


def _text(name: str, summary: str, descriptions: Mapping[str, str]) -> _Document:
    responses = {status: {"description": description} for status, description in descriptions.items()}
    return _get_and_head({"operationId": name, "summary": summary, "responses": responses})


def _info() -> _Document:
    content = {"application/json": {"schema": {"type": "object"}}}
    responses = {"200": {"description": "Settings.", "content": content}}
    return _get_and_head(
        {
            "operationId": "info",
            "summary": "How the model runs, and what LitServe was started with",
            "responses": responses,
        }
    )


def _get_and_head(get: _Document) -> _Document:
    responses = {status: {"description": answer["description"]} for status, answer in get["responses"].items()}
    head = {"operationId": f"{get['operationId']}Head", "summary": f"{get['summary']}: no body", "responses": responses}
    return {"get": get, "head": head}
