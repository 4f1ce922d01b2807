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
// A page that nobody sees listens to nothing: browsers open few connections to one host (HTTP/1.1: six), and a page that
// somebody does see needs one.
export function listen(url, { heard, begun = () => {}, refused = lookIn }) {
  let source = null, later = 0, over = false;

  async function again() {
    later = 0;
    await refused().catch(() => {}); // nobody there: asking again is all one can do
    open();
  }

  function open() {
    if (over || document.hidden || source || later) return;
    const opened = source = new EventSource(url);
    opened.onopen = () => { tell(true); begun(); };
    opened.onmessage = (event) => heard(JSON.parse(event.data));
    opened.onerror = () => {
      tell(false);
      if (opened.readyState !== EventSource.CLOSED) return; // it tries again by itself
      source = null;
      later = setTimeout(again, ASK_AGAIN_MS);
    };
  }

  function close() {
    source?.close();
    source = null;
    clearTimeout(later);
    later = 0;
  }

  const seen = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", seen);
  open();
  return () => {
    over = true;
    document.removeEventListener("visibilitychange", seen);
    close();
  };
}
