// Keeps the table of live calls as it is: the server says what has changed, the seconds count on here.

import { listen } from "./connection.js";

const board = document.getElementById("board");
const rows = document.getElementById("calls");
const WRITTEN =
  ["who", "direction", "business", "step", "question", "speaker", "language", "barge_ins", "cost", "cost_note"];
let anew = false;
const began = new WeakMap(); // row -> when its call began, in this page's clock

function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor((whole % 3600) / 60);
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function part(row, name) {
  return row.querySelector(`[data-f="${name}"]`);
}

function write(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

function rowOf(sid) {
  return rows.querySelector(`tr[data-sid="${CSS.escape(sid)}"]`);
}

function newRow(call) {
  const row = document.getElementById("row").content.firstElementChild.cloneNode(true);
  row.dataset.sid = call.sid;
  part(row, "link").href = board.dataset.call.replace(/-$/, encodeURIComponent(call.sid));
  rows.prepend(row);
  return row;
}

function show(call) {
  const row = rowOf(call.sid) ?? newRow(call);
  for (const name of WRITTEN) write(part(row, name), call[name]);
  part(row, "question").title = call.question_id;
  part(row, "question").lang = call.question_language;
  part(row, "voice").className = `voice ${call.speaking}`;
  row.classList.toggle("over", call.over);
  began.set(row, performance.now() / 1000 - call.seconds);
  write(part(row, "clock"), clock(call.seconds));
}

function tick() {
  for (const row of rows.children) {
    if (!row.classList.contains("over")) write(part(row, "clock"), clock(performance.now() / 1000 - began.get(row)));
  }
}

function settle() {
  const some = rows.children.length > 0;
  document.getElementById("some").hidden = !some;
  document.getElementById("none").hidden = some;
}

function take(news) {
  if (anew) { // what is told now is all there is
    const there = new Set(news.calls.map((call) => call.sid));
    for (const row of [...rows.children]) if (!there.has(row.dataset.sid)) row.remove();
    anew = false;
  }
  for (const call of news.calls.reverse()) show(call);
  for (const sid of news.gone) rowOf(sid)?.remove();
  write(document.getElementById("live-count"), news.live);
  settle();
}

for (const row of rows.children) began.set(row, performance.now() / 1000 - Number(row.dataset.seconds));
setInterval(tick, 500);
listen(board.dataset.events, { heard: take, begun: () => { anew = true; } });
