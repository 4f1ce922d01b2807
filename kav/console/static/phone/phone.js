// The page: its buttons, its keys, and what it shows of a call.

import { Call, NotPlaced } from "./call.js";

const KEYS = "0123456789*#";
const SOUNDS_S = 0.02; // more than this is still to be played: the bot has not ended

const find = (id) => document.getElementById(id);
const phone = find("phone");
const words = find("words").dataset;
let began = 0;
let ticking = 0;

/** The call that is going on, or was last; for whoever looks at it from outside. */
export let call = null;

const show = {
  silent(unwillingly) {
    find("no-microphone").hidden = !unwillingly;
    find("mute").hidden = true;
    find("line").focus();
  },
  level({ waiting }) {
    if (waiting > SOUNDS_S) say("bot");
    else if (find("lamp").dataset.state === "bot") say("nobody");
  },
  talk(state) {
    for (const turn of state.turns) showTurn(turn);
    if (state.speaking !== "bot") say(state.speaking);
  },
  over(state) {
    clearInterval(ticking);
    find("in-call").hidden = find("typed").hidden = true;
    find("place").hidden = false;
    const lines = state ? [phone.dataset.ended, state.why, state.epilogue, state.rings] : [phone.dataset.lost];
    find("epilogue").replaceChildren(...lines.filter(Boolean).map(paragraph));
    if (state) find("epilogue").append(linkTo(state.record, find("epilogue").dataset.record));
    find("epilogue").hidden = false;
    find("place").querySelector("button").focus();
  },
};

function paragraph(text) {
  const made = document.createElement("p");
  made.dir = "auto";
  made.textContent = text;
  return made;
}

function linkTo(url, text) {
  const made = document.createElement("a");
  made.href = url;
  made.textContent = text;
  return made;
}

function say(state) {
  if (find("lamp").dataset.state === state) return;
  find("lamp").dataset.state = state;
  find("phone-state").textContent = phone.dataset[state];
}

function showTurn({ number, who, language, heard, unheard }) {
  const list = find("turns");
  const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const item = list.querySelector(`[data-number="${number}"]`) ?? addTurn(list, number, who);
  for (const words of item.querySelectorAll(".heard, .lost")) words.lang = language;
  put(item.querySelector(".heard"), heard || (unheard ? "" : "…"));
  put(item.querySelector(".lost"), unheard);
  item.querySelector(".unheard").hidden = !unheard;
  if (follows) list.scrollTop = list.scrollHeight;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function addTurn(list, number, who) {
  find("nothing-yet").hidden = true;
  const item = find("turn").content.firstElementChild.cloneNode(true);
  item.dataset.number = number;
  item.classList.add(who);
  item.querySelector("strong").textContent = words[who];
  list.append(item);
  return item;
}

function showClock() {
  const seconds = Math.floor((performance.now() - began) / 1000);
  find("clock").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function trouble(text) {
  find("trouble").textContent = text;
  find("trouble").hidden = !text;
}

async function place(event) {
  event.preventDefault();
  const button = find("place").querySelector("button");
  button.disabled = true;
  trouble("");
  find("epilogue").hidden = find("no-microphone").hidden = true;
  find("mute").hidden = false;
  find("mute").setAttribute("aria-pressed", "false");
  find("turns").replaceChildren();
  find("nothing-yet").hidden = false;
  call = new Call(show);
  try {
    await call.place(find("place"), find("use-microphone").checked);
    begin();
  } catch (error) {
    const code = error instanceof NotPlaced ? error.status : error.name;
    trouble(error instanceof NotPlaced && error.message ? error.message : phone.dataset.failed.replace("{code}", code));
  } finally {
    button.disabled = false;
  }
}

function begin() {
  find("place").hidden = true;
  find("in-call").hidden = find("typed").hidden = false;
  find("keypad").open = matchMedia("(min-width: 52rem)").matches; // on a telephone the words come first
  say("calling");
  began = performance.now();
  ticking = setInterval(showClock, 500);
  showClock();
  find("line").focus();
}

function chooseFlow() {
  for (const fields of document.querySelectorAll("[data-flow]")) {
    fields.hidden = fields.disabled = fields.dataset.flow !== find("flow").value;
  }
}

function type(event) {
  event.preventDefault();
  const text = find("line").value.trim();
  if (text) call.type(text);
  find("line").value = "";
}

function mute() {
  const muted = find("mute").getAttribute("aria-pressed") !== "true";
  find("mute").setAttribute("aria-pressed", String(muted));
  call.mute(muted);
}

function press(event) {
  const typing = event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey;
  if (!typing && !find("in-call").hidden && KEYS.includes(event.key)) call.press(event.key);
}

find("place").addEventListener("submit", place);
find("flow").addEventListener("change", chooseFlow);
find("typed").addEventListener("submit", type);
find("mute").addEventListener("click", mute);
find("hang-up").addEventListener("click", () => call.hangUp());
for (const key of document.querySelectorAll("[data-key]")) {
  key.addEventListener("click", () => call.press(key.dataset.key));
}
document.addEventListener("keydown", press);
addEventListener("pagehide", () => call?.hangUp());
chooseFlow();
find("insecure").hidden = window.isSecureContext;
find("place").querySelector("button").disabled = !window.isSecureContext;
