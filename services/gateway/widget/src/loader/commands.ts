/** `window.Parley(command, …)`. */

import type { Widget } from "./widget";

type Listener = (detail: unknown) => void;

export function runCommand(widget: Widget, [name, first, second]: unknown[]): void {
  switch (name) {
    case "open":
      return widget.show(true);
    case "close":
      return widget.show(false);
    case "send":
      return widget.send(String(first ?? ""));
    case "identify":
      return widget.identify(first ? String(first) : undefined);
    case "on":
      return widget.on(String(first), second as Listener);
    case "destroy":
      return widget.destroy();
    default:
      console.error(`Parley: ${String(name)} is not a command.`);
  }
}
