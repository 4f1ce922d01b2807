"""Tools of a business's own: what the model may ask over HTTPS, and with which secrets.

A file names a secret (`Authorization: Bearer ${CLINIC_TOKEN}`) and never holds it: files are read, copied, committed.
"""

import re
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Final, Literal, cast, get_args
from urllib.parse import urlsplit

from kav.call.flow import Flow, HttpTool
from kav.call.ruling import TOOLS
from kav.flow_files.json_schema import NO_ARGUMENTS, read_schema
from kav.flow_files.section import Section
from kav.settings import Settings

Method = Literal["GET", "POST"]

SHORTEST_TIMEOUT_S: Final = 1
LONGEST_TIMEOUT_S: Final = 15
"""Seconds: a caller who hears nothing for longer believes that the line is dead."""

_RESERVED: Final = (*TOOLS, "current_time")  # Kav's own tools
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # what the Realtime API takes as a function's name
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, token
_SECRET: Final = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_SECRET_HEADERS: Final = ("authorization", "cookie", "x-api-key", "api-key", "x-auth-token")


def secrets_of(flow: Flow) -> tuple[str, ...]:
    """Return the names of the environment variables that a flow's tools need."""
    return tuple(sorted({name for tool in flow.tools for name in _secrets_of(tool)}))


def _secrets_of(tool: HttpTool) -> list[str]:
    return [name for text in tool.headers.values() for name in _SECRET.findall(text)]


def usable(flow: Flow, held: Container[str]) -> Flow:
    """Return a flow with only those of its tools whose secrets are held: the model is offered no others."""
    tools = tuple(tool for tool in flow.tools if all(name in held for name in _secrets_of(tool)))
    return replace(flow, tools=tools)


def fill_in(text: str, secrets: Mapping[str, str]) -> str:
    """Return a header's value with its secrets in the place of their names."""
    return _SECRET.sub(lambda found: secrets[found[1]], text)


def read_tools(section: Section) -> tuple[HttpTool, ...]:
    """Return the tools of a file."""
    groups = section.sections("tools")
    tools = tuple(_tool(group) for group in groups)
    for place, (group, tool) in enumerate(zip(groups, tools, strict=True)):
        if tool.name in [other.name for other in tools[:place]]:
            group.fault("name", f"another tool is called `{tool.name}`", "give each tool a name of its own")
    return tools


def _tool(section: Section) -> HttpTool:
    section.require("description", "tell the model what the tool gives and when to use it")
    schema = section.node("parameters")
    tool = HttpTool(
        name=_name(section),
        description=section.text("description"),
        url=_url(section),
        method=cast("Method", section.one_of("method", get_args(Method), "GET")),
        parameters=read_schema(schema, section.path("parameters"), section.faults) if schema else NO_ARGUMENTS,
        timeout_s=section.number("timeout_s", SHORTEST_TIMEOUT_S, LONGEST_TIMEOUT_S, 5),
        headers=_headers(section),
    )
    section.finish()
    return tool


def _name(section: Section) -> str:
    section.require("name", "give the tool a name such as `free_slots`")
    name = section.text("name")
    if name in _RESERVED:
        section.fault("name", f"`{name}` is a tool of Kav's own", "choose another name")
    elif name and not _NAME.fullmatch(name):
        section.fault("name", f"`{name}` is no name for a tool", "use up to 64 of a-z A-Z 0-9 _ -")
    return name


def _url(section: Section) -> str:
    section.require("url", "write the address that is asked, e.g. `url: https://api.example.com/slots`")
    url = section.text("url")
    if not url:
        return url
    fault = _url_fault(url)
    if fault:
        section.fault("url", *fault)
    return url


def _url_fault(url: str) -> tuple[str, str] | None:
    """Return what is wrong with an address, and the remedy."""
    no_address = f"`{url}` is no address", "write it like https://api.example.com/slots"
    try:
        parts = urlsplit(url)
        hostname, _ = parts.hostname, parts.port
    except ValueError:
        return no_address
    if parts.username or parts.password or "${" in url:
        return "a secret stands in the address, where logs would show it", "send it in `headers`"
    if parts.scheme == "http":
        return f"`{url}` is not encrypted", "use an https:// address"
    if parts.scheme != "https" or not hostname or re.search(r"\s", url):
        return no_address
    if "{" in url or parts.fragment:
        return "the address has a placeholder or a fragment", "leave it out: Kav adds the arguments"
    return None


def _headers(section: Section) -> dict[str, str]:
    group = section.section("headers")
    if group is None:
        return {}
    headers = {name: group.text(name) for name in group.entries.nodes}
    for name, text in headers.items():
        _check_header(group, name, text)
    return headers


def _check_header(group: Section, name: str, text: str) -> None:
    if not _HEADER.fullmatch(name):
        group.fault(name, "this is no name of a header", "use letters, digits and -")
    if not text.isprintable():
        group.fault(name, "the value has more than one line", "write it in one line")
    if any(name in Settings.model_fields for name in _SECRET.findall(text)):
        group.fault(name, f"`{text}` would send a setting of Kav's own", "give the tool a secret of its own")
    if "${" in _SECRET.sub("", text):
        group.fault(
            name, f"`{text}` names no secret", "write ${NAME} with the name of an environment variable, A-Z 0-9 _"
        )
    elif name.lower() in _SECRET_HEADERS and not _SECRET.search(text):
        group.fault(name, "a secret stands in the file", "put it into the environment, and ${ITS_NAME} here")
