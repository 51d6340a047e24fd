/** The agents that a key may try out. */

import { type Api, asRefusal } from "./api";
import { type Loaded, useLoaded } from "./load";

export interface AgentRecord {
  id: string;
  slug: string;
  name: string;
  revision: number;
  publishedVersion: number | null;
  latestVersion: number;
  draft?: Record<string, any>;
  createdAt: string;
  updatedAt: string;
}

export interface ChosenAgent {
  id: string;
  name: string;
  /** The published version; 0 where the key may not read its number. */
  version: number | null;
  hasDraft: boolean;
}

export function useAgents(api: Api): Loaded<ChosenAgent[]> {
  return useLoaded((signal) => agentsOf(api, signal), [api]);
}

async function agentsOf(api: Api, signal: AbortSignal): Promise<ChosenAgent[]> {
  try {
    const { items } = await api.page<AgentRecord>("/agents?limit=200", signal);
    return items.map(({ id, name, publishedVersion }) => ({ id, name, version: publishedVersion, hasDraft: true }));
  } catch (error) {
    if (asRefusal(error).code !== "insufficient_scope") throw error;
    // A key that may only chat: it sees published agents, as models.
    const response = await api.open("GET", "/models", { signal });
    const { data } = (await response.json()) as { data: { id: string; name?: string }[] };
    return data.map(({ id, name }) => ({ id, name: name ?? id, version: 0, hasDraft: false }));
  }
}
