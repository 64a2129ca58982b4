// What the pages do beside what they say: news by server-sent events, dropped files, times that go
// on. Every page works without it.
"use strict";

const skew = Date.now() - Date.parse(document.documentElement.dataset.now);
const now = () => Date.now() - skew; // the server's clock

// Times, as in words.py

function duration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  for (const [unit, size, nextUnit, nextSize] of [
    ["d", 86400, "h", 3600],
    ["h", 3600, "min", 60],
    ["min", 60, "s", 1],
  ]) {
    if (whole < size) continue;
    const rest = Math.floor((whole % size) / nextSize);
    return `${Math.floor(whole / size)} ${unit}` + (rest ? ` ${rest} ${nextUnit}` : "");
  }
  return `${whole} s`;
}

function age(seconds) {
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 2 * 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

// Of 24 hours, as every time that the server writes.
const time = { timeStyle: "medium", hourCycle: "h23" };
const clock = new Intl.DateTimeFormat(undefined, { ...time, dateStyle: "medium" });
const hours = new Intl.DateTimeFormat(undefined, time);

function show(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  for (const one of document.querySelectorAll("time[data-age]"))
    show(one, age((now() - Date.parse(one.dateTime)) / 1000));
  for (const one of document.querySelectorAll("[data-since]"))
    show(one, duration(Math.round(Math.max(now() - Date.parse(one.dataset.since), 0) / 1000)));
}

function localise() {
  let day = "";
  let list = null;
  for (const one of document.querySelectorAll("time[data-local]")) {
    const at = new Date(one.dateTime);
    const around = one.closest("dl, ul, table, section");
    one.title = one.dateTime;
    // The day is left out where the time before it, in the same list, has it.
    const isSaid = around === list && at.toDateString() === day && !one.dataset.local;
    show(one, (isSaid ? hours : clock).format(at));
    day = at.toDateString();
    list = around;
  }
  for (const one of document.querySelectorAll("[data-whole]"))
    show(one, new URL(one.textContent, location).href);
  tick();
}

// Streams: open while the page is seen, and opened again when the server comes back

const RETRY = 5000;
let leave = () => {};

function say(text) {
  document.getElementById("say").textContent = text;
}

function listen(url, news) {
  let source = null;
  let later = 0;
  const line = document.querySelector("[data-live]");
  const tell = (text) => {
    if (!line) return;
    line.hidden = !text;
    show(line, text);
  };
  const close = () => {
    clearTimeout(later);
    source?.close();
    source = null;
  };
  const open = () => {
    close();
    if (document.hidden) return;
    source = new EventSource(url);
    source.onopen = () => tell("");
    source.onerror = () => {
      tell("No connection; trying again …");
      // The browser itself tries again after a lost connection, but not after an error's answer.
      if (source?.readyState === EventSource.CLOSED) later = setTimeout(open, RETRY);
    };
    for (const [name, hear] of Object.entries(news)) {
      source.addEventListener(name, (event) => hear(JSON.parse(event.data)));
    }
  };
  const back = (event) => event.persisted && open();
  document.addEventListener("visibilitychange", open);
  addEventListener("pagehide", close);
  addEventListener("pageshow", back);
  open();
  return () => {
    close();
    document.removeEventListener("visibilitychange", open);
    removeEventListener("pagehide", close);
    removeEventListener("pageshow", back);
  };
}

// Fragments are rendered by the server, and escaped there.

function replace(part, html) {
  const known = new Set([...part.querySelectorAll("[data-key]")].map((one) => one.dataset.key));
  const focused = part.contains(document.activeElement)
    ? document.activeElement.getAttribute("href")
    : null;
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  for (const one of fresh.content.querySelectorAll("[data-key]"))
    if (!known.has(one.dataset.key)) one.classList.add("fresh");
  const ticked = new Map(
    [...part.querySelectorAll("input:checked")].map((one) => [one.value, one.closest("li")]),
  );
  part.replaceChildren(fresh.content);
  for (const one of part.querySelectorAll("input[type=checkbox]"))
    one.checked = ticked.delete(one.value);
  // What is ticked stays, below the others, though newer ones have taken its place.
  part.querySelector(".jobs")?.append(...ticked.values());
  if (focused) part.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  tick();
}

// A press whose element goes away before it is released is no click: news wait until then.
const held = new Map();
let isPressed = false;

addEventListener("pointerdown", () => (isPressed = true), true);
for (const end of ["pointerup", "pointercancel"])
  addEventListener(
    end,
    () =>
      setTimeout(() => {
        isPressed = false;
        for (const take of held.values()) take();
        held.clear();
      }),
    true,
  );

function unpressed(part, take) {
  return (html) => (isPressed ? held.set(part, () => take(html)) : take(html));
}

function overview(board) {
  const news = {};
  let heard = false;
  for (const part of board.querySelectorAll("[data-part]")) {
    news[part.dataset.part] = unpressed(part, (html) => {
      const before = part.querySelector(".health strong")?.textContent;
      replace(part, html);
      const after = part.querySelector(".health strong")?.textContent;
      if (after !== before) say(part.textContent.trim());
      if (part.dataset.part !== "jobs") return;
      const first = heard && part.querySelector("li.fresh");
      if (first) {
        const name = first.querySelector("a").textContent;
        say(`${name}: ${first.querySelector(".status").textContent}`);
      }
      heard = true;
    });
  }
  return listen(board.dataset.stream, news);
}

// A job

let shownFor = "";

function job(main) {
  const status = main.dataset.status;
  const log = main.querySelector("[data-log]");
  const bar = main.querySelector("[data-progress]");
  const cells = main.querySelector("[data-cells]");
  let waits = null;
  const wait = (why = "") => {
    const isNew = !("accepted" in main.dataset) && shownFor !== main.dataset.job;
    if (isNew || (waits !== null && waits !== why)) {
      shownFor = main.dataset.job; // as accepted: once
      renew();
    }
    waits = why;
  };
  return listen(main.dataset.job, {
    state: (found) => {
      if (found.status !== status) renew();
    },
    progress: (found) => {
      if (found.status === "queued") wait(found.waits_for);
      if (found.status !== "running" || !found.cells) return;
      bar.max = found.cells;
      bar.value = Math.max(found.cell - 1, 0);
      show(cells, `Cell ${found.cell} of ${found.cells}`);
      const below = log.scrollHeight - log.scrollTop - log.clientHeight;
      show(log, found.log_tail ?? "");
      if (below < 30) log.scrollTop = log.scrollHeight;
    },
    result: () => renew(),
  });
}

async function renew() {
  leave();
  leave = () => {};
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = document.getElementById("main");
    const hadFocus = main.contains(document.activeElement);
    main.replaceChildren(...page.getElementById("main").childNodes);
    document.title = page.title;
    if (hadFocus) main.querySelector("h1")?.focus();
    say(page.title);
    start();
  } catch {
    location.reload();
  }
}

// Files

// A notebook with files: its form comes into this page, which keeps the files until it is sent.
async function together(form, notebook, files, error) {
  const body = new FormData();
  body.append("file", notebook);
  try {
    const answer = await fetch(form.action, { method: "POST", body });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.title = page.title;
    for (const part of ["header", "main"])
      document.querySelector(part).replaceWith(document.adoptNode(page.querySelector(part)));
    const field = document.querySelector("#files");
    if (!field) return;
    const kept = new DataTransfer();
    for (const file of files) if (file !== notebook) kept.items.add(file);
    field.files = kept.files;
    scrollTo(0, 0);
  } catch (problem) {
    error.textContent = `It could not be sent: ${problem.message}.`;
  }
}

function dropping(form) {
  const input = form.querySelector("input[type=file]");
  const error = form.querySelector("[data-drop-error]");
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  const over = (is) => document.body.classList.toggle("over", is);
  const send = () => {
    const files = [...input.files];
    if (!files.length) return;
    const notebooks = files.filter((file) => /\.ipynb$/i.test(file.name));
    const only = files.length === 1 && /\.json$/i.test(files[0].name) ? files : notebooks;
    error.textContent = "";
    if (only.length === 1 && files.length === 1) form.requestSubmit();
    else if (only.length === 1) together(form, only[0], files, error);
    else {
      const zip = files.find((file) => /\.zip$/i.test(file.name));
      error.textContent = only.length
        ? "Choose one notebook, and the files that it needs."
        : zip
          ? `${zip.name} is a ZIP file: put it into the inbox folder. Here, and by curl -F, ` +
            "choose the notebook in it together with its files."
          : `${files[0].name} is no notebook: its name must end in .ipynb.`;
      input.value = "";
    }
  };
  input.addEventListener("change", send);
  document.addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) over(false);
  });
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    over(false);
    input.files = event.dataTransfer.files;
    send();
  });
}

// The frame of a notebook is as high as the notebook, up to what the sheet gives it

function fit(frame) {
  const measure = () => {
    const page = frame.contentDocument;
    if (!page?.documentElement || page.URL === "about:blank") return;
    frame.style.height = "0";
    const needed = page.documentElement.scrollHeight + 2;
    frame.style.height = "";
    if (needed < frame.offsetHeight) frame.style.height = `${needed}px`;
  };
  const notice = frame.parentElement.querySelector("[data-rendering]");
  const now = frame.contentDocument;
  notice.hidden = Boolean(now && now.URL !== "about:blank" && now.readyState === "complete");
  frame.addEventListener("load", () => {
    notice.hidden = true;
    measure();
  });
  measure();
}

// Forms are sent once

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.classList.contains("sent")) event.preventDefault();
  else if (form.method === "post") form.classList.add("sent");
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form.sent")) form.classList.remove("sent");
});
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

function start() {
  localise();
  const board = document.querySelector("[data-stream]");
  const running = document.querySelector("[data-job]");
  if (board) leave = overview(board);
  if (running) leave = job(running);
  for (const frame of document.querySelectorAll("[data-fit]")) fit(frame);
}

setInterval(tick, 1000);
start();
for (const form of document.querySelectorAll("[data-drop]")) dropping(form);
document.querySelector("[data-focus]")?.focus();
