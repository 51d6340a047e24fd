import type { VNode } from "preact";

const PATHS = {
  close: "M6 6l12 12M18 6L6 18",
  back: "M19 12H5M12 5l-7 7 7 7",
  more: "M12 5v.01M12 12v.01M12 19v.01M12 5.5v.01M12 12.5v.01M12 18.5v.01",
  send: "M5 12h13M12 5l7 7-7 7",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h10v10H9zM5 15V5h10",
  up: "M7 11v9H4v-9zM7 11l4-8c1.7 0 2.5 1.3 2 3l-1 4h6l-2 10H7",
  down: "M17 13V4h3v9zM17 13l-4 8c-1.7 0-2.5-1.3-2-3l1-4H6L8 4h9",
  check: "M5 13l4 4L19 7",
  retry: "M4 12a8 8 0 1 0 3-6L4 8M4 3v5h5",
  jump: "M12 5v14M5 12l7 7 7-7",
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }): VNode {
  return (
    <svg viewBox="0 0 24 24" aria-hidden="true" class={name === "send" || name === "back" ? "flips" : ""}>
      <path d={PATHS[name]} />
    </svg>
  );
}
