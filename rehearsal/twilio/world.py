"""Twilio on a laptop: one account with numbers, calls, webhooks and the REST API, in one event loop."""

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from rehearsal.twilio.call import Call
from rehearsal.twilio.leg import Exchange, Order
from rehearsal.twilio.observed import WAIT_S, Asked, Changes
from rehearsal.twilio.program import Document
from rehearsal.twilio.script import CallScript
from rehearsal.twilio.server import Number, RestServer
from rehearsal.twilio.ticker import Ticker
from rehearsal.twilio.webhooks import Webhooks

ACCOUNT_SID = "AC" + "0123456789abcdef" * 2
CALLER, NUMBER = "+972501234567", "+97231234567"


class Twilio:
    """A Twilio account whose numbers are answered by the app at `base_url`.

        async with Twilio("http://127.0.0.1:8080", auth_token="...") as twilio:
            call = await twilio.call()
            await call.until_heard(500)
            await call.say(speak("מה השעה?", "he"))
            await call.hang_up()

    `public_url` is what the app calls itself, when that is not `base_url`: requests are signed for it, and reach
    `base_url`. Without `auth_token` nothing is signed. `voice` speaks `<Say>` (text, language -> mu-law).
    `script_for` decides about each outbound call, by the number it rings.
    """

    def __init__(
        self,
        base_url: str,
        auth_token: str | None = None,
        account_sid: str = ACCOUNT_SID,
        *,
        public_url: str | None = None,
        numbers: Iterable[str] = (NUMBER,),
        voice: Callable[[str, str], bytes] | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self.script_for: Callable[[str], CallScript] = lambda _to: CallScript()
        self.account_sid, self.auth_token = account_sid, auth_token
        self._own_url = (public_url or base_url).rstrip("/")
        self._base_url, self._voice = base_url, voice
        self.numbers = [self._number(number) for number in numbers]
        self._by_sid: dict[str, Call] = {}
        self._changes = Changes()
        self.rest = RestServer(account_sid, auth_token, self._by_sid, self.numbers, self._place_outbound)
        self._exchange: Exchange | None = None

    async def __aenter__(self) -> Self:
        self._exchange = Exchange(
            self.account_sid, Webhooks(self._base_url, self._own_url, self.auth_token), Ticker(), self._voice
        )
        await self.rest.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for call in self.calls:
            await call.shut_down()
        await self.rest.close()
        await self.exchange.webhooks.close()

    @property
    def exchange(self) -> Exchange:
        """What the calls share. Raises RuntimeError before `async with`."""
        if self._exchange is None:
            raise RuntimeError("Twilio is not up yet: use it as `async with Twilio(...) as twilio`")
        return self._exchange

    @property
    def rest_url(self) -> str:
        """The REST API's base, for TWILIO_API_BASE_URL."""
        return self.rest.url

    @property
    def asked(self) -> list[Asked]:
        """Every webhook request that was made, with its answer."""
        return self.exchange.webhooks.asked

    async def call(self, from_: str = CALLER, to: str = NUMBER, script: CallScript | None = None) -> Call:
        """Somebody dials one of the numbers; the call goes its way from here on by itself."""
        number = next((number for number in self.numbers if number.phone_number == to), None) or self._number(to)
        document = Document(number.voice_url, method=number.voice_method, fallback_url=number.voice_fallback_url)
        order = Order(from_, to, document, status_url=number.status_callback)
        return self._place(order, script or CallScript())

    async def until_called(self, calls: int = 1, timeout_s: float = WAIT_S) -> Call:
        """Wait for the so-manieth call of any direction, such as one that the app has placed; returns it."""
        await self._changes.until(
            lambda: len(self.calls) >= calls, timeout_s, lambda: f"{len(self.calls)} calls so far"
        )
        return self.calls[calls - 1]

    def _number(self, phone_number: str) -> Number:
        voice, status = self._own_url + "/twilio/voice", self._own_url + "/twilio/status"
        return Number(phone_number, voice_url=voice, status_callback=status)

    def _place_outbound(self, order: Order) -> Call:
        return self._place(order, self.script_for(order.to))

    def _place(self, order: Order, script: CallScript) -> Call:
        call = Call(order, self.exchange, script)
        self.calls.append(call)
        self._by_sid[call.sid] = call
        call.place()
        self._changes.notify()
        return call
