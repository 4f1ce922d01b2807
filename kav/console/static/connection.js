// Hears what the server tells of live calls, shows whether it is heard, and asks again for as long as the page is open.

const ASK_AGAIN_MS = 5000;

function tell(on) {
  const label = document.getElementById("connection");
  if (!label) return;
  label.className = `end connection ${on ? "on" : "off"}`;
  const words = on ? label.dataset.on : label.dataset.off;
  if (label.textContent !== words) label.textContent = words;
}

// A login that has ended shows as a page that leads elsewhere; anything else passes.
async function lookIn() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (answer.redirected) location.reload();
}

// `heard` takes each piece of news, `begun` is called whenever the server begins to tell; `refused` when it is not lost
// but would not tell (enough viewers, Kav about to stop), before it is asked again. Returns what ends it.
export function listen(url, { heard, begun = () => {}, refused = lookIn }) {
  let source, over = false;

  async function again() {
    if (over) return;
    await refused().catch(() => {}); // nobody there: asking again is all one can do
    if (!over) open();
  }

  function open() {
    source = new EventSource(url);
    source.onopen = () => { tell(true); begun(); };
    source.onmessage = (event) => heard(JSON.parse(event.data));
    source.onerror = () => {
      tell(false);
      if (source.readyState === EventSource.CLOSED) setTimeout(again, ASK_AGAIN_MS);
    };
  }

  open();
  return () => { over = true; source.close(); };
}
