"""Reading the subject of a request without help from clients: once, into a header that limits and balancing use."""

from __future__ import annotations

from broker_operator.render.envoy.headers import set_header
from broker_operator.render.envoy.names import EXTRACTION, SERVICE, SUBJECT_HEADER, Config, typed

OF_ONE, OF_MANY = "subject", "messages.subject"
"""The fields in which requests have their subjects."""
FIELDS = {
    "Publish": OF_ONE,
    "Fetch": OF_ONE,
    "Subscribe": OF_ONE,
    "SubscribeBatch": OF_ONE,
    "PublishBatch": OF_MANY,
    "PublishStream": OF_MANY,
}

_ALL = "metadata.filter_metadata"
_READ = f"{_ALL}['{EXTRACTION}']"


_INVALID = "x" * 256
"""Stands for every subject that cannot be one: too long itself. It keeps them out of headers, where they would do harm,
and lets them go on to the broker, which says what is wrong with them."""


def _first_of(field: str, otherwise: str) -> str:
    first = f"{_READ}['{field}'][0]"
    valid = f"size({first}) < 256 && {first}.matches('^[^[:cntrl:]]+$') ? {first} : '{_INVALID}'"
    return f"'{field}' in {_READ} && size({_READ}['{field}']) > 0 ? ({valid}) : {otherwise}"


_SUBJECT = f"!('{EXTRACTION}' in {_ALL}) ? '' : {_first_of(OF_ONE, _first_of(OF_MANY, repr('')))}"
"""CEL: the subject of a request's first message. Envoy reads a list, which its plain actions take for nothing."""


def extraction_filter(descriptor_set: str) -> Config:
    """The HTTP filter that reads subjects. Routes may switch it off."""
    return {
        "name": EXTRACTION,
        "typed_config": typed(
            "envoy.extensions.filters.http.grpc_field_extraction.v3.GrpcFieldExtractionConfig",
            descriptor_set={"filename": descriptor_set},
            extractions_by_method={
                f"{SERVICE}.{method}": {"request_field_extractions": {field: {}}} for method, field in FIELDS.items()
            },
        ),
    }


def noted() -> Config:
    """A mutation behind that filter: no header where no subject could be read."""
    return set_header(SUBJECT_HEADER, f"%CEL({_SUBJECT})%")
