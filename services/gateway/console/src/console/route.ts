/** Where the console is: the part of the address behind `#`, so that links and the back button work. */

import { useEffect, useState } from "preact/hooks";

/** `#/agents/agt_1/knowledge` is `["agents", "agt_1", "knowledge"]`. */
export function usePlace(): string[] {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const moved = (): void => setHash(location.hash);
    window.addEventListener("hashchange", moved);
    return () => window.removeEventListener("hashchange", moved);
  }, []);
  return hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decoded);
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function place(...parts: string[]): string {
  return `#/${parts.map(encodeURIComponent).join("/")}`;
}
