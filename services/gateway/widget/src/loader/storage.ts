/** What a page load remembers for the next one. Where the browser denies storage, nothing is remembered. */

import type { Remembered } from "../protocol";

function area(): Storage | null {
  try {
    localStorage.setItem("parley", "1");
    return localStorage;
  } catch {
    return null;
  }
}

export class Memory {
  private readonly storage = area();
  private value: Remembered = { access: null };

  constructor(private readonly name: string) {
    this.value = this.stored();
  }

  /** Whether the next page load will find anything. */
  get lasts(): boolean {
    return this.storage !== null;
  }

  get current(): Remembered {
    return this.value;
  }

  update(change: Partial<Remembered>): void {
    this.value = { ...this.value, ...change };
    try {
      this.storage?.setItem(this.name, JSON.stringify(this.value));
    } catch {
      // The storage is full: the conversation goes on, only the next page load will not find it.
    }
  }

  forget(): void {
    this.value = { access: null };
    this.storage?.removeItem(this.name);
  }

  /** Calls back when another tab has changed what is remembered. */
  watch(changed: () => void): () => void {
    const listener = (event: StorageEvent): void => {
      if (event.key !== this.name) return;
      this.value = this.stored();
      changed();
    };
    window.addEventListener("storage", listener);
    return () => window.removeEventListener("storage", listener);
  }

  private stored(): Remembered {
    try {
      const found: unknown = JSON.parse(this.storage?.getItem(this.name) ?? "null");
      if (typeof found === "object" && found !== null && "access" in found) return found as Remembered;
    } catch {
      // Another script wrote something else under this name.
    }
    return { access: null };
  }
}
