// Keeps the page of a call that goes on as it is: whenever the call moves, the page is fetched anew.

import { listen } from "./connection.js";
import { morph } from "./morph.js";

const page = document.getElementById("call");
let waiting = false, moved = false;

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (answer.redirected) return location.reload(); // to the login
  if (!answer.ok) return;
  morph(page, new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("call"));
  if (!page.dataset.events) stop(); // it is over
}

async function catchUp() {
  moved = false;
  await refresh().catch(() => {}); // nobody there: once they are, all is fetched anew
  waiting = false;
  if (moved) soon();
}

// A page that nobody sees waits until somebody does.
function whenSeen() {
  if (document.hidden) document.addEventListener("visibilitychange", whenSeen, { once: true });
  else catchUp();
}

function soon() {
  moved = true;
  if (!waiting) setTimeout(whenSeen, Number(page.dataset.refreshMs));
  waiting = true;
}

const stop = listen(page.dataset.events, {
  begun: soon, // whatever happened while nobody listened
  heard(news) {
    if (news.gone.includes(page.dataset.sid) || news.calls.some((call) => call.sid === page.dataset.sid)) soon();
  },
  refused: refresh,
});
