// What is nicer with a script; every page works without it.
(() => {
  "use strict";
  const words = document.body.dataset;
  const language = document.documentElement.lang;

  // --- times: how long ago, kept up to date
  const spans = [[86400, "day"], [3600, "hour"], [60, "minute"]];
  const relative = new Intl.RelativeTimeFormat(language, { numeric: "always", style: "short" });
  const age = () => {
    for (const node of document.querySelectorAll("[data-at]")) {
      const seconds = (new Date(node.dataset.at) - Date.now()) / 1000;
      const size = Math.abs(seconds);
      const [length, unit] = spans.find(([length]) => size >= (length === 86400 ? 172800 : length)) ?? [60, "minute"];
      if (size >= 60) node.textContent = relative.format(Math.trunc(seconds / length), unit);
    }
  };
  setInterval(age, 30000);

  // --- copying; without a secure context the browser selects the text instead
  const copyButtons = (root) => {
    for (const node of root.querySelectorAll("[data-copy]")) {
      if (node === document.body || node.nextElementSibling?.classList.contains("copy")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet copy";
      button.textContent = words.copy;
      button.setAttribute("aria-label", `${words.copy}: ${node.textContent.slice(0, 60)}`);
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(node.textContent);
          button.textContent = words.copied;
        } catch {
          getSelection().selectAllChildren(node);
        }
      });
      node.after(button);
    }
  };

  // --- selecting all rows of a list
  const selections = (root) => {
    for (const all of root.querySelectorAll("input[data-all]")) {
      const boxes = () => all.form.querySelectorAll("input[name=id]");
      all.closest("[hidden]")?.removeAttribute("hidden");
      all.addEventListener("change", () => boxes().forEach((box) => { box.checked = all.checked; }));
    }
  };

  // --- reading the page's main part again from time to time, until it is paused
  const main = document.getElementById("main");
  const button = document.getElementById("refresh");
  const every = 10000;
  let paused = sessionStorage.getItem("paused") === "yes";
  const label = () => { button.textContent = paused ? words.go : words.pause; };
  const busy = () =>
    document.hidden || main.querySelector("details[open], input:checked, select:focus, input:focus, button:focus") || getSelection().toString() !== "";
  const say = (text) => { document.getElementById("news").textContent = text; };
  const news = () => main.querySelector("[data-news]")?.textContent;
  const read = async () => {
    if (paused || busy()) return;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "error" });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.getElementById("main");
      if (!next || busy()) return;
      const before = news();
      main.replaceChildren(...next.childNodes);
      if (news() !== before) say(news());
      document.getElementById("updated").textContent = page.getElementById("updated").textContent;
      enliven(main);
    } catch {
      paused = true;
      label();
      document.getElementById("updated").textContent = words.stopped;
      say(words.stopped);
    }
  };
  const enliven = (root) => { copyButtons(root); selections(root); };
  enliven(document);
  if (main && button && "live" in main.dataset) {
    button.hidden = false;
    label();
    button.addEventListener("click", () => {
      paused = !paused;
      sessionStorage.setItem("paused", paused ? "yes" : "no");
      label();
      if (!paused) { button.blur(); read(); }
    });
    setInterval(read, every);
  }
})();
