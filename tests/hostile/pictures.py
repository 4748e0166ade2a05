"""Pictures made to attack, and unusual valid ones: the same bytes in every run, made in some seconds.

A name begins with the expected result of the file:

- `ready/…`: it is a valid picture;
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
