"""Responses to requests that the protocol refuses before the application gets them."""

import sys
from http import HTTPStatus

from httptools import HttpParserCallbackError, HttpParserError, HttpParserInvalidMethodError

from gallery.errors import GalleryError
from gallery.web.problems import encode_problem, status_of

INVALID_TARGET = "The request's target is not a path or a URL"
INVALID_METHOD = "A request begins with a method, such as GET"
CONTENT_LENGTH_HINT = "; check the Content-Length of the request before this one."


def encode_response(error: GalleryError) -> bytes:
    """The whole response, head and body; it closes the connection."""
    status = status_of(error)
    body = encode_problem(status, error.code(), error.message(), "")
    return (
        b"HTTP/1.1 %d %b\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n%b" % (status, HTTPStatus(status).phrase.encode(), len(body), body)
    )


def parser_error_message(first: bool) -> str:
    """A sentence for the error that is being handled; `first` is true for the first request of a connection."""
    error = sys.exception()
    if isinstance(error, HttpParserCallbackError):
        return f"{INVALID_TARGET}."
    if isinstance(error, HttpParserInvalidMethodError):
        return f"{INVALID_METHOD}{'.' if first else CONTENT_LENGTH_HINT}"
    return f"{error}." if isinstance(error, HttpParserError) else ""  # the parser's own text
