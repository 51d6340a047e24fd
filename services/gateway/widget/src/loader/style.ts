/** The launcher's looks; its icon is black on light accents and white on dark ones. `:host` has no box of its own, so that it never moves the page's content. */

export const CHAT_ICON =
  "M12 3c5 0 9 3.4 9 7.7 0 4.2-4 7.6-9 7.6l-2.6-.3L4.6 21l1-4.2C4 15.3 3 13.2 3 10.7 3 6.4 7 3 12 3Z";

export const STYLE = `
:host{all:initial;position:fixed;display:block;width:0;height:0;bottom:0;right:0;color-scheme:light dark}
:host([data-side=left]){right:auto;left:0}
button{all:unset;box-sizing:border-box;position:fixed;bottom:calc(var(--y) + env(safe-area-inset-bottom));right:var(--x);width:56px;height:56px;border-radius:50%;background:var(--accent);color:#fff;color:oklch(from var(--accent) clamp(0,(.68 - l)*1000,1) 0 0);display:grid;place-items:center;cursor:pointer;box-shadow:0 4px 16px #0004;transition:transform .15s}
:host([data-side=left]) button{right:auto;left:var(--x)}
button:hover{transform:scale(1.05)}
button:focus-visible{outline:3px solid var(--accent);outline-offset:3px}
svg{width:28px;height:28px;fill:currentColor}
button{font:600 28px system-ui}
.count{position:absolute;top:-4px;right:-4px;min-width:20px;height:20px;box-sizing:border-box;padding:0 5px;border-radius:10px;background:#c5221f;color:#fff;font:600 12px/20px system-ui,sans-serif;text-align:center}
.count[hidden]{display:none}
.frame{position:fixed;bottom:calc(var(--y) + 72px);right:var(--x);width:0;height:0;overflow:hidden;visibility:hidden;border-radius:var(--radius)}
:host([data-side=left]) .frame{right:auto;left:var(--x)}
.frame.open.ready{visibility:visible;width:min(400px,calc(100vw - 2*var(--x)));height:min(680px,calc(100dvh - var(--y) - 96px));box-shadow:0 8px 40px #0005}
iframe{border:0;width:100%;height:100%;display:block;background:transparent}
@media (max-width:480px),(max-height:480px){.frame.open.ready{inset:var(--t,0) 0 0;width:100vw;height:var(--h,100dvh);border-radius:0}:host([open]) button{display:none}}
@media (prefers-reduced-motion:reduce){button{transition:none}}
`;
