// Everything works without this file. With it: parts refresh quietly, "/" finds the search, drafts save themselves.
"use strict";

(() => {
  const opened = (part) => [...part.querySelectorAll("details[open]")].map((d) => d.id || d.dataset.key);

  // <section id="now" data-refresh="30">: fetched again every 30 s while the page is looked at, replaced if it changed
  async function refresh(part) {
    if (document.hidden || part.contains(document.activeElement)) return;
    try {
      const answer = await fetch(location.href, { headers: { "X-Part": part.id }, credentials: "same-origin" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id);
      if (!fresh || fresh.innerHTML === part.innerHTML) return;
      // nothing is to change any more: what stands around this part is read once more too
      if (!fresh.dataset.refresh) return location.reload();
      const open = opened(part);
      for (const d of fresh.querySelectorAll("details")) d.open = open.includes(d.id || d.dataset.key);
      part.replaceChildren(...fresh.childNodes);
    } catch {
      // the next turn tries again
    }
  }

  for (const part of document.querySelectorAll("[data-refresh][id]")) {
    const seconds = Math.max(Number(part.dataset.refresh) || 30, 2);
    setInterval(() => refresh(part), seconds * 1000);
  }

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const search = document.getElementById("search");
    if (!search) return;
    event.preventDefault();
    const menu = document.getElementById("menu");
    if (menu) menu.checked = true;
    search.focus();
  });

  document.addEventListener("click", (event) => {
    for (const drop of document.querySelectorAll("details.drop[open]")) {
      if (!drop.contains(event.target)) drop.open = false;
    }
  });

  // <form data-draft="/address">: what is typed is sent there a second after the last key; the answer's `saved` is
  // shown in [data-saved]. Without a connection the text waits in this browser and is put back.
  for (const form of document.querySelectorAll("form[data-draft]")) {
    const key = `draft:${form.dataset.draft}`;
    const said = form.querySelector("[data-saved]");
    let timer = 0;
    const fields = () => [...new FormData(form)].filter(([name, value]) => typeof value === "string" && name !== "csrfmiddlewaretoken");
    try {
      for (const [name, value] of JSON.parse(sessionStorage.getItem(key) || "[]")) {
        const field = form.elements.namedItem(name);
        if (field && "value" in field && !field.value) field.value = value;
      }
    } catch {
      sessionStorage.removeItem(key);
    }
    const save = async () => {
      try {
        const answer = await fetch(form.dataset.draft, { method: "POST", body: new FormData(form), credentials: "same-origin" });
        if (!answer.ok) throw new Error(String(answer.status));
        sessionStorage.removeItem(key);
        if (said) said.textContent = (await answer.json()).saved || "";
      } catch {
        sessionStorage.setItem(key, JSON.stringify(fields()));
        if (said) said.textContent = said.dataset.offline || "";
      }
    };
    form.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(save, 1000);
    });
  }
})();
