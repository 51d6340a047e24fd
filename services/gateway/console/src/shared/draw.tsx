/** Puts a page into its document. */

import { render, type VNode } from "preact";

export function draw(page: VNode): void {
  const root = document.getElementById("parley");
  if (root) render(page, root);
}
