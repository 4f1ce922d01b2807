"""TwiML as Twilio reads it: XML in, verbs out; strict where Twilio's debugger would warn. Pure."""

from dataclasses import dataclass, field
from xml.etree import ElementTree

_ATTRIBUTES = {
    "Reject": "reason",
    "Say": "voice language loop",
    "Play": "loop digits",
    "Pause": "length",
    "Hangup": "",
    "Redirect": "method",
    "Dial": "action method timeout timeLimit callerId answerOnBridge hangupOnStar record ringTone"
    " recordingStatusCallback recordingStatusCallbackMethod recordingStatusCallbackEvent",
    "Number": "sendDigits statusCallback statusCallbackEvent statusCallbackMethod url method",
    "Connect": "action method",
    "Stream": "url name statusCallback statusCallbackMethod track",
    "Parameter": "name value",
    "Start": "action method",
    "Recording": "recordingStatusCallback recordingStatusCallbackMethod recordingStatusCallbackEvent channels",
}
_MAX_PARAMETER_CHARS = 500  # name and value together


class TwimlError(Exception):
    """Twilio could not read the document (12100) or will not do what it says (12200, 31922, ...)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Verb:
    """One element: its name, attributes, text, and nested nouns."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    text: str = ""
    nouns: tuple["Verb", ...] = ()

    def noun(self, name: str) -> "Verb | None":
        """The first nested noun of that name."""
        return next((noun for noun in self.nouns if noun.name == name), None)

    @property
    def parameters(self) -> dict[str, str]:
        """A `<Stream>`'s custom parameters."""
        given = (noun.attributes for noun in self.nouns if noun.name == "Parameter")
        return {attributes.get("name", ""): attributes.get("value", "") for attributes in given}


def parse(document: str) -> list[Verb]:
    """The verbs of a document. Raises `TwimlError` 12100 for what is not XML or not a `<Response>`."""
    try:
        root = ElementTree.fromstring(document)
    except ElementTree.ParseError as error:
        raise TwimlError(12100, f"Document parse failure: {error} in {document[:200]!r}") from error
    if root.tag != "Response":
        raise TwimlError(12100, f"The root element is <{root.tag}>, not <Response>")
    return [_verb(element) for element in root]


def warnings(verbs: list[Verb]) -> list[TwimlError]:
    """What Twilio's debugger would say about a document that it can read."""
    return [warning for verb in verbs for warning in _warnings_of(verb)]


def _verb(element: ElementTree.Element) -> Verb:
    nouns = tuple(_verb(child) for child in element)
    return Verb(element.tag, dict(element.attrib), (element.text or "").strip(), nouns)


def _warnings_of(verb: Verb) -> list[TwimlError]:
    known = _ATTRIBUTES.get(verb.name)
    if known is None:
        return [TwimlError(12200, f"<{verb.name}> is no verb or noun of voice TwiML that this stand-in knows")]
    found = [
        TwimlError(12200, f"<{verb.name}> has no attribute {name!r}")
        for name in verb.attributes
        if name not in known.split()
    ]
    if verb.name == "Parameter" and sum(map(len, verb.attributes.values())) >= _MAX_PARAMETER_CHARS:
        found.append(TwimlError(12200, f"<Parameter> {verb.attributes.get('name')!r} is longer than 500 characters"))
    if verb.name == "Recording" and verb.attributes.get("channels", "mono") not in ("mono", "dual"):
        found.append(TwimlError(12200, f"<Recording> has no channels {verb.attributes['channels']!r}"))
    if verb.name == "Connect" and verb.noun("Stream") is None:
        found.append(TwimlError(12200, "<Connect> without a <Stream>"))
    return found + warnings(list(verb.nouns)) + (_stream_warnings(verb) if verb.name == "Stream" else [])


def _stream_warnings(stream: Verb) -> list[TwimlError]:
    url = stream.attributes.get("url", "")
    found = []
    if not url.startswith("wss://") and not url.startswith(("ws://127.0.0.1", "ws://localhost", "ws://[::1]")):
        found.append(TwimlError(31922, f"The stream's url {url!r} is not wss:// (ws:// is for loopback alone)"))
    if "?" in url:
        found.append(TwimlError(31920, f"The stream's url {url!r} has a query string, which Twilio does not support"))
    if stream.attributes.get("track", "inbound_track") != "inbound_track":
        found.append(TwimlError(31941, f"track {stream.attributes['track']!r} is not possible under <Connect>"))
    return found
