"""Server reflection, so that grpcurl and its like work without the proto file.

Version 1 and v1alpha are the same messages under two names.
https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
"""

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import Default
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2 as pb

from broker.api import broker_pb2
from broker.errors import InvalidRequest
from broker.server.wire import decode

_FILES = (broker_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, pb.DESCRIPTOR)
SERVICE_NAMES = sorted(service.full_name for file in _FILES for service in file.services_by_name.values())

_NOT_FOUND, _INVALID_ARGUMENT = 5, 3


def respond(frame: bytes) -> bytes:
    """Answer one frame of ServerReflectionInfo with one frame; errors are part of the answer."""
    try:
        request = decode(pb.ServerReflectionRequest, frame)
    except InvalidRequest as error:
        return _error(pb.ServerReflectionRequest(), _INVALID_ARGUMENT, error.message)
    try:
        match request.WhichOneof("message_request"):
            case "list_services":
                names = [pb.ServiceResponse(name=name) for name in SERVICE_NAMES]
                return _response(request, list_services_response=pb.ListServiceResponse(service=names))
            case "file_by_filename":
                return _file(request, Default().FindFileByName(request.file_by_filename))
            case "file_containing_symbol":
                return _file(request, _file_of(request.file_containing_symbol))
            case "all_extension_numbers_of_type":
                name = request.all_extension_numbers_of_type
                Default().FindMessageTypeByName(name)
                return _response(
                    request, all_extension_numbers_response=pb.ExtensionNumberResponse(base_type_name=name)
                )
            case "file_containing_extension":
                return _error(request, _NOT_FOUND, "there are no extensions here")
            case _:
                return _error(request, _INVALID_ARGUMENT, "the request asks for nothing")
    except KeyError:
        return _error(request, _NOT_FOUND, "not found")


def _file_of(symbol: str) -> FileDescriptor:
    try:
        return Default().FindFileContainingSymbol(symbol)
    except KeyError:
        # The pool knows no methods; their service does.
        name, _, method = symbol.rpartition(".")
        service = Default().FindServiceByName(name)
        if method not in service.methods_by_name:
            raise
        return service.file


def _file(request: pb.ServerReflectionRequest, file: FileDescriptor) -> bytes:
    """Answer with a file and all it imports, the file itself first."""
    found: dict[str, bytes] = {}

    def collect(file: FileDescriptor) -> None:
        for imported in file.dependencies:
            if imported.name not in found:
                collect(imported)
        found[file.name] = file.serialized_pb

    collect(file)
    files = pb.FileDescriptorResponse(file_descriptor_proto=list(reversed(found.values())))
    return _response(request, file_descriptor_response=files)


def _error(request: pb.ServerReflectionRequest, code: int, message: str) -> bytes:
    return _response(request, error_response=pb.ErrorResponse(error_code=code, error_message=message))


def _response(request: pb.ServerReflectionRequest, **answer: object) -> bytes:
    response = pb.ServerReflectionResponse(valid_host=request.host, original_request=request, **answer)
    return bytes(response.SerializeToString())
