"""The rules of a multipart body (RFC 7578, RFC 2046), as error sentences for a body that breaks one."""

from multipart import MultipartError

ACCEPTED_TYPES = "multipart/form-data, image/*, application/octet-stream"  # for `Accept-Post`
NOT_MULTIPART = (
    'Send the picture as multipart/form-data, in the field "file". Libraries set the Content-Type with its boundary '
    "themselves when they are given a form: do not set it by hand. Or send its bytes alone, with the Content-Type "
    "image/jpeg (or another image type) or application/octet-stream."
)
NO_BOUNDARY = (
    "The Content-Type has no boundary. Libraries add one themselves when they are given a form: do not set the "
    "Content-Type by hand."
)
NO_NAME = "A part's Content-Disposition has no name; the picture's is name=\"file\"."
NOT_DECODED = "A part's header, or the boundary, has bytes that are no text."

CRLF = "Each line of a part's head, and each boundary, ends with CR and LF (\\r\\n); this body has lines that do not."
DISPOSITION = 'Each part needs the header Content-Disposition: form-data; name="…".'
HEADER = "Each line of a part's head is a name, a colon and a value."
LENGTH = "A part's Content-Length is not the length of the part; leave it out, the boundary ends the part."
BOUNDARY_LINE = "A boundary is on a line of its own: CRLF before it, and CRLF behind it, or -- behind the last one."

RULES = {  # by the parser's message
    "Empty boundary": NO_BOUNDARY,
    "Invalid characters in boundary": NO_BOUNDARY,
    "Unexpected byte in front of first boundary": BOUNDARY_LINE,
    "Unexpected byte after first boundary": BOUNDARY_LINE,
    "Unexpected bytes after boundary": BOUNDARY_LINE,
    "Invalid line break after first boundary": CRLF,
    "Invalid line break in segment header": CRLF,
    "Malformed segment header": HEADER,
    "Invalid segment header name": HEADER,
    "Unexpected segment header continuation": HEADER,
    "Empty segment header continuation": HEADER,
    "Maximum segment header length exceeded": "A line of a part's head has at most 4,224 bytes.",
    "Maximum segment header count exceeded": "A part has at most 8 headers.",
    "Maximum segment count exceeded": "A body has at most {parts} parts.",
    "Multiple segment Content-Length headers": LENGTH,
    "Invalid segment Content-Length header value": LENGTH,
    "Segment Content-Length exceeded": LENGTH,
    "Segment size does not match Content-Length header": LENGTH,
    "Missing Content-Disposition segment header": DISPOSITION,
    "Invalid Content-Disposition segment header: Wrong type": DISPOSITION,
    "Unexpected end of multipart stream (parser closed)": (
        "It ends before its last boundary, which has -- before it and behind it. Either it was cut off, or it uses "
        "another boundary than its Content-Type says."
    ),
}


def broken_rule(error: MultipartError | UnicodeError, max_parts: int) -> str:
    """The rule that the parser's error reports as broken; `max_parts` is the limit that its sentence names."""
    if isinstance(error, UnicodeError):
        return NOT_DECODED
    message = str(error.args[0])  # a constant of the parser, without any of the body's bytes
    return RULES.get(message, f"{message}.").replace("{parts}", str(max_parts))
