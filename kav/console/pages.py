"""The console's pages."""

from dataclasses import dataclass

from flask import Flask, render_template

from kav.console.base import Base, warm_up
from kav.console.door import Door
from kav.console.texts import load_texts
from kav.flow_files import Flows
from kav.records import Records
from kav.settings import Settings


@dataclass(frozen=True, slots=True)
class Console:
    """The console of one installation, and what it looks at."""

    settings: Settings
    records: Records
    flows: Flows
    door: Door

    def live(self) -> str:
        """Calls that are going on."""
        return render_template("live.html")


def init_app(app: Flask, console: Console) -> None:
    """Register the console's pages."""
    console.door.init_app(app)
    base = Base(console.door, load_texts())
    pages = base.blueprint()
    pages.add_url_rule("/", "live", console.live)
    app.register_blueprint(pages)
    warm_up(app, pages)
