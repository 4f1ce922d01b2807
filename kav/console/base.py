"""What every page of the console has: its language, its form token, the sections, an answer when something fails."""

import logging
from collections.abc import Callable
from typing import Any, Final, NoReturn
from zoneinfo import ZoneInfo

from flask import Blueprint, Flask, Response, abort, current_app, g, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException, TooManyRequests
from werkzeug.wrappers import Response as AnyResponse

from kav.console.assets import Assets
from kav.console.door import Door, inside
from kav.console.texts import DEFAULT, Texts, direction
from kav.console.words import Words
from kav.records.errors import RecordsError

LANGUAGE_COOKIE: Final = "kav_language"
YEAR_S: Final = 365 * 24 * 3600
SECTIONS: Final = ("live", "calls", "today", "flows", "phone")
TRIED_NOW: Final = 429

log = logging.getLogger(__name__)


class Base:
    """Login, language, layout and errors of the blueprint `console`."""

    def __init__(self, door: Door, texts: Texts, timezone: str) -> None:
        self.door = door
        self.texts = texts
        self.zone = ZoneInfo(timezone)
        self.assets = Assets()

    def blueprint(self) -> Blueprint:
        """Return the blueprint with all that does not depend on a page; pages are added to it."""
        pages = Blueprint("console", __name__, url_prefix="/console", template_folder="templates")
        pages.before_request(self.door.guard)
        pages.after_request(self.door.harden)
        pages.context_processor(self.context)
        pages.register_error_handler(Exception, self.failed)
        pages.add_url_rule("/static/<path:name>", "static_file", self.assets.serve)
        pages.add_url_rule("/login", "login", self.login, methods=["GET", "POST"])
        pages.add_url_rule("/logout", "logout", self.logout, methods=["POST"])
        pages.add_url_rule("/language/<code>", "language", self.language)
        pages.add_url_rule("/<path:_rest>", "nothing", _nothing)
        return pages

    def context(self) -> dict[str, Any]:
        """Return what every template may use: `t(key, ...)` is a text, `named(group, word)` a name, `w` the rest."""
        language, words = self.current_language(), self.words()
        others = [code for code in self.texts.languages if code != language]
        return {
            "lang": language,
            "dir": direction(language),
            "other_language": others[0],
            "t": words.text,
            "named": words.name,
            "w": words,
            "asset": self.assets.url,
            "csrf": self.door.forms.token() if self.door.open else "",
            "logged_in": self.door.open and self.door.logged_in,
            "sections": [(name, f"console.{name}") for name in SECTIONS if _is_there(f"console.{name}")],
            "section": g.get("section", ""),
            "here": request.full_path.rstrip("?") if request.method == "GET" else "",
        }

    def words(self) -> Words:
        """Return how this reader is told things."""
        return Words(self.texts, self.current_language(), self.zone)

    def translator(self) -> Callable[..., str]:
        """Return the function that gives texts in the language of this request."""
        language = self.current_language()
        return lambda key, **values: self.texts.text(language, key, **values)

    def current_language(self) -> str:
        """Return the language that the operator chose, or that their browser prefers."""
        chosen = request.cookies.get(LANGUAGE_COOKIE, "")
        if chosen in self.texts.languages:
            return chosen
        return request.accept_languages.best_match(self.texts.languages, DEFAULT) or DEFAULT

    # Pages that need no login

    def login(self) -> AnyResponse | tuple[str, int] | str:
        """Ask for the password, or take it."""
        asked = inside(request.values.get("next", ""))
        if request.method == "GET":
            return redirect(asked, 303) if self.door.logged_in else render_template("login.html", next=asked)
        wait_s = self.door.log_in(request.form.get("password", ""))
        if wait_s is None:
            return redirect(asked, 303)
        t = self.translator()
        if wait_s:
            message = t("login.wait", seconds=round(wait_s) + 1)
            page = render_template("login.html", next=asked, message=message)
            raise TooManyRequests(response=Response(page, TRIED_NOW, {"Retry-After": str(round(wait_s) + 1)}))
        return render_template("login.html", next=asked, message=t("login.wrong")), 403

    def logout(self) -> AnyResponse:
        """End the session."""
        self.door.log_out()
        return redirect(url_for("console.login"), 303)

    def language(self, code: str) -> AnyResponse:
        """Choose the language of the screens."""
        response = redirect(inside(request.args.get("next", "")), 303)
        if code in self.texts.languages:
            secure = self.door.secure
            response.set_cookie(LANGUAGE_COOKIE, code, max_age=YEAR_S, secure=secure, httponly=True, samesite="Lax")
        return response

    def failed(self, error: Exception) -> HTTPException | tuple[str, int]:
        """Answer a request that failed: in words, and never with what went wrong inside."""
        if isinstance(error, HTTPException) and (error.response is not None or (error.code or 500) < 400):
            return error  # it is an answer, or a redirect of the router's own
        t, code = self.translator(), error.code or 500 if isinstance(error, HTTPException) else 500
        if not isinstance(error, HTTPException):
            log.error("the console failed at %s", request.path, exc_info=error)
        if isinstance(error, RecordsError) or "sqlalchemy" in type(error).__module__:
            return render_template("error.html", message=t("error.database")), 503
        key = f"error.{code}" if code in (403, 404, 503) else "error.other"
        return render_template("error.html", message=t(key, code=code)), code


def _is_there(endpoint: str) -> bool:
    return endpoint in current_app.view_functions


def _nothing(_rest: str) -> NoReturn:
    """Answer for a page that there is not, with the console's own headers."""
    abort(404)


def warm_up(app: Flask, pages: Blueprint) -> None:
    """Compile every template now: the first request would do it while calls wait."""
    loader = pages.jinja_loader
    if loader is not None:
        for name in loader.list_templates():
            app.jinja_env.get_template(name)
