/**
 * The loader: one script on the host page. It shows a launcher, makes the calls that need the publishable key, and
 * opens the conversation in a frame of the gateway's own origin.
 */

import { Backend } from "./backend";
import { runCommand } from "./commands";
import { Widget } from "./widget";

interface Queue {
  (...command: unknown[]): void;
  q?: ArrayLike<unknown>[];
  widget?: Widget;
}

declare global {
  interface Window {
    Parley?: Queue;
  }
}

const script = document.currentScript as HTMLScriptElement | null;

function start(): void {
  const key = script?.dataset.parleyKey ?? "";
  const before = window.Parley;
  // A second copy of the script, for example after a navigation within the page: the first one goes on.
  if (before?.widget) return;
  if (!script || !key.startsWith("parley_pk_")) {
    console.error("Parley: the script needs data-parley-key with a publishable key (parley_pk_…).");
    return;
  }
  const widget = new Widget(new Backend(new URL(script.src).origin, key), script.dataset.parleyLocale);
  const run: Queue = (...command) => {
    runCommand(widget, command);
    if (command[0] === "destroy") delete window.Parley;
  };
  run.widget = widget;
  window.Parley = run;
  for (const command of before?.q ?? []) run(...Array.from(command));
  if (document.body) void widget.start();
  else document.addEventListener("DOMContentLoaded", () => void widget.start());
}

start();
