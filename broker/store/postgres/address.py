"""Where the database is, said without the password."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SHAPE = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"

_HOST = re.compile(r"([\w.%-]*|\[[0-9A-Fa-f:.%\w]+\])(:\d{1,5})?")


def describe(dsn: str) -> str:
    """Return host, port and database of a DSN, for people.

    Raises:
        ValueError: it is no PostgreSQL URI. The message quotes nothing of it, because a mistyped one may show the
            password anywhere.
    """
    try:
        parts = urlsplit(dsn)
    except ValueError:
        raise _malformed() from None
    hosts = parts.netloc.rpartition("@")[2]
    database = parts.path.removeprefix("/")
    if (
        parts.scheme not in ("postgresql", "postgres")
        or parts.fragment
        or "@" in parts.path + parts.query
        or not all(_HOST.fullmatch(host) for host in hosts.split(","))
    ):
        raise _malformed()
    query = parse_qs(parts.query)
    hosts = hosts or ",".join(query.get("host", ["the default host"]))
    database = database or query.get("dbname", query.get("database", ["the default database"]))[-1]
    return f"{hosts}/{database}"


def read_dsn(file: Path) -> str:
    """Return the DSN in a file.

    Raises:
        OSError: it cannot be read, or holds no DSN.
    """
    try:
        dsn = read_text(file, "DSN")
        describe(dsn)
    except ValueError as error:
        raise OSError(f"the DSN file {file} is of no use: {error}") from None
    return dsn


def read_text(file: Path, name: str) -> str:
    """Return what stands in a file, without its line end.

    Raises:
        OSError: it cannot be read.
    """
    try:
        return file.read_text().strip("\r\n")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise OSError(f"the {name} file {file} cannot be read: {reason}") from error


def _malformed() -> ValueError:
    return ValueError(
        f"this is not a PostgreSQL URI: write {SHAPE} and percent-encode special characters of user and password"
        " (@ is %40, / is %2F, # is %23)"
    )
