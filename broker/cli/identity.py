"""Who pub, sub and fetch are: a token or an API key of the command line, as metadata of their calls."""

import argparse
import re
from contextlib import suppress
from pathlib import Path

from broker.cli.failure import Failure
from broker.client import Metadata, MetadataSource

_HEADER_VALUE = re.compile(r"[!-~]+")


def metadata(arguments: argparse.Namespace) -> MetadataSource:
    """Return what the command line asks for. Files are read again for each call: tokens are renewed.

    Raises:
        Failure: a file cannot be read, or has not one word of ASCII in it.
    """
    token, key, header = arguments.token_file, arguments.api_key_file, arguments.api_key_header
    known = _read(token, key, header)

    def latest() -> Metadata:
        nonlocal known
        with suppress(Failure):  # it is being replaced: what was good a moment ago is as good as any
            known = _read(token, key, header)
        return known

    return latest


def _read(token: Path | None, key: Path | None, header: str) -> Metadata:
    found = []
    if token is not None:
        found.append(("authorization", f"Bearer {_word(token)}"))
    if key is not None:
        found.append((header, _word(key)))
    return found


def _word(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        msg = f"cannot read {file}: {error.strerror}"
        raise Failure(msg) from None
    except UnicodeDecodeError:
        text = ""
    if not _HEADER_VALUE.fullmatch(text):
        msg = f"{file} must have one word in it, the token or key, of ASCII without spaces"
        raise Failure(msg)
    return text
