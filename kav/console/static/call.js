// Keeps a call's page as it is: whenever the call moves, the page is fetched anew, and some times more after its end.
// What has moved after a rest is shown at once; a call that never rests is fetched every data-refresh-ms, and where only
// words follow words, half as often: whoever watches costs the calls as little as can be.

import { listen } from "./connection.js";
import { morph } from "./morph.js";

const SETTLES_MS = [2000, 6000, 20000]; // after the end: Twilio's status, the summary and the recording come late
const GIVE_UP_MS = 20000; // a connection that is lost without a word
const GATHER_MS = 250; // what happens in one moment is fetched once
const TURNS = 100000; // of a call's version: turns count so much, and letters one; see kav/console/live.py
const LOOK_EVERY_MS = 5000; // news of a call come from the process that carries it, and the page may listen to another

const page = document.getElementById("call");
let fetching = false, fetchedAt = -Infinity, next = 0, nextAt = Infinity, moved = 0, seen = "";
let settling = false, stop = null, later = 0;

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(GIVE_UP_MS) });
  if (answer.redirected) return location.reload(); // to the login
  if (!answer.ok) return;
  morph(page, new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("call"));
  follow();
}

async function catchUp() {
  fetching = true;
  nextAt = Infinity;
  moved = 0;
  await refresh().catch(() => {}); // nobody there: once they are, all is fetched anew
  fetching = false;
  fetchedAt = performance.now();
  if (moved) soon(moved);
  clearTimeout(later);
  if (stop) later = setTimeout(() => soon(), LOOK_EVERY_MS);
}

// A page that nobody sees waits until somebody does.
function whenSeen() {
  if (document.hidden) document.addEventListener("visibilitychange", whenSeen, { once: true });
  else catchUp();
}

// Fetches the page `gaps` times data-refresh-ms after it was fetched last, or now if that is past.
function soon(gaps = 1) {
  if (fetching) {
    moved = Math.min(gaps, moved || gaps);
    return;
  }
  const now = performance.now(), at = Math.max(now + GATHER_MS, fetchedAt + gaps * Number(page.dataset.refreshMs ?? 0));
  if (at >= nextAt) return;
  clearTimeout(next);
  nextAt = at;
  next = setTimeout(whenSeen, at - now);
}

// More has happened than that words follow words.
function turns(call) {
  const { speaking, question_id, over, language, barge_ins } = call, before = seen;
  seen = JSON.stringify([Math.floor(call.version / TURNS), speaking, question_id, over, language, barge_ins]);
  return seen !== before;
}

function settle() {
  if (settling) return;
  settling = true;
  for (const ms of SETTLES_MS) setTimeout(() => soon(), ms);
}

// Listens while the call goes on; one that was over may go on again, when nobody took it.
function follow() {
  if (page.dataset.events && !stop) {
    settling = false;
    stop = listen(page.dataset.events, {
      begun: () => soon(), // whatever happened while nobody listened
      heard(news) {
        const call = news.calls.find((each) => each.sid === page.dataset.sid);
        if (call) soon(turns(call) ? 1 : 2);
        else if (news.gone.includes(page.dataset.sid)) soon();
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
