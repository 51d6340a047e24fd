/** Builds the widget into `dist/`. The same sources give the same bytes: a test compares them with what is committed. */

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

import { OPTIONS, written } from "./bundle.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "dist");
const shared = { ...OPTIONS, absWorkingDir: here, outdir: out };
const results = await Promise.all([
  build({ ...shared, entryPoints: { loader: "src/loader/main.ts" }, format: "iife" }),
  build({ ...shared, entryPoints: { frame: "src/frame/main.tsx" }, format: "esm" }),
  build({ ...shared, entryPoints: { frame: "src/frame/style.css" } }),
]);
written(
  results.flatMap((result) => result.outputFiles),
  { folder: here, out, limits: { loader: 4 * 1024, frame: 50 * 1024 }, product: "widget contains" },
);
