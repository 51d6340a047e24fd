/** Builds the playground and the console into `dist/`, as the widget is built. */

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

import { OPTIONS, written } from "../widget/bundle.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "dist");
const limit = 50 * 1024;
/** Modules of the widget are used too. They get the libraries of this folder, so that there is one copy of each. */
const own = {
  name: "own libraries",
  setup({ onResolve, resolve }) {
    onResolve({ filter: /^(preact|marked|eventsource-parser)(\/|$)/ }, ({ path, kind, pluginData }) =>
      pluginData === own ? undefined : resolve(path, { kind, resolveDir: here, pluginData: own }),
    );
  },
};
const shared = {
  ...OPTIONS,
  absWorkingDir: here,
  outdir: out,
  plugins: [own],
  jsx: "automatic",
  jsxImportSource: "preact",
  tsconfigRaw: { compilerOptions: { useDefineForClassFields: false } },
};
const results = await Promise.all([
  build({ ...shared, entryPoints: { playground: "src/playground/main.tsx" }, format: "esm" }),
  build({ ...shared, entryPoints: { console: "src/console/main.tsx" }, format: "esm" }),
  build({ ...shared, entryPoints: { style: "src/style.css" } }),
]);
written(
  results.flatMap((result) => result.outputFiles),
  {
    folder: here,
    out,
    limits: { playground: limit, console: limit, style: 8 * 1024 },
    product: "playground and the console contain",
  },
);
