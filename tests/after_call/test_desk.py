"""Guards the work after a call: each thing once, what fails fails alone, nothing waits, what is undone is said."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from kav import metrics
from kav.after_call import AfterCall, CallReport, desk, mail, reaches_owner, webhook
from kav.after_call.summary import Summarizer
from kav.call.flow import Owner
from kav.records import Records
from kav.settings import Settings
from kav.wire.twilio_rest import TwilioRest
from tests.after_call.receivers import Mailbox, Received, http_receiver, mail_receiver, summing_up
from tests.after_call.reports import REPORT, report
from tests.local_servers import ACCOUNT, TOKEN, TwilioApi, twilio_api

SUMMARY = {"summary": "דנה לוי ביקשה תור.", "name": "דנה לוי", "phone": None, "reason": "תור", "urgency": "normal"}
SOON_S = 10


class Office:
    """An AfterCall among real receivers."""

    def __init__(self, records: Records, api: TwilioApi, model: Received, mailbox: Mailbox, hook: Received) -> None:
        self.records, self.api, self.model, self.mailbox, self.hook = records, api, model, mailbox, hook
        self.pauses: list[float] = []
        self.settings: dict[str, str] = {
            "TWILIO_ACCOUNT_SID": ACCOUNT,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_BASE_URL": api.url,
            "OPENAI_API_KEY": "sk-key",
            "OPENAI_BASE_URL": f"{model.url}/v1",
            "SMTP_URL": mailbox.url,
            "KAV_WEBHOOK_URL": hook.url,
            "KAV_WEBHOOK_SECRET": "a-secret-of-the-webhook",
        }

    def open(self, sleep: Callable[[float], object] | None = None, **settings: str) -> AfterCall:
        made = Settings(_env_file=None, **{**self.settings, **settings})  # type: ignore[call-arg, arg-type]  # pydantic-settings' own argument, and a str for a secret
        rest = TwilioRest(made, sleep=self.pauses.append)
        return AfterCall(made, self.records, rest, sleep=sleep or self.pauses.append)

    def open_as_it_is(self) -> AfterCall:
        """One that really pauses."""
        made = Settings(_env_file=None, **self.settings)  # type: ignore[call-arg, arg-type]  # as above
        return AfterCall(made, self.records, TwilioRest(made))

    def work_on(self, call: CallReport, **settings: str) -> None:
        """Take a call and wait until all is done."""
        after_call = self.open(None, **settings)
        after_call.take(call)
        with gevent.Timeout(SOON_S):
            while after_call.waiting:
                gevent.sleep(0.01)

    @property
    def texts(self) -> list[str]:
        return [form["Body"] for _, path, form, _ in self.api.seen if path.endswith("/Messages.json")]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    records = Records(f"sqlite:///{tmp_path / 'kav.db'}")
    records.start()
    with (
        twilio_api() as api,
        http_receiver(summing_up(SUMMARY)) as model,
        mail_receiver() as mail,
        http_receiver() as hook,
    ):
        yield Office(records, api, model, mail, hook)
    records.stop(SOON_S)


def done(task: str, outcome: str) -> float:
    return metrics.REGISTRY.get_sample_value("kav_after_call_total", {"task": task, "outcome": outcome}) or 0.0


def test_a_call_is_summed_up_and_everybody_is_told_once(office: Office) -> None:
    office.work_on(REPORT)
    (sms,), ((recipient, mail),), (hook,) = office.texts, office.mailbox.mails, office.hook.bodies
    assert "דנה לוי ביקשה תור." in sms
    assert recipient == "owner@example.com"
    assert "דנה לוי ביקשה תור." in mail.get_content()
    assert (hook["summary"], hook["extracted"]["name"]) == ("דנה לוי ביקשה תור.", "דנה לוי")
    assert (hook["event"], hook["call_sid"], hook["duration_s"]) == ("call.ended", "CA1", 124)
    assert hook["answers"][2] == {"step": "day", "value": None, "unanswered": "dont_know"}
    method, _, form, _ = office.api.seen[0]
    assert (method, form["To"], form["From"]) == ("POST", "+972509876543", "+97231110002")


def test_the_summary_stands_on_the_call_s_record(office: Office) -> None:
    office.work_on(REPORT)
    office.records.save_call("CA1").wait(SOON_S)  # after what was queued before it
    call = office.records.get_call("CA1")
    assert call is not None
    assert call["summary"] == "דנה לוי ביקשה תור."
    assert json.loads(call["extracted"])["reason"] == "תור"


def test_what_the_summary_took_is_part_of_what_the_call_cost(office: Office) -> None:
    office.work_on(REPORT)
    office.records.save_call("CA1").wait(SOON_S)
    call = office.records.get_call("CA1")
    assert call is not None
    (usage,) = call["usage"]
    assert (usage["model"], usage["responses"], usage["input_text"]) == ("gpt-5.4-mini", 1, 1200)
    assert call["cost_micro_usd"] == 630, "200 fresh tokens at 0.75, 1000 cached at 0.075, 90 out at 4.50"


@pytest.mark.parametrize(("is_test", "label"), [(False, "clinic"), (True, "browser")])
def test_a_summary_s_cost_is_measured_where_its_call_s_is(office: Office, is_test: bool, label: str) -> None:
    before = {flow: spent(flow) for flow in ("clinic", "browser")}
    office.work_on(report(is_test=is_test, owner=None))
    assert {flow: round(spent(flow) - was, 6) for flow, was in before.items() if spent(flow) != was} == {label: 0.00063}


def spent(flow: str) -> float:
    return metrics.REGISTRY.get_sample_value("kav_cost_usd_total", {"flow": flow}) or 0.0


def test_a_summary_by_a_model_without_a_price_leaves_the_cost_that_is_known_and_says_that_it_is_partial(
    office: Office,
) -> None:
    office.records.save_usage("CA1", "gpt-realtime-2.1", responses=1, cost_micro_usd=1000)
    office.work_on(REPORT, OPENAI_SUMMARY_MODEL="a-model-of-tomorrow")
    office.records.save_call("CA1").wait(SOON_S)
    call = office.records.get_call("CA1")
    assert call is not None
    assert (call["cost_micro_usd"], call["cost_is_partial"]) == (1000, True)


def test_a_flow_without_an_owner_tells_nobody_but_the_webhook(office: Office) -> None:
    office.work_on(report(owner=None, wants_summary=False))
    assert (office.texts, office.mailbox.mails, office.model.requests) == ([], [], [])
    assert len(office.hook.requests) == 1


def test_a_call_in_which_nobody_said_anything_costs_no_sms_and_no_summary(office: Office) -> None:
    office.work_on(report(answers=(), talk=REPORT.talk[:1]))
    assert (office.texts, office.mailbox.mails, office.model.requests) == ([], [], [])
    assert office.hook.bodies[0]["summary"] is None


def test_a_call_that_could_not_be_served_is_told_of_though_nobody_said_anything(office: Office) -> None:
    office.work_on(report(answers=(), talk=(), unserved=True, end_reason="model_failed"))
    (sms,) = office.texts
    assert "נא לחזור אליהם" in sms
    assert REPORT.other_number in sms
    assert len(office.mailbox.mails) == 1
    assert office.model.requests == [], "there is nothing to sum up"
    assert office.hook.bodies[0]["unserved"] is True


@pytest.mark.parametrize("is_test", [False, True])
def test_the_webhook_can_tell_a_test_from_a_customer_s_call(office: Office, is_test: bool) -> None:
    office.work_on(report(is_test=is_test, owner=None, wants_summary=False))
    assert office.hook.bodies[0]["test"] is is_test


@pytest.mark.parametrize(
    ("owner", "settings", "own_number", "reached"),
    [
        (None, {}, REPORT.own_number, False),
        (Owner(), {}, REPORT.own_number, False),
        (Owner(sms="+972509876543"), {}, REPORT.own_number, True),
        (Owner(sms="+972509876543"), {"TWILIO_AUTH_TOKEN": ""}, REPORT.own_number, False),
        (Owner(sms="+972509876543"), {}, "sip:bakery@example.com", False),
        (Owner(email="owner@example.com"), {}, "sip:bakery@example.com", True),
        (Owner(email="owner@example.com"), {}, REPORT.own_number, True),
        (Owner(email="owner@example.com"), {"SMTP_URL": ""}, REPORT.own_number, False),
    ],
)
def test_an_owner_is_reached_by_what_is_set_up_alone(
    office: Office, owner: Owner | None, settings: dict[str, str], own_number: str, reached: bool
) -> None:
    made = Settings(_env_file=None, **{**office.settings, **settings})  # type: ignore[call-arg, arg-type]  # as above
    assert reaches_owner(made, owner, own_number) is reached


@pytest.mark.parametrize("status", [400, 500])
def test_without_a_summary_the_owner_is_told_all_the_same(office: Office, status: int) -> None:
    office.model.statuses = [status] * 9
    failed = done("summary", "failed")
    office.work_on(REPORT)
    assert done("summary", "failed") == failed + 1
    assert "מה השם המלא? דנה לוי" in office.texts[0]


def test_what_fails_fails_alone_and_the_log_names_the_call_and_no_number(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.api.faults, office.hook.statuses = [400], [500] * 9
    office.work_on(REPORT)
    assert len(office.mailbox.mails) == 1
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert sorted(record.getMessage().split(":")[1].strip() for record in errors) == ["no sms", "no webhook"]
    assert {record.__dict__["call_sid"] for record in errors} == {"CA1"}
    assert "2509876543" not in caplog.text


def test_an_sms_of_which_nobody_knows_whether_it_was_sent_is_not_sent_twice(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    office.api.faults = [503, 503]
    office.work_on(REPORT)
    assert len(office.texts) == 1
    assert "may have been sent or not" in caplog.text


def test_an_sms_that_has_surely_not_left_is_tried_again(office: Office) -> None:
    office.work_on(REPORT, TWILIO_API_BASE_URL="http://127.0.0.1:1")
    assert office.pauses == list(desk.RETRY_AFTER_S)


def test_a_number_that_cannot_send_is_named_as_the_reason(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.api.faults, office.api.fault_code = [400], 21606
    office.work_on(REPORT)
    assert "cannot send SMS; let the owner have e-mail instead" in caplog.text


def test_a_mail_that_is_greylisted_is_tried_again_until_it_is_taken(office: Office) -> None:
    office.mailbox.refusals = [("RCPT", "451 4.7.1 <owner@example.com> is greylisted")] * 3
    office.work_on(report(owner=Owner("", "owner@example.com", "he"), wants_summary=False), KAV_WEBHOOK_URL="")
    assert (len(office.mailbox.mails), office.pauses) == (1, [5.0, 60.0, 300.0])


def test_the_time_for_a_mail_is_over_also_while_it_waits_for_the_network(
    office: Office, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends the waiting is no fault of the network's, which would be tried again without end."""

    def waiting(*_: object) -> None:
        try:
            gevent.sleep(60)
        except OSError as error:
            raise mail.NotSentYet from error

    monkeypatch.setattr(mail, "send", waiting)
    monkeypatch.setattr(desk, "MAIL_S", 0.05)
    office.work_on(report(owner=Owner("", "owner@example.com", "he"), wants_summary=False), KAV_WEBHOOK_URL="")
    assert "no email: not done within 0.05 s" in caplog.text
    assert office.pauses == []


@pytest.mark.parametrize("verb", ["AUTH", "RCPT"])
def test_no_mail_server_is_kept_connected_while_a_mail_waits(office: Office, verb: str) -> None:
    office.mailbox.refusals, left = [(verb, "454 4.7.0 later")], list[bool]()

    def pause(_: float) -> None:
        until = time.monotonic() + SOON_S / 2
        while office.mailbox.connections and time.monotonic() < until:
            gevent.sleep(0.01)
        left.append(office.mailbox.connections == 0)

    after_call = office.open(sleep=pause, KAV_WEBHOOK_URL="")
    after_call.take(report(owner=Owner("", "owner@example.com", "he"), wants_summary=False))
    with gevent.Timeout(SOON_S):
        while after_call.waiting:
            gevent.sleep(0.01)
    assert (left, len(office.mailbox.mails)) == ([True], 1)


@pytest.mark.parametrize(("reply", "attempts"), [("451 4.7.1", 5), ("550 5.1.1", 1)])
def test_a_mail_that_is_not_taken_is_named_in_the_log_without_its_address(
    office: Office, caplog: pytest.LogCaptureFixture, reply: str, attempts: int
) -> None:
    office.mailbox.refusals = [("RCPT", f"{reply} <owner@example.com> is not here")] * 9
    office.work_on(report(owner=Owner("", "owner@example.com", "he"), wants_summary=False), KAV_WEBHOOK_URL="")
    assert (office.mailbox.mails, 9 - len(office.mailbox.refusals)) == ([], attempts)
    assert f"no email: the mail server {'does not take it yet' if attempts > 1 else 'refused it'}" in caplog.text
    assert "owner@" not in caplog.text


def test_mail_without_a_server_says_which_setting_is_missing(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.work_on(REPORT, SMTP_URL="")
    assert "no email: SMTP_URL is not set" in caplog.text
    assert len(office.texts) == 1


def test_stopping_waits_no_longer_than_it_is_told_and_says_what_is_undone(
    office: Office, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = gevent.event.Event()
    monkeypatch.setattr(webhook, "deliver", _hanging(begun))
    after_call = office.open()
    after_call.take(report(owner=None, wants_summary=False))
    assert begun.wait(SOON_S)
    with gevent.Timeout(5):
        assert after_call.stop(0.2) == 1
    assert "no webhook: Kav has stopped" in caplog.text


def test_stopping_sends_what_there_is_without_waiting_for_a_summary(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = gevent.event.Event()
    monkeypatch.setattr(Summarizer, "sum_up", _hanging(begun))
    after_call = office.open()
    after_call.take(REPORT)
    assert begun.wait(SOON_S)
    with gevent.Timeout(SOON_S):
        assert after_call.stop(5) == 0
    assert (len(office.texts), len(office.mailbox.mails), len(office.hook.requests)) == (1, 1, 1)


def test_stopping_tries_what_waits_to_be_tried_again_once_more(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "RETRY_MAIL_AFTER_S", (60.0,))
    monkeypatch.setattr(webhook, "PAUSES_S", (60.0,))
    office.mailbox.refusals, office.hook.statuses = [("RCPT", "451 4.7.1 greylisted")], [500]
    after_call = _with_what_waits(office)
    with gevent.Timeout(SOON_S):
        assert after_call.stop(6) == 0, "sooner than either pause is over"
    assert (len(office.mailbox.mails), len(office.hook.requests)) == (1, 2)


def test_stopping_tries_nothing_more_than_once(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.mailbox.refusals, office.hook.statuses = [("RCPT", "451 4.7.1 greylisted")] * 9, [500] * 9
    after_call = _with_what_waits(office)
    with gevent.Timeout(SOON_S):
        assert after_call.stop(SOON_S) == 0
    assert (9 - len(office.mailbox.refusals), len(office.hook.requests)) == (2, 2)
    assert "no webhook: it answered 500" in caplog.text
    assert "no email: the mail server does not take it yet" in caplog.text


def _with_what_waits(office: Office) -> AfterCall:
    """A desk at which a mail and a webhook were refused for now."""
    refusals, after_call = len(office.mailbox.refusals), office.open_as_it_is()
    after_call.take(report(owner=Owner("", "owner@example.com", "he"), wants_summary=False))
    with gevent.Timeout(SOON_S):
        while len(office.mailbox.refusals) == refusals or not office.hook.requests:
            gevent.sleep(0.01)
    return after_call


def test_no_more_than_a_few_are_told_at_once_and_taking_a_call_never_waits(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, most, let_go = [0], [0], gevent.event.Event()
    monkeypatch.setattr(webhook, "deliver", _counting(at_work, most, let_go.wait))
    after_call = office.open()
    for number in range(50):
        after_call.take(report(call_sid=f"CA{number}", owner=None, wants_summary=False))
    with gevent.Timeout(SOON_S):
        while most[0] < desk.SENT_AT_ONCE:
            gevent.sleep(0.01)
    assert after_call.waiting == 50
    let_go.set()
    assert after_call.stop(SOON_S) == 0
    assert most[0] == desk.SENT_AT_ONCE, "never more"


def test_a_webhook_that_waits_to_be_tried_again_holds_up_nobody_s_sms(office: Office) -> None:
    office.hook.statuses, let_go = [500] * 100, gevent.event.Event()
    after_call = office.open(sleep=let_go.wait)
    calls = desk.SENT_AT_ONCE * 2
    for number in range(calls):
        after_call.take(report(call_sid=f"CA{number}", wants_summary=False))
    with gevent.Timeout(SOON_S):
        while len(office.texts) < calls or len(office.hook.requests) < calls:
            gevent.sleep(0.01)
    assert after_call.waiting == calls
    office.hook.statuses.clear()
    let_go.set()
    assert after_call.stop(SOON_S) == 0


def _hanging(begun: gevent.event.Event) -> Callable[..., None]:
    """Something that never comes back, and says when it has begun."""

    def hang(*_: object, **__: object) -> None:
        begun.set()
        gevent.sleep(60)

    return hang


def _counting(at_work: list[int], most: list[int], wait: Callable[[], object]) -> Callable[..., None]:
    def deliver(*_: object, **__: object) -> None:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        wait()
        at_work[0] -= 1

    return deliver


def test_more_calls_than_memory_should_hold_are_left_undone_and_said(
    office: Office, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "MAX_WAITING", 1)
    after_call = office.open()
    for number in range(2):
        after_call.take(report(call_sid=f"CA{number}"))
    assert "too many calls wait" in caplog.text
    assert after_call.stop(SOON_S) == 0
