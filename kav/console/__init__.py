"""The operator's pages: live calls, past calls, today's figures, flow files. docs/console.md shows them.

Rendered on the server, without a build step; what a browser needs besides is in `static/`. No page waits for anything
on the media path, and none of them decides anything about a call but its end.
"""

from kav.console.door import Door
from kav.console.pages import Console, init_app

__all__ = ["Console", "Door", "init_app"]
