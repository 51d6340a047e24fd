/** The elements on the host page: a launcher button, and a frame that has no size until it has answered. */

import type { WidgetSettings } from "../protocol";
import { CHAT_ICON, STYLE } from "./style";

const TAG = "parley-widget";

export class Host {
  frame: HTMLIFrameElement | undefined;
  private readonly element = document.createElement(TAG);
  private readonly box = document.createElement("div");
  private readonly button = document.createElement("button");
  private readonly count = document.createElement("span");
  private readonly observer: MutationObserver;

  constructor(
    private readonly frameUrl: string,
    private readonly settings: WidgetSettings,
    toggle: () => void,
  ) {
    const root = this.element.attachShadow({ mode: "open" });
    this.element.id = "parley-widget";
    // A style sheet of the CSSOM: the host page's own policy for inline styles does not apply to it.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    this.apply();
    this.button.type = "button";
    this.button.onclick = toggle;
    this.button.ariaLabel = settings.launcher.label ?? "Chat";
    this.count.className = "count";
    this.count.hidden = true;
    this.button.append(settings.launcher.icon === "help" ? "?" : chatIcon(), this.count);
    this.box.className = "frame";
    root.append(this.box, this.button);
    this.label(false);
    // On phones the keyboard covers a part of the page; the window takes what is left.
    const view = visualViewport;
    if (view) {
      view.onresize = view.onscroll = () => {
        this.box.style.cssText = `--h:${view.height}px;--t:${view.offsetTop}px`;
      };
    }
    // Single-page navigation and view transitions replace the body; the widget moves on to the new one.
    this.observer = new MutationObserver(() => this.attach());
    this.observer.observe(document.documentElement, { childList: true });
    this.attach();
  }

  show(open: boolean): void {
    if (open && !this.frame) this.load();
    this.box.classList.toggle("open", open);
    this.element.toggleAttribute("open", open);
    this.label(open);
    if (open) this.frame?.focus();
    else this.button.focus({ preventScroll: true });
  }

  /** The frame has answered: it may take its place. */
  reveal(): void {
    this.box.classList.add("ready");
  }

  badge(count: number): void {
    this.count.hidden = count === 0;
    this.count.textContent = count > 9 ? "9+" : String(count);
  }

  remove(): void {
    this.observer.disconnect();
    this.element.remove();
  }

  private attach(): void {
    if (this.element.isConnected || !document.body) return;
    document.body.append(this.element);
    this.observeBody();
  }

  private observeBody(): void {
    if (document.body) this.observer.observe(document.body, { childList: true });
  }

  private label(open: boolean): void {
    this.button.ariaExpanded = String(open);
  }

  private load(): void {
    const frame = (this.frame = document.createElement("iframe"));
    frame.title = this.settings.title ?? "Chat";
    frame.src = this.frameUrl;
    frame.allow = "clipboard-write";
    frame.referrerPolicy = "origin";
    this.box.append(frame);
  }

  private apply(): void {
    const { theme, position, offsetX, offsetY, zIndex } = this.settings;
    // Set by the CSSOM, which the host page's policy for style attributes allows.
    this.element.style.cssText = `--accent:${theme.accent};--radius:${theme.radius}px;--x:${offsetX}px;--y:${offsetY}px;z-index:${zIndex}!important`;
    this.element.dataset.side = position;
  }
}

function chatIcon(): Element {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const shape = document.createElementNS(space, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  shape.setAttribute("d", CHAT_ICON);
  svg.append(shape);
  return svg;
}
