"""What the program beside Envoy makes of API keys."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker_operator.agent import api_keys
from broker_operator.api import parse
from broker_operator.render import envoy
from tests.support.clusters import manifest
from tests.support.envoy import places

FILE = "ecds-api_key_auth.json"


def keys(spec: Mapping[str, Any], clients: Mapping[str, str]) -> dict[str, bytes]:
    """The files of the directory that Envoy follows, for these clients and their keys."""
    with tempfile.TemporaryDirectory() as directory:
        template = Path(directory, FILE)
        template.write_text(json.dumps(envoy.files(parse(manifest(spec)), places(Path(directory)), directory)[FILE]))
        return {FILE: api_keys.complete(template, dict(clients)).encode()}
