/** The frame: the conversation itself, on the gateway's own origin. */

import { render } from "preact";

import { App } from "./app";
import { Store } from "./store";

const store = new Store();
const root = document.getElementById("parley") ?? document.body;

let drawing = false;

/** Many deltas of one moment are drawn once. A hidden page has no animation frames, so a timer stands in. */
function draw(): void {
  if (drawing) return;
  drawing = true;
  const now = (): void => {
    drawing = false;
    render(<App store={store} state={store.state} />, root);
  };
  if (document.visibilityState === "visible") requestAnimationFrame(now);
  else setTimeout(now, 50);
}

store.subscribe(draw);
draw();
