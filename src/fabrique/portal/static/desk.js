// Everything works without this file. With it: an application is judged as it is typed, a log grows, a line is copied.
"use strict";

(() => {
  // <form data-live="ID">: two seconds after the last key the draft is saved; the answer replaces #ID. Without a
  // connection what was typed waits in this browser and is put back when the page is opened again.
  for (const form of document.querySelectorAll("form[data-live]")) {
    const target = document.getElementById(form.dataset.live);
    const said = form.querySelector("[data-saved]");
    const key = `draft:${location.pathname}`;
    let timer = 0;
    let turn = 0;
    const typed = () => [...new FormData(form)].filter(([name, value]) => typeof value === "string" && name !== "csrfmiddlewaretoken");

    const fits = () => {
      const kind = form.elements.namedItem("organisation_kind")?.value;
      for (const field of form.querySelectorAll("[data-only-for]")) {
        field.hidden = Boolean(kind) && !field.dataset.onlyFor.split(" ").includes(kind);
      }
    };

    const restore = () => {
      try {
        const waiting = JSON.parse(sessionStorage.getItem(key) || "[]");
        for (const [name, value] of waiting) {
          const field = form.elements.namedItem(name);
          if (field && "value" in field && !field.value) field.value = value;
        }
        if (waiting.length) timer = setTimeout(save, 500);
      } catch {
        sessionStorage.removeItem(key);
      }
    };

    const save = async () => {
      const mine = ++turn;
      const body = new FormData(form);
      body.set("action", "save");
      try {
        const answer = await fetch(location.pathname, { method: "POST", body, headers: { "X-Fragment": "1" }, credentials: "same-origin" });
        if (!answer.ok) throw new Error(String(answer.status));
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body;
        if (mine !== turn) return;
        sessionStorage.removeItem(key);
        if (target) target.replaceChildren(...fresh.childNodes);
        const at = target?.querySelector("[data-saved-at]");
        if (said && at) said.textContent = at.dataset.savedAt;
      } catch {
        sessionStorage.setItem(key, JSON.stringify(typed()));
        if (said) said.textContent = said.dataset.offline || "";
      }
    };

    form.addEventListener("input", () => {
      fits();
      clearTimeout(timer);
      timer = setTimeout(save, 1000);
    });
    form.addEventListener("submit", () => clearTimeout(timer));
    fits();
    restore();
  }

  // <pre data-log="/address" data-next="BYTES">: what follows is appended as text, never as markup
  const most = 512 * 1024;
  for (const log of document.querySelectorAll("pre[data-log]:not([data-end])")) {
    let next = log.dataset.next;
    const follow = async () => {
      let wait = 2000;
      try {
        const answer = document.hidden ? null : await fetch(`${log.dataset.log}?from=${next}`, { credentials: "same-origin" });
        if (answer?.ok) {
          const part = await answer.json();
          const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 24;
          if (part.text) {
            document.getElementById("log-empty")?.remove();
            log.textContent = (log.textContent + part.text).slice(-most);
            if (atEnd) log.scrollTop = log.scrollHeight;
            wait = 500;
          }
          next = part.next;
          if (part.end) return;
        } else if (answer && answer.status !== 404 && answer.status < 500) {
          return;
        }
      } catch {
        wait = 5000;
      }
      setTimeout(follow, wait);
    };
    setTimeout(follow, 1000);
  }
  // a job that was waiting when the page was opened has its log from the moment it starts
  const state = document.getElementById("state");
  if (state && document.getElementById("h-log") && !document.querySelector("pre[data-log]")) {
    new MutationObserver(() => {
      if (state.querySelector(".figures") && !document.hidden) location.reload();
    }).observe(state, { childList: true });
  }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    const source = document.getElementById(button.dataset.copy);
    if (!source || !navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = button.dataset.copied;
    });
  }
})();
