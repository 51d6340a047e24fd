/** Builds the widget into `dist/`. The same sources give the same bytes: a test compares them with what is committed. */

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { constants, gzipSync } from "node:zlib";

import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "dist");
/** Bytes after gzip. */
const LIMITS = { loader: 4 * 1024, frame: 50 * 1024 };

const shared = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  write: false,
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
  outdir: out,
};
const results = await Promise.all([
  build({ ...shared, entryPoints: { loader: "src/loader/main.ts" }, format: "iife" }),
  build({ ...shared, entryPoints: { frame: "src/frame/main.tsx" }, format: "esm" }),
  build({ ...shared, entryPoints: { frame: "src/frame/style.css" } }),
]);

mkdirSync(out, { recursive: true });
for (const name of readdirSync(out)) rmSync(join(out, name));
const manifest = {};
const sizes = { loader: 0, frame: 0 };
for (const { path, contents } of results.flatMap((result) => result.outputFiles)) {
  const [, stem, ending] = /([a-z]+)\.(js|css)$/.exec(path);
  const hash = createHash("sha256").update(contents).digest("hex").slice(0, 16);
  const packed = zipped(contents);
  const file = `${stem}.${hash}.${ending}`;
  writeFileSync(join(out, file), contents);
  writeFileSync(join(out, `${file}.gz`), packed);
  manifest[`${stem}.${ending}`] = {
    file,
    integrity: `sha384-${createHash("sha384").update(contents).digest("base64")}`,
    bytes: contents.length,
    gzip: packed.length,
  };
  sizes[stem] += packed.length;
}
writeFileSync(join(out, "manifest.json"), `${JSON.stringify(manifest, Object.keys(manifest).sort().concat(["file", "integrity", "bytes", "gzip"]), 2)}\n`);
const { dependencies } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
const notices = Object.keys(dependencies).sort().map((name) => {
  const folder = join(here, "node_modules", name);
  const licence = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file));
  return `${name}\n\n${readFileSync(join(folder, licence), "utf8").trim()}\n`;
});
writeFileSync(join(out, "licences.txt"), `The widget contains these libraries.\n\n${notices.join("\n---\n\n")}`);
for (const [stem, limit] of Object.entries(LIMITS)) {
  console.log(`${stem}: ${sizes[stem]} of ${limit} bytes after gzip`);
  if (sizes[stem] > limit) process.exitCode = 1;
}

/** Without the operating system in the header, so that every machine writes the same bytes. */
function zipped(contents) {
  const packed = gzipSync(contents, { level: constants.Z_BEST_COMPRESSION });
  packed[9] = 255;
  return packed;
}
