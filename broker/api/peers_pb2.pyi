from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("version", "oldest_version", "instance", "store", "port", "release")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OLDEST_VERSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    version: int
    oldest_version: int
    instance: str
    store: str
    port: int
    release: str
    def __init__(self, version: _Optional[int] = ..., oldest_version: _Optional[int] = ..., instance: _Optional[str] = ..., store: _Optional[str] = ..., port: _Optional[int] = ..., release: _Optional[str] = ...) -> None: ...

class FollowRequest(_message.Message):
    __slots__ = ("hello", "add", "remove", "number")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    add: _containers.RepeatedScalarFieldContainer[str]
    remove: _containers.RepeatedScalarFieldContainer[str]
    number: int
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., add: _Optional[_Iterable[str]] = ..., remove: _Optional[_Iterable[str]] = ..., number: _Optional[int] = ...) -> None: ...

class FollowResponse(_message.Message):
    __slots__ = ("hello", "followed", "commits")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    FOLLOWED_FIELD_NUMBER: _ClassVar[int]
    COMMITS_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    followed: int
    commits: _containers.RepeatedCompositeFieldContainer[Commit]
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., followed: _Optional[int] = ..., commits: _Optional[_Iterable[_Union[Commit, _Mapping]]] = ...) -> None: ...

class Commit(_message.Message):
    __slots__ = ("subject", "first_id", "published_at", "expires_at", "messages")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    FIRST_ID_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    subject: str
    first_id: int
    published_at: int
    expires_at: _containers.RepeatedScalarFieldContainer[int]
    messages: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, subject: _Optional[str] = ..., first_id: _Optional[int] = ..., published_at: _Optional[int] = ..., expires_at: _Optional[_Iterable[int]] = ..., messages: _Optional[_Iterable[bytes]] = ...) -> None: ...
