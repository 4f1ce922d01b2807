// Makes a part of the page the same as another, and leaves alone what is the same already: focus, selection, places
// scrolled to, what is unfolded, and a recording that plays stay as they are.

function alike(now, wanted) {
  return now.nodeType === wanted.nodeType && now.nodeName === wanted.nodeName && (now.id ?? "") === (wanted.id ?? "");
}

function setAttributes(now, wanted) {
  const own = (name) => name === "open" && now.nodeName === "DETAILS"; // the reader's
  for (const { name } of [...now.attributes]) if (!wanted.hasAttribute(name) && !own(name)) now.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
}

function setChildren(now, wanted) {
  const named = new Set([...wanted.children].map((child) => child.id).filter(Boolean));
  for (const child of [...now.children]) if (child.id && !named.has(child.id)) child.remove();
  let at = now.firstChild;
  for (const child of [...wanted.childNodes]) {
    let found = at;
    while (found && !alike(found, child)) found = found.nextSibling;
    if (!found) {
      now.insertBefore(document.adoptNode(child), at);
      continue;
    }
    while (at !== found) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
    at = found.nextSibling;
    morph(found, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// `now` becomes as `wanted`, which is used up; what has `data-keep` is kept as it is.
export function morph(now, wanted) {
  if (now.nodeType !== Node.ELEMENT_NODE) {
    if (now.data !== wanted.data) now.data = wanted.data;
  } else if (!now.hasAttribute("data-keep")) {
    setAttributes(now, wanted);
    setChildren(now, wanted);
  }
}
