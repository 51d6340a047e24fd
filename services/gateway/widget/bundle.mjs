/** Writes bundles into a folder: under names with their hash, packed too, with a manifest and the licences. */

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { constants, gzipSync } from "node:zlib";

/** What every bundle is built with. The same sources give the same bytes. */
export const OPTIONS = {
  bundle: true,
  minify: true,
  write: false,
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
};

/** `files` are esbuild's; `limits` are bytes after gzip, by the stem of a name. */
export function written(files, { folder, out, limits, product }) {
  mkdirSync(out, { recursive: true });
  for (const name of readdirSync(out)) rmSync(join(out, name));
  const manifest = {};
  const sizes = Object.fromEntries(Object.keys(limits).map((stem) => [stem, 0]));
  for (const { path, contents } of files) {
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
  const members = Object.keys(manifest).sort().concat(["file", "integrity", "bytes", "gzip"]);
  writeFileSync(join(out, "manifest.json"), `${JSON.stringify(manifest, members, 2)}\n`);
  writeFileSync(join(out, "licences.txt"), `The ${product} these libraries.\n\n${licences(folder)}`);
  for (const [stem, limit] of Object.entries(limits)) {
    console.log(`${stem}: ${sizes[stem]} of ${limit} bytes after gzip`);
    if (sizes[stem] > limit) process.exitCode = 1;
  }
}

function licences(folder) {
  const { dependencies } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const notices = Object.keys(dependencies).sort().map((name) => {
    const from = join(folder, "node_modules", name);
    const licence = readdirSync(from).find((file) => /^licen[cs]e/i.test(file));
    return `${name}\n\n${readFileSync(join(from, licence), "utf8").trim()}\n`;
  });
  return notices.join("\n---\n\n");
}

/** Without the operating system in the header, so that every machine writes the same bytes. */
function zipped(contents) {
  const packed = gzipSync(contents, { level: constants.Z_BEST_COMPRESSION });
  packed[9] = 255;
  return packed;
}
