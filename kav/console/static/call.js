// Keeps a call's page as it is: whenever the call moves, the page is fetched anew, and some times more after its end.

import { listen } from "./connection.js";
import { morph } from "./morph.js";

const SETTLES_MS = [2000, 6000, 20000]; // after the end: Twilio's status, the summary and the recording come late
const LOOK_EVERY_MS = 5000; // news of a call come from the process that carries it, and the page may listen to another

const page = document.getElementById("call");
let waiting = false, moved = false, settling = false, stop = null, later = 0;

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (answer.redirected) return location.reload(); // to the login
  if (!answer.ok) return;
  morph(page, new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("call"));
  follow();
}

async function catchUp() {
  moved = false;
  await refresh().catch(() => {}); // nobody there: once they are, all is fetched anew
  waiting = false;
  if (moved) soon();
  clearTimeout(later);
  if (stop) later = setTimeout(soon, LOOK_EVERY_MS);
}

// A page that nobody sees waits until somebody does.
function whenSeen() {
  if (document.hidden) document.addEventListener("visibilitychange", whenSeen, { once: true });
  else catchUp();
}

function soon() {
  moved = true;
  if (!waiting) setTimeout(whenSeen, Number(page.dataset.refreshMs ?? 0));
  waiting = true;
}

function settle() {
  if (settling) return;
  settling = true;
  for (const ms of SETTLES_MS) setTimeout(soon, ms);
}

// Listens while the call goes on; one that was over may go on again, when nobody took it.
function follow() {
  if (page.dataset.events && !stop) {
    settling = false;
    stop = listen(page.dataset.events, {
      begun: soon, // whatever happened while nobody listened
      heard(news) {
        if (news.gone.includes(page.dataset.sid) || news.calls.some((call) => call.sid === page.dataset.sid)) soon();
      },
      refused: refresh,
    });
  } else if (!page.dataset.events) {
    stop?.();
    stop = null;
    if ("settles" in page.dataset) settle();
  }
}

follow();
