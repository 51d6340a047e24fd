"use strict";
// Light or dark, copy buttons, and the search. The pages are complete without this script.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";

  const stored = () => {
    try {
      return localStorage.getItem("parley:mode");
    } catch {
      return null; // storage is forbidden
    }
  };
  // Before the body is drawn, so that a dark page never flashes.
  root.dataset.mode = stored() ?? system;

  const startMode = () => {
    const button = document.getElementById("mode");
    const show = () => {
      button.textContent = root.dataset.mode === "dark" ? "Light" : "Dark";
      button.setAttribute("aria-label", `Switch to the ${button.textContent.toLowerCase()} colours`);
    };
    button.hidden = false;
    show();
    button.addEventListener("click", () => {
      root.dataset.mode = root.dataset.mode === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("parley:mode", root.dataset.mode);
      } catch {
        // It lasts until the next page.
      }
      show();
      // The API reference takes its colours when it is made.
      if (document.getElementById("reference")) location.reload();
    });
  };

  const startCopy = () => {
    if (!navigator.clipboard) return;
    for (const block of document.querySelectorAll("main pre")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(block.textContent);
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = "Copy"), 2000);
      });
      const frame = document.createElement("div");
      frame.className = "code";
      block.replaceWith(frame);
      frame.append(block, button);
    }
  };

  const matching = (entries, query) => {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const score = ({ page, title, text }) => {
      const heading = `${page} ${title}`.toLowerCase();
      const all = `${heading} ${text.toLowerCase()}`;
      if (!words.every((word) => all.includes(word))) return 0;
      return 1 + words.filter((word) => heading.includes(word)).length;
    };
    const found = entries.map((entry) => [score(entry), entry]).filter(([points]) => points > 0);
    return found.sort((one, other) => other[0] - one[0]).slice(0, 8).map(([, entry]) => entry);
  };

  const startSearch = () => {
    const query = document.getElementById("query");
    const list = document.getElementById("found");
    const count = document.getElementById("count");
    let entries;
    document.getElementById("search").hidden = false;

    const show = (found) => {
      list.replaceChildren(
        ...found.map(({ url, page, title }) => {
          const link = document.createElement("a");
          link.href = url;
          link.textContent = page === title ? title : `${page}: ${title}`;
          const item = document.createElement("li");
          item.append(link);
          return item;
        }),
      );
      list.hidden = found.length === 0;
      count.textContent = query.value.trim() === "" ? "" : found.length === 0 ? "Nothing found" : `${found.length} found`;
    };

    query.addEventListener("input", async () => {
      try {
        entries ??= (await fetch("/docs/search.json")).json();
        show(matching(await entries, query.value));
      } catch {
        entries = undefined;
        count.textContent = "The search could not be loaded. Try again.";
      }
    });
    document.addEventListener("keydown", (event) => {
      const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.target.isContentEditable;
      if (event.key === "/" && !typing && !document.getElementById("reference")) {
        event.preventDefault();
        query.focus();
      }
      if (event.key === "Escape" && document.getElementById("search").contains(event.target)) {
        query.value = "";
        show([]);
        query.focus();
      }
    });
  };

  document.addEventListener("DOMContentLoaded", () => {
    // On a small screen the guides are one row that scrolls.
    document.querySelector(".guides [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    startMode();
    startCopy();
    startSearch();
  });
})();
