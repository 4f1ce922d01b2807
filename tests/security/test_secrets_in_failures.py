"""Guards secrets and words while everything around Kav fails: no line, page or answer tells them, at DEBUG too."""

import asyncio
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import aiohttp
import pytest

from kav.flow_files import FOLDER
from rehearsal.kav import API_TOKEN, KavDied, KavProcess
from rehearsal.model import ModelSession
from rehearsal.servers.postgres import Postgres, binaries
from rehearsal.servers.redis import RedisServer
from rehearsal.tools import TOKEN as TOOL_TOKEN
from rehearsal.world import AUTH_TOKEN, OPENAI_KEY, World
from tests.after_call.receivers import Received, http_receiver, summing_up
from tests.console.browser import PASSWORD, Operator, until
from tests.line.asking import about, ask
from tests.line.test_own_tools import Asking, answered, asked

DATABASE, REDIS, MAIL, HOOK = "the-database-password", "the-redis-password", "the-mail-password", "the-webhook-secret"
METRICS, COOKIES = "the-metrics-token", "the-key-of-the-cookies"
SECRETS = (AUTH_TOKEN, OPENAI_KEY, API_TOKEN, TOOL_TOKEN, PASSWORD, DATABASE, REDIS, MAIL, HOOK, METRICS, COOKIES)
CALLERS_WORDS, SUMMARY, ANSWERED = "אני סובלת מכאבים נוראים", "המתקשרת סובלת מאוד", "יש מקום בעשר"
OWNER = '\nowner:\n  sms: "+972509876543"\n  email: owner@example.com\n'
SLOTS = "/api/free-slots?day=2026-11-24"
SPENT_S = 20.0


class Patient(Asking):
    """A caller who says something of herself, and asks what is free."""

    def heard(self, session: ModelSession) -> str:  # noqa: ARG002 - always the same
        return CALLERS_WORDS


@contextmanager
def rude_mail_server() -> Iterator[str]:
    """One that knows nobody, and says aloud whom it does not know, with what password; gives its SMTP_URL."""

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 ready\r\n")
            while line := self.rfile.readline().decode().strip().upper():
                hello = line.startswith("EHLO")
                refused = f"535 5.7.8 kav with {MAIL} is nobody here"
                self.wfile.write(("250-here\r\n250 AUTH PLAIN" if hello else refused).encode() + b"\r\n")

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"smtp://kav:{MAIL}@127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@dataclass
class Siege:
    """A Kav with a secret for everybody around it, and all of them."""

    world: World
    postgres: Postgres
    redis: RedisServer
    model: Received
    hook: Received

    def log(self) -> str:
        return self.world.kav.log(100_000_000)

    async def after_call(self, sid: str) -> None:
        """Whoever is to be told was told, or could not be."""
        for task in ("webhook", "email", "sms"):
            await until(partial(self._is_over, sid, task), task, SPENT_S)

    def _is_over(self, sid: str, task: str) -> bool:
        lines = [line for line in self.world.kav.log_of(sid) if "after the call: " in line]
        return any(f"no {task}: " in line or f"{task} sent" in line for line in lines)


def redis_says(server: RedisServer, *commands: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as asked:
        for command in commands:
            asked.sendall(f"{command}\r\n".encode())
            assert asked.recv(100).startswith((b"+OK", b":")), command  # done, or how many it was done to


@pytest.fixture(scope="module")
async def siege(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Siege]:
    flows = tmp_path_factory.mktemp("flows")
    (flows / "clinic.yaml").write_text((FOLDER / "clinic.yaml").read_text(encoding="utf-8") + OWNER, encoding="utf-8")
    folder, found = Path(tempfile.mkdtemp(prefix="kav-pg-")), binaries()
    assert found is not None, "its tests are left out when there is none"
    with ExitStack() as around:
        around.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres, redis = Postgres(folder, found), RedisServer()
        for server in (postgres, redis):
            server.start()
            around.callback(server.stop)
        redis_says(redis, f"CONFIG SET requirepass {REDIS}")
        summary = {"summary": SUMMARY, "name": None, "phone": None, "reason": None, "urgency": "low"}
        model = around.enter_context(http_receiver(summing_up(summary)))
        hook = around.enter_context(http_receiver())
        settings = {
            "KAV_FLOWS": str(flows),
            "DATABASE_URL": f"postgres://postgres:{DATABASE}@127.0.0.1:{postgres.port}/postgres",
            "REDIS_URL": f"redis://:{REDIS}@127.0.0.1:{redis.port}/0",
            "SMTP_URL": around.enter_context(rude_mail_server()),
            "OPENAI_BASE_URL": f"{model.url}/v1",
            "KAV_WEBHOOK_URL": f"{hook.url}/told",
            "KAV_WEBHOOK_SECRET": HOOK,
            "KAV_CONSOLE_PASSWORD": PASSWORD,
            "KAV_SECRET_KEY": COOKIES,
            "KAV_METRICS_TOKEN": METRICS,
            "LOG_LEVEL": "DEBUG",
            "VAD_SILENCE_MS": "200",
            "DRAIN_SECONDS": "0",
        }
        async with World(settings) as world:
            yield Siege(world, postgres, redis, model, hook)


async def test_a_call_that_goes_well_leaves_no_word_number_or_secret_in_the_log_of_a_debugging_kav(
    siege: Siege,
) -> None:
    """Nor do the packages that Kav speaks through, each of which has a logger of its own."""
    siege.world.tools.offer(SLOTS, ANSWERED)
    script = Patient()
    talk = await asked(siege.world, script)
    assert await answered(talk) == ANSWERED
    await talk.call.hang_up()
    await siege.after_call(talk.call.sid)
    assert len(siege.model.requests) == 1
    log = siege.log()
    assert " DEBUG " in log, "else this shows nothing"
    items = [event["item"] for event in talk.asked("conversation.item.create")]
    orders = [item["content"][0]["text"] for item in items if item["type"] == "message"]
    told = (CALLERS_WORDS, SUMMARY, ANSWERED, "מרפאת השיניים אלון", *orders)
    assert [words for words in told if words in log or repr(words.encode())[2:-1] in log] == []
    assert [number for number in (talk.call.order.from_, "+972509876543") if number in log] == []
    assert [secret for secret in SECRETS if secret in log] == []


ASKED: tuple[tuple[str, str, dict[str, str] | None], ...] = (
    *(("GET", "/healthz", None), ("GET", "/metrics", None), ("GET", "/calls", None)),
    ("GET", "/recordings/RE" + "1" * 32, None),
    ("POST", "/calls", {"to": "+972501234567", "flow": "clinic"}),
    ("POST", "/do-not-call", {"number": "+972501234567"}),
)


async def pages(siege: Siege, sid: str) -> dict[str, str]:
    """What everybody is told who asks: strangers, the monitor, the operator's programs, the operator."""
    told: dict[str, str] = {}
    kav = siege.world.kav
    async with aiohttp.ClientSession() as http:
        for method, path, body in (*ASKED, ("GET", f"/calls/{sid}", None), ("POST", f"/calls/{sid}/end", {})):
            for token in ("", "wrong", API_TOKEN, METRICS):
                headers = {"Authorization": f"Bearer {token}"} if token else {}
                async with http.request(method, kav.url + path, json=body, headers=headers) as answer:
                    told[f"{method} {path} {token}"] = str(answer.headers) + await answer.text()
    async with Operator(kav.url) as operator:
        for path in ("", "calls", f"calls/{sid}", "today", "flows", "flows/clinic.yaml", "phone"):
            async with operator.get(f"/console/{path}") as answer:
                told[f"console {path}"] = await answer.text()
    for hook in ("voice", "status", "after-stream", "dial-result", "recording"):
        told[hook] = (await ask(siege.world, f"/twilio/{hook}", about("CA" + "7" * 32, "in-progress"))).body
    return told


async def test_a_kav_around_which_everything_fails_tells_no_secret(siege: Siege) -> None:
    """The tool and the mail server say them aloud; Redis has another password; then it and the database are gone."""
    siege.world.tools.offer(SLOTS, f"who is {TOOL_TOKEN}?", status=500)
    siege.hook.statuses, siege.model.statuses = [400], [401]
    talk = await asked(siege.world, Patient())
    assert TOOL_TOKEN not in await answered(talk)
    changed = (f"AUTH {REDIS}", "CONFIG SET requirepass another-password")
    redis_says(siege.redis, *changed, *(f"CLIENT KILL TYPE {kind}" for kind in ("normal", "pubsub")))
    siege.postgres.stop()
    await talk.call.hang_up()
    await siege.after_call(talk.call.sid)
    told = await pages(siege, talk.call.sid)
    siege.redis.stop()
    told |= {f"{page}, without Redis": text for page, text in (await pages(siege, talk.call.sid)).items()}
    await asyncio.sleep(1.0)  # whoever looks after what is lost has looked
    log = siege.log()
    for failed in ("no webhook: it answered 400", "no email: ", "no summary: ", "tool free_slots: 500"):
        assert failed in log
    assert {
        place: [s for s in SECRETS if s in text] for place, text in told.items() if any(s in text for s in SECRETS)
    } == {}
    assert [secret for secret in SECRETS if secret in log] == []


@pytest.mark.parametrize(
    "setting",
    [
        {"DATABASE_URL": f"nosuch://kav:{DATABASE}@127.0.0.1/kav"},
        {"DATABASE_URL": f"postgresql://kav:{DATABASE}@127.0.0.1:notaport/kav"},
        {"REDIS_URL": f"http://:{REDIS}@127.0.0.1/0"},
        {"REDIS_URL": f"redis://:{REDIS}@127.0.0.1:notaport/0"},
        {"SMTP_URL": f"http://kav:{MAIL}@127.0.0.1"},
        {"SMTP_URL": f"smtp://kav:{MAIL}@127.0.0.1:notaport"},
        {"SMTP_URL": f"smtp://kav:{MAIL}/not-encoded@127.0.0.1:25"},
        {"SMTP_URL": f"smtp://kav:{MAIL}@[127.0.0.1:25"},
        {"TWILIO_SHARED_KEY": HOOK},
    ],
)
async def test_a_kav_that_refuses_its_settings_names_them_and_not_what_they_hold(setting: dict[str, str]) -> None:
    with pytest.raises(KavDied) as died:
        async with KavProcess({"OPENAI_API_KEY": OPENAI_KEY, **setting}):
            raise AssertionError("it has started")
    assert next(iter(setting)) in str(died.value)
    assert [secret for secret in SECRETS if secret in str(died.value)] == []
