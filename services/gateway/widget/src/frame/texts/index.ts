/** The frame's own texts in nine languages, and the choice of one. */

import type { Localized } from "../../protocol";
import { ar } from "./ar";
import { de } from "./de";
import { en, type Texts } from "./en";
import { es } from "./es";
import { fr } from "./fr";
import { hi } from "./hi";
import { ja } from "./ja";
import { pt } from "./pt";
import { zh } from "./zh";

export type { Texts } from "./en";

const ALL: Record<string, Texts> = { en, de, es, fr, pt, ar, hi, ja, zh };
const RIGHT_TO_LEFT = new Set(["ar"]);

/** The first wish that there are texts for. A wish is a BCP 47 tag such as `pt-BR`. */
export function chosenLocale(wishes: readonly string[]): string {
  for (const wish of wishes) {
    const language = wish.toLowerCase().split("-")[0] ?? "";
    if (language in ALL) return language;
  }
  return "en";
}

export function textsOf(locale: string): Texts {
  return ALL[locale] ?? en;
}

export function directionOf(locale: string): "rtl" | "ltr" {
  return RIGHT_TO_LEFT.has(locale) ? "rtl" : "ltr";
}

/** A text of the site's owner: in the visitor's language, else in the widget's default one. */
export function localized<T>(texts: Localized<T>, locale: string, fallback: string): T | undefined {
  return texts[locale] ?? texts[fallback];
}

export function filled(text: string, value: string | number): string {
  return text.replace("{0}", String(value));
}
