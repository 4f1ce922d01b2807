// Keeps the page of a call that goes on as it is: whenever the call moves, the page's middle is fetched anew.

const page = document.getElementById("call");
const WAIT_MS = 700;
let waiting = false;

async function refresh() {
  waiting = false;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return location.reload();
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("call");
  const now = document.getElementById("call");
  const open = [...now.querySelectorAll("details")].map((details) => details.open);
  const at = now.querySelector(".timeline .scroll")?.scrollLeft;
  const focused = document.activeElement?.id;
  now.replaceWith(document.adoptNode(fresh));
  fresh.querySelectorAll("details").forEach((details, number) => { details.open = open[number] ?? details.open; });
  if (at !== undefined && fresh.querySelector(".timeline .scroll")) fresh.querySelector(".timeline .scroll").scrollLeft = at;
  if (focused) document.getElementById(focused)?.focus();
  if (!fresh.dataset.events) source.close();
}

function soon() {
  if (!waiting) setTimeout(refresh, WAIT_MS);
  waiting = true;
}

const source = new EventSource(page.dataset.events);
source.onmessage = (event) => {
  const news = JSON.parse(event.data);
  if (news.gone.includes(page.dataset.sid) || news.calls.some((call) => call.sid === page.dataset.sid)) soon();
};
