/** The site's theme as properties of the document. Set by the CSSOM, which the frame's policy allows. */

import type { Config } from "../protocol";
import { directionOf } from "./texts";

const FONTS = { system: "system-ui, sans-serif", serif: "Georgia, serif", mono: "ui-monospace, monospace" };

export function applyLook(config: Config, locale: string): void {
  const { theme } = config.widget;
  const root = document.documentElement;
  root.lang = locale;
  root.dir = directionOf(locale);
  root.dataset.mode = theme.mode;
  root.style.setProperty("--accent", theme.accent);
  root.style.setProperty("--ink", luminance(theme.accent) > 0.179 ? "#000" : "#fff");
  root.style.setProperty("--radius", `${theme.radius}px`);
  root.style.setProperty("--font", FONTS[theme.font]);
  document.title = config.widget.title ?? config.name;
}

/** WCAG's relative luminance: black reads better on a colour above 0.179, white below. */
function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
