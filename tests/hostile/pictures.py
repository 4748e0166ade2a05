"""Pictures that were made to hurt, and strange ones that only look so: the same bytes each time, some seconds of work.

A name begins with what has to become of the file:

- `ready/…`: it is a picture, whatever else it is;
- `refused/…`: its upload is answered with 4xx;
- `bad/…`: refused, or FAILED;
- `any/…`: refused, FAILED or READY: decoders may differ, as long as there is an end.
"""

from hostile import gifs_and_webps, isobmff_files, jpegs, other_formats, pngs


def all_files() -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for made in (jpegs, pngs, gifs_and_webps, isobmff_files, other_formats):
        files |= made.pictures()
    return files


def expected_outcome(name: str) -> str:
    return name.partition("/")[0]
